{{/* What all services share, by variable; nothing secret. Files are those that "shop.volumes" mounts. */}}
{{- define "shop.settings" -}}
{{- $kafka := .Values.kafka -}}
KAFKA_BOOTSTRAP_SERVERS: {{ $kafka.bootstrapServers | quote }}
KAFKA_SECURITY: {{ $kafka.security }}
KAFKA_DRAIN_S: {{ $kafka.drainSeconds | quote }}
{{- if $kafka.caSecret }}
KAFKA_CA_FILE: /etc/kafka/ca/ca.crt
{{- end }}
{{- if eq $kafka.security "mtls" }}
KAFKA_CERTIFICATE_FILE: /etc/kafka/client/client.crt
KAFKA_KEY_FILE: /etc/kafka/client/client.key
{{- else if eq $kafka.security "scram" }}
KAFKA_SCRAM_MECHANISM: {{ $kafka.scramMechanism }}
{{- else if eq $kafka.security "oauth" }}
KAFKA_OAUTH_TOKEN_URL: {{ required "kafka.oauth.tokenUrl: oauth needs the token endpoint" $kafka.oauth.tokenUrl | quote }}
{{- with $kafka.oauth.scope }}
KAFKA_OAUTH_SCOPE: {{ . | quote }}
{{- end }}
{{- end }}
{{- range $declared, $name := .Values.topics }}
TOPICS__{{ $declared | upper | replace "-" "_" | replace "." "_" }}: {{ $name | quote }}
{{- end }}
{{- with .Values.schemaRegistry.url }}
SCHEMA_REGISTRY_URL: {{ . | quote }}
{{- end }}
{{- range $name, $value := .Values.settings }}
{{ $name }}: {{ $value | quote }}
{{- end }}
{{- end }}

{{/* Takes (dict "root" . "service" … "name" …): what one service has of its own, as a container's `env`. */}}
{{- define "shop.env" -}}
{{- $root := .root -}}
{{- $service := .service -}}
{{- $kafka := $root.Values.kafka -}}
{{- if $service.app }}
- { name: OTTLA_ADMIN_PORT, value: {{ $root.Values.adminPort | quote }} }
- name: OTTLA_ADMIN_HOST # the pod's address, whether of IPv4 or of IPv6
  valueFrom: { fieldRef: { fieldPath: status.podIP } }
{{- end }}
{{- with $service.group }}
- { name: KAFKA_GROUP_ID, value: {{ . | quote }} }
{{- end }}
{{- with $service.kafkaSecret }}
{{- $keys := $kafka.secretKeys }}
{{- if eq $kafka.security "scram" }}
- { name: KAFKA_USERNAME, value: {{ $service.kafkaUser | default . | quote }} }
- name: KAFKA_PASSWORD
  valueFrom: { secretKeyRef: { name: {{ . }}, key: {{ $keys.password }} } }
{{- else if eq $kafka.security "oauth" }}
- name: KAFKA_OAUTH_CLIENT_ID
  valueFrom: { secretKeyRef: { name: {{ . }}, key: {{ $keys.clientId }} } }
- name: KAFKA_OAUTH_CLIENT_SECRET
  valueFrom: { secretKeyRef: { name: {{ . }}, key: {{ $keys.clientSecret }} } }
{{- end }}
{{- end }}
{{- if $service.database }}
{{- $secret := include "shop.databaseSecret" $root | fromYaml }}
{{- if ($service.databaseSecret).name }}{{ $secret = $service.databaseSecret }}{{ end }}
- name: DATABASE_URL
  valueFrom: { secretKeyRef: { name: {{ $secret.name }}, key: {{ $secret.key }} } }
{{- end }}
{{- with $service.databaseSchema }}
- { name: DATABASE_SCHEMA, value: {{ . | quote }} }
{{- end }}
{{- range $name, $value := $service.env }}
- { name: {{ $name }}, value: {{ tpl $value $root | quote }} }
{{- end }}
{{- end }}

{{- define "shop.volumes" -}}
{{- $kafka := .root.Values.kafka -}}
- { name: tmp, emptyDir: { sizeLimit: 32Mi } }
{{- if $kafka.caSecret }}
- name: kafka-ca
  secret:
    secretName: {{ $kafka.caSecret }}
    items: [{ key: {{ $kafka.secretKeys.ca }}, path: ca.crt }]
{{- end }}
{{- if eq $kafka.security "mtls" }}
- name: kafka-client
  secret:
    secretName: {{ .service.kafkaSecret }}
    defaultMode: 0440 # read by the pod's fsGroup
    items:
      - { key: {{ $kafka.secretKeys.certificate }}, path: client.crt }
      - { key: {{ $kafka.secretKeys.privateKey }}, path: client.key }
{{- end }}
{{- end }}

{{- define "shop.volumeMounts" -}}
- { name: tmp, mountPath: /tmp }
{{- if .root.Values.kafka.caSecret }}
- { name: kafka-ca, mountPath: /etc/kafka/ca, readOnly: true }
{{- end }}
{{- if eq .root.Values.kafka.security "mtls" }}
- { name: kafka-client, mountPath: /etc/kafka/client, readOnly: true }
{{- end }}
{{- end }}
