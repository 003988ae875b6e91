{{/* What every pod is allowed: as little as the level "restricted" of Pod Security Admission. */}}
{{- define "shop.podSecurity" -}}
automountServiceAccountToken: false
# Variables of Services would be taken for settings: a Service called `kafka` makes KAFKA_PORT.
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  seccompProfile: { type: RuntimeDefault }
{{- end }}

{{- define "shop.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: { drop: [ALL] }
{{- end }}

{{- define "shop.placement" -}}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- range . }}
  - { name: {{ . }} }
  {{- end }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* preStop, then requests under way, then the drain: all of it has to fit into a pod's grace period. */}}
{{- define "shop.stopSeconds" -}}
{{- $http := .service.http | default dict -}}
{{ addf (($http.preStopSeconds) | default 0) (($http.stopSeconds) | default 0) (ternary .root.Values.kafka.drainSeconds 0 (hasKey .service "app")) | ceil | int }}
{{- end }}

{{- define "shop.gracePeriod" -}}
{{- $needed := include "shop.stopSeconds" . | int -}}
{{- $given := .root.Values.terminationGracePeriodSeconds | int -}}
{{- if not $given -}}
{{ add $needed .root.Values.stopMarginSeconds }}
{{- else if le $given $needed -}}
{{- fail (printf "terminationGracePeriodSeconds: %d s end pods of %s before they have stopped, which takes up to %d s (preStop, requests under way, kafka.drainSeconds): set it above, or to 0" $given .name $needed) -}}
{{- else -}}
{{ $given }}
{{- end -}}
{{- end }}

{{/* Values that do not fit together, which a schema cannot tell. */}}
{{- define "shop.check" -}}
{{- $values := .Values -}}
{{- range $name, $service := $values.services }}
{{- if and $service.app (has $values.kafka.security (list "mtls" "scram" "oauth")) (not $service.kafkaSecret) }}
{{- fail (printf "services.%s.kafkaSecret: kafka.security %s needs the Secret with its credentials" $name $values.kafka.security) }}
{{- end }}
{{- with $service.scaling }}
{{- if .enabled }}
{{- if not $service.group }}
{{- fail (printf "services.%s.scaling: only a service with a group can be scaled by its lag: set group" $name) }}
{{- end }}
{{- if gt (int .maxReplicas) (int .partitions) }}
{{- fail (printf "services.%s.scaling.maxReplicas: %d pods share %d partitions, so some would have nothing to do: set it to %d or less" $name (int .maxReplicas) (int .partitions) (int .partitions)) }}
{{- end }}
{{- if gt (int .minReplicas) (int .maxReplicas) }}
{{- fail (printf "services.%s.scaling.minReplicas: %d is above maxReplicas, %d" $name (int .minReplicas) (int .maxReplicas)) }}
{{- end }}
{{- range .topics }}
{{- if not (hasKey $values.topics .) }}
{{- fail (printf "services.%s.scaling.topics: %s is none of topics (%s)" $name . (keys $values.topics | sortAlpha | join ", ")) }}
{{- end }}
{{- end }}
{{- if and (eq $values.kafka.security "msk-iam") (not $values.kafka.awsRegion) }}
{{- fail "kafka.awsRegion: KEDA needs it with msk-iam" }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- if and $values.setup.topics (has $values.kafka.security (list "mtls" "scram" "oauth")) (not $values.setup.kafkaSecret) }}
{{- fail (printf "setup.kafkaSecret: kafka.security %s needs the Secret of whoever may make topics, or setup.topics: false" $values.kafka.security) }}
{{- end }}
{{- end }}
