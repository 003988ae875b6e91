"""How clients prove who they are, as librdkafka properties. Opens nothing; the result holds secrets."""

from __future__ import annotations

from typing import Any

from ottla.kafka.msk_iam import msk_tokens
from ottla.settings.model import KafkaSettings, Security

Properties = dict[str, Any]
"""Of librdkafka: text, but for the callback that gives tokens (`oauth_cb`)."""

_PROTOCOL = {
    Security.PLAINTEXT: "PLAINTEXT",
    Security.TLS: "SSL",
    Security.MTLS: "SSL",
    Security.SCRAM: "SASL_SSL",
    Security.OAUTH: "SASL_SSL",
    Security.MSK_IAM: "SASL_SSL",
}


def security_properties(kafka: KafkaSettings) -> Properties:
    """The properties of `kafka.security`; certificates of brokers are verified, their names too."""
    properties: Properties = {"security.protocol": _PROTOCOL[kafka.security]}
    if kafka.security is Security.PLAINTEXT:
        return properties
    properties["enable.ssl.certificate.verification"] = "true"
    properties["ssl.endpoint.identification.algorithm"] = "https"
    if kafka.ca_file is not None:
        properties["ssl.ca.location"] = str(kafka.ca_file)
    match kafka.security:
        case Security.MTLS:
            properties |= _mtls(kafka)
        case Security.SCRAM:
            properties |= _scram(kafka)
        case Security.OAUTH:
            properties |= _oauth(kafka)
        case Security.MSK_IAM:
            properties |= {"sasl.mechanisms": "OAUTHBEARER", "oauth_cb": msk_tokens(kafka.aws_region or "")}
    return properties


def _mtls(kafka: KafkaSettings) -> dict[str, str]:
    properties = {
        "ssl.certificate.location": str(kafka.certificate_file),
        "ssl.key.location": str(kafka.key_file),
    }
    if kafka.key_password is not None:
        properties["ssl.key.password"] = kafka.key_password.get_secret_value()
    return properties


def _scram(kafka: KafkaSettings) -> dict[str, str]:
    return {
        "sasl.mechanisms": kafka.scram_mechanism,
        "sasl.username": kafka.username or "",
        "sasl.password": kafka.password.get_secret_value() if kafka.password else "",
    }


def _oauth(kafka: KafkaSettings) -> dict[str, str]:
    """The client-credentials grant, fetched and renewed by librdkafka itself."""
    properties = {
        "sasl.mechanisms": "OAUTHBEARER",
        "sasl.oauthbearer.method": "oidc",
        "sasl.oauthbearer.token.endpoint.url": kafka.oauth_token_url or "",
        "sasl.oauthbearer.client.id": kafka.oauth_client_id or "",
        "sasl.oauthbearer.client.secret": (
            kafka.oauth_client_secret.get_secret_value() if kafka.oauth_client_secret else ""
        ),
    }
    if kafka.oauth_scope is not None:
        properties["sasl.oauthbearer.scope"] = kafka.oauth_scope
    if kafka.ca_file is not None:
        properties["https.ca.location"] = str(kafka.ca_file)
    return properties
