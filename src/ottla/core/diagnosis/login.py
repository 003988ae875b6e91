"""Whether brokers let us in: what the client's words mean.

librdkafka tells why it was refused in words only. The rules, of which the first that fits counts:
what the broker says of mechanisms, users and tokens; then what it says of our certificate; then that
it hung up, which is what a listener does that expects another protocol.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from ottla.core.diagnosis.findings import Check, Finding, fail, ok

_USER = {
    "scram": "check KAFKA_USERNAME and KAFKA_PASSWORD, and the user's KAFKA_SCRAM_MECHANISM",
    "oauth": "check KAFKA_OAUTH_CLIENT_ID, KAFKA_OAUTH_CLIENT_SECRET and KAFKA_OAUTH_SCOPE, and what the "
    "broker expects of a token (issuer, audience)",
    "msk-iam": "give this role kafka-cluster:Connect on the cluster; is this machine's clock right?",
    "mtls": "have KAFKA_CERTIFICATE_FILE signed by an authority that brokers know; has it expired?",
}
_OTHER = "check KAFKA_SECURITY and what goes with it"

_WORDS = (
    (r"unsupported sasl mechanism|mechanism .*not (enabled|supported)", "mechanism"),
    (r"oidc|token endpoint|oauthbearer token|failed to (retrieve|acquire|refresh)|oauth_cb", "token"),
    (r"invalid credentials|authentication failed|sasl authentication|access denied|invalid_token", "user"),
    (r"certificate required|bad certificate|unknown ca|alert (number|certificate)|handshake failure", "ours"),
    (r"certificate verify failed|could not be verified", "theirs"),
    (r"connecting to a plaintext broker", "no-tls"),
    (r"connecting to a ssl listener", "tls"),
)

_CLIENT_PREFIX = re.compile(r"^\S+://\S+?: |\s*\(after \d+ms in state [A-Z_]+(, \d+ identical[^)]*)?\)")


def logged_in(servers: str, security: str, brokers: int) -> Finding:
    """The brokers told who they are."""
    return ok(Check.LOGIN, servers, f"let in by {security}; brokers: {brokers}")


def refused(servers: str, security: str, words: Sequence[str]) -> Finding:
    """Why no broker let us in, of what the client said."""
    told = [_CLIENT_PREFIX.sub("", each).strip() for each in words]
    for pattern, kind in _WORDS:
        for text in told:
            if re.search(pattern, text, re.IGNORECASE):
                return fail(Check.LOGIN, servers, text, _cure(kind, security))
    said = "connected, and no answer that Kafka gives"
    if security == "plaintext":
        cure = "the listener may want TLS or a login: set KAFKA_SECURITY, or take the plaintext port"
    else:
        cure = f"check KAFKA_SECURITY={security} against the listener of this port, and the broker's log"
    return fail(Check.LOGIN, servers, said, cure)


def _cure(kind: str, security: str) -> str:
    match kind:
        case "mechanism":
            return "set KAFKA_SCRAM_MECHANISM or KAFKA_SECURITY to what this listener offers"
        case "token" if security == "msk-iam":
            return (
                "this process has no AWS credentials, or no region: a role of IRSA or ECS, or the environment"
            )
        case "token":
            return "check KAFKA_OAUTH_TOKEN_URL, KAFKA_OAUTH_CLIENT_ID and KAFKA_OAUTH_CLIENT_SECRET"
        case "ours":
            return (
                _USER["mtls"]
                if security == "mtls"
                else "the listener asks for a certificate: KAFKA_SECURITY=mtls"
            )
        case "theirs":
            return "set KAFKA_CA_FILE to the PEM file of the authority that signed the brokers' certificates"
        case "no-tls":
            return "the listener does not speak TLS: mend KAFKA_SECURITY or the port"
        case "tls":
            return "the listener speaks TLS: set KAFKA_SECURITY"
    return _USER.get(security, _OTHER)
