"""Names, connections and TLS, each asked with a bound; what the answers mean is `core/diagnosis/network`."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ottla.core.diagnosis.findings import Finding
from ottla.core.diagnosis.network import Certificate, NoAnswer, certificate, connected, resolved

STEP_S = 3.0
"""How long a name service, a connection or a handshake may take."""

_DAY_S = 86_400
_UNREACHABLE = {errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}


class Server(NamedTuple):
    """Where a broker is said to be."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Tls(NamedTuple):
    """How brokers are verified; `ca_file` is None where the system's authorities do it."""

    context: ssl.SSLContext
    ca_file: str | None


def tls_of(properties: Mapping[str, Any]) -> Tls | None:
    """How librdkafka with these properties verifies brokers; None without TLS.

    Raises `OSError` (`ssl.SSLError` is one) when a file holds no certificate or key.
    """
    if "SSL" not in str(properties.get("security.protocol", "")).upper():
        return None
    ca_file = properties.get("ssl.ca.location")
    place: dict[str, Any] = {"cadata": properties.get("ssl.ca.pem")}
    if ca_file == "probe":  # librdkafka looks for the system's authorities itself
        ca_file = None
    if ca_file is not None:
        place["capath" if Path(ca_file).is_dir() else "cafile"] = ca_file
    context = ssl.create_default_context(**place)
    context.verify_flags &= (
        ~ssl.VERIFY_X509_STRICT
    )  # librdkafka is not as strict about an authority's extensions
    if certificate_file := properties.get("ssl.certificate.location"):
        # Never asked on a terminal: OpenSSL would do that where a password is missing.
        password = str(properties.get("ssl.key.password", ""))
        context.load_cert_chain(certificate_file, properties.get("ssl.key.location"), lambda: password)
    return Tls(context, ca_file)


async def reach(server: Server, tls: Tls | None) -> list[Finding]:
    """Resolve, connect, shake hands; ends with the first step that fails."""
    addresses, error = await _resolve(server)
    findings = [resolved(str(server), addresses, error)]
    if not addresses:
        return findings
    attempts = await asyncio.gather(*(_connect(address, server.port) for address in addresses))
    findings.append(connected(str(server), dict(zip(addresses, attempts, strict=True))))
    well = [address for address, why in zip(addresses, attempts, strict=True) if why is None]
    if well and tls is not None:
        seen = await asyncio.to_thread(_shake_hands, server, well[0], tls.context)
        findings.append(certificate(str(server), seen, ca_file=tls.ca_file))
    return findings


async def _resolve(server: Server) -> tuple[Sequence[str], str]:
    try:
        async with asyncio.timeout(STEP_S):
            found = await asyncio.get_running_loop().getaddrinfo(
                server.host, server.port, type=socket.SOCK_STREAM
            )
    except TimeoutError:
        return (), f"the name service does not answer within {STEP_S:g} s"
    except (socket.gaierror, UnicodeError) as error:
        return (), getattr(error, "strerror", None) or "no host name"
    return list(dict.fromkeys(str(each[4][0]) for each in found)), ""


async def _connect(address: str, port: int) -> NoAnswer | None:
    try:
        async with asyncio.timeout(STEP_S):
            _, writer = await asyncio.open_connection(address, port)
    except TimeoutError:
        return NoAnswer.TIMED_OUT
    except ConnectionRefusedError:
        return NoAnswer.REFUSED
    except OSError as error:
        return NoAnswer.UNREACHABLE if error.errno in _UNREACHABLE else NoAnswer.OTHER
    writer.close()
    return None


def _shake_hands(server: Server, address: str, context: ssl.SSLContext) -> Certificate:
    try:
        shown = _shown(server, address, context)
    except ssl.SSLCertVerificationError as error:
        names = () if error.verify_code == 0 else _names(server, address, context)
        return Certificate(verify_code=error.verify_code, reason=error.verify_message, names=names)
    except TimeoutError:
        return Certificate(reason=f"no answer within {STEP_S:g} s")
    except OSError as error:
        return Certificate(reason=getattr(error, "reason", None) or error.strerror or "the broker hung up")
    left_s = ssl.cert_time_to_seconds(str(shown["notAfter"])) - time.time()
    return Certificate(subject=_subject(shown), days_left=left_s / _DAY_S, names=_alternatives(shown))


def _names(server: Server, address: str, context: ssl.SSLContext) -> tuple[str, ...]:
    """Which names a certificate is for that is refused for the one at hand; nothing is sent."""
    unnamed = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    unnamed.check_hostname = False  # what it is for is asked; the chain is verified all the same
    unnamed.verify_mode = ssl.CERT_REQUIRED
    for authority in context.get_ca_certs(binary_form=True):
        unnamed.load_verify_locations(cadata=authority)
    try:
        return _alternatives(_shown(server, address, unnamed))
    except OSError:
        return ()


def _shown(server: Server, address: str, context: ssl.SSLContext) -> Mapping[str, Any]:
    with (
        socket.create_connection((address, server.port), timeout=STEP_S) as plain,
        context.wrap_socket(plain, server_hostname=server.host) as secured,
    ):
        return secured.getpeercert() or {}


def _subject(shown: Mapping[str, Any]) -> str:
    pairs = [pair for part in shown.get("subject", ()) for pair in part]
    return next((str(value) for name, value in pairs if name == "commonName"), "")


def _alternatives(shown: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(str(value) for _, value in shown.get("subjectAltName", ()))
