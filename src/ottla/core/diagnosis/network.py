"""Of names, connections and certificates: what an answer means, or that there was none.

The rules:

1. Of a name with several addresses one that answers is enough to go on. One that does not is a
   warning; not where all of its family are silent, as where IPv6 is not used at all.
2. A name that a broker advertises must do all that a bootstrap server does: clients leave the
   latter and go there.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from ottla.core.diagnosis.findings import Check, Finding, Verdict, fail, ok, warn

EXPIRES_SOON_DAYS = 14.0


class NoAnswer(enum.Enum):
    """Why there is no connection to an address; the value is what is said."""

    REFUSED = "connection refused"
    TIMED_OUT = "no answer in time"
    UNREACHABLE = "no route there"
    OTHER = "cannot be connected to"


_CONNECTION_CURES = {
    NoAnswer.REFUSED: "nobody listens there: start Kafka, or mend the port",
    NoAnswer.TIMED_OUT: "a firewall, security group or NetworkPolicy drops it, or the host is down",
    NoAnswer.UNREACHABLE: "see to a route: VPN, peering, subnets",
    NoAnswer.OTHER: "mend the address, or the network",
}


def resolved(server: str, addresses: Sequence[str], error: str) -> Finding:
    """Whether the host of `server` has addresses; `error` is what the name service says where it has none."""
    if addresses:
        return ok(Check.NAME, server, ", ".join(addresses))
    cure = "mend the name in KAFKA_BOOTSTRAP_SERVERS, or the name service of this machine"
    return fail(Check.NAME, server, f"does not resolve ({error})", cure)


def connected(server: str, attempts: Mapping[str, NoAnswer | None]) -> Finding:
    """What became of a connection to each address of `server`; None where it was made."""
    silent = {address: why for address, why in attempts.items() if why is not None}
    well = [address for address in attempts if address not in silent]
    told = [*well, *(f"{address}: {why.value}" for address, why in silent.items())]
    said = ", ".join(told) if len(attempts) > 1 or silent else f"{well[0]} answers"
    if not silent:
        return ok(Check.CONNECTION, server, said)
    cure = _CONNECTION_CURES[next(iter(silent.values()))]
    if not well:
        return fail(Check.CONNECTION, server, said, cure)
    families = {_is_ipv6(address) for address in well}
    if all(_is_ipv6(address) not in families for address in silent):
        return ok(Check.CONNECTION, server, f"{well[0]} answers, the other family of addresses does not")
    return warn(Check.CONNECTION, server, said, f"each is tried in turn: {cure}")


def _is_ipv6(address: str) -> bool:
    return ":" in address


@dataclass(frozen=True, slots=True)
class Certificate:
    """What a TLS handshake gave: the certificate's subject and the days it has left; or why there is none.

    `verify_code` is OpenSSL's, where the certificate was refused; `reason` names any other error.
    """

    subject: str = ""
    days_left: float | None = None
    verify_code: int | None = None
    reason: str = ""
    names: tuple[str, ...] = ()
    """The names that it was made for, as far as they could be read."""


_NOT_YET_VALID, _EXPIRED = 9, 10
_UNKNOWN_AUTHORITY = {2, 18, 19, 20, 21}
_OTHER_NAME = {62, 64}
"""Verification codes. Source: OpenSSL, `X509_V_ERR_…` in x509_vfy.h."""

_NO_TLS = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG", "UNEXPECTED_EOF")
_OURS = ("CERTIFICATE_REQUIRED", "BAD_CERTIFICATE", "UNKNOWN_CA", "HANDSHAKE_FAILURE")
"""OpenSSL's reasons: what comes is no TLS, or nothing; or the other side refuses our certificate."""


def certificate(server: str, seen: Certificate, *, ca_file: str | None) -> Finding:
    """Whether the broker proves who it is; verified by `ca_file`, or by the system's authorities."""
    by = f"KAFKA_CA_FILE={ca_file}" if ca_file else "the authorities that this system knows"
    if seen.verify_code is not None:
        said, cure = _refused(server, seen, by)
        return fail(Check.CERTIFICATE, server, said, cure)
    if seen.reason:
        if any(each in seen.reason.upper() for each in _NO_TLS):
            cure = "set KAFKA_SECURITY=plaintext where the network is trusted, or take the port with TLS"
            return fail(Check.CERTIFICATE, server, f"the listener does not speak TLS ({seen.reason})", cure)
        if any(each in seen.reason.upper() for each in _OURS):
            cure = "set KAFKA_SECURITY=mtls, with a certificate whose authority the brokers know"
            return fail(Check.CERTIFICATE, server, f"the broker refuses ours ({seen.reason})", cure)
        cure = "take the port of a listener with TLS, and see the broker's log"
        return fail(Check.CERTIFICATE, server, f"the TLS handshake failed ({seen.reason})", cure)
    if seen.days_left is not None and seen.days_left < EXPIRES_SOON_DAYS:
        cure = "renew it on the broker"
        return warn(Check.CERTIFICATE, server, f"the certificate expires in {seen.days_left:.0f} days", cure)
    return ok(Check.CERTIFICATE, server, f"{seen.subject or 'sound'}, verified by {by}")


def _refused(server: str, seen: Certificate, by: str) -> tuple[str, str]:
    if seen.verify_code == _EXPIRED:
        return "the certificate has expired", "renew it on the broker; is this machine's clock right?"
    if seen.verify_code == _NOT_YET_VALID:
        return "the certificate is not valid yet", "is this machine's clock right? else see to the broker's"
    if seen.verify_code in _OTHER_NAME:
        names = f": it is for {', '.join(seen.names)}" if seen.names else ""
        cure = "write the broker's name as its certificate has it, or have one made that names this one"
        return f"the certificate is not for the name {_host(server)!r}{names}", cure
    if seen.verify_code in _UNKNOWN_AUTHORITY:
        cure = "set KAFKA_CA_FILE to the PEM file of the authority that signed the brokers' certificates"
        return f"the certificate is signed by an authority that is not in {by}", cure
    return f"the certificate is refused ({seen.reason})", "see to the broker's certificate"


def _host(server: str) -> str:
    return server.rpartition(":")[0]


def advertised(broker: int, server: str, findings: Sequence[Finding], *, is_bootstrap: bool) -> Finding:
    """What the name that broker number `broker` tells its clients is worth: the gravest of `findings`."""
    subject = f"{server} (broker {broker})"
    failed = next((each for each in findings if each.verdict is Verdict.FAIL), None)
    if failed is None:
        warned = next((each for each in findings if each.verdict is Verdict.WARN), None)
        if warned is not None:
            return replace(warned, check=Check.ADVERTISED, subject=subject)
        said = "one of KAFKA_BOOTSTRAP_SERVERS" if is_bootstrap else "resolves and answers"
        return ok(Check.ADVERTISED, subject, said)
    told = {
        Check.NAME: "mend the broker's advertised.listeners, or this machine's name service",
        Check.CONNECTION: f"{failed.cure}; or mend the broker's advertised.listeners",
    }
    said = f"clients are sent to this address, and it fails: {failed.said}"
    return fail(Check.ADVERTISED, subject, said, told.get(failed.check, failed.cure))
