"""What settings must be together, and which librdkafka properties would break a promise.

Pure but for one look at each file that is named: it must be readable now, not at the first rebalance.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Collection, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ottla.settings.model import RAW_TABLES, KafkaSettings, Security, SettingPath, Settings
from ottla.topics import name_problem

Finding = tuple[tuple[SettingPath, ...], str]
"""The settings that a problem is about, the one to edit first, and what is wrong."""

_SERVER = re.compile(r"(?:\[(?P<six>[0-9a-fA-F:.%]+)\]|(?P<host>[^\s:/\[\],@]+))(?::(?P<port>\d{1,5}))?")
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?")
_MAX_PORT = 65_535
_KAFKA_PORT = 9092
"""What librdkafka takes where none is written."""


def findings(settings: Settings, given: Collection[SettingPath]) -> Iterator[Finding]:
    """Everything unsound in `settings`; `given` are those that were not left to their defaults."""
    yield from _servers(settings.kafka, given)
    yield from _credentials(settings.kafka)
    yield from _files(settings)
    yield from _times(settings.kafka)
    yield from _topics(settings)
    yield from _database(settings)
    yield from _schema_registry(settings)
    yield from _admin(settings)
    yield from _raw(settings.kafka)


def brokers(servers: str) -> list[tuple[str, int]] | None:
    """Host and port of each broker in a bootstrap list; None when it is none."""
    found = []
    for server in servers.split(","):
        match = _SERVER.fullmatch(server.strip())
        port = int(match["port"] or _KAFKA_PORT) if match else 0
        if match is None or port not in range(1, _MAX_PORT + 1):
            return None
        found.append((match["six"] or match["host"], port))
    return found


def hosts(servers: str) -> list[str] | None:
    """The hosts of a bootstrap list; None when it is none."""
    found = brokers(servers)
    return None if found is None else [host for host, _ in found]


def is_loopback(host: str) -> bool:
    """Whether `host` can only be this machine. A name that merely resolves to it does not count."""
    if host.lower() in {"localhost", "ip6-localhost", "ip6-loopback"}:
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _servers(kafka: KafkaSettings, given: Collection[SettingPath]) -> Iterator[Finding]:
    servers, security = ("kafka", "bootstrap_servers"), ("kafka", "security")
    found = hosts(kafka.bootstrap_servers)
    if found is None:
        text = f"{kafka.bootstrap_servers!r} is no list of brokers; write host:port[,host:port], no scheme"
        yield (servers,), text
        return
    away = [host for host in found if not is_loopback(host)]
    if away and security not in given:
        text = (
            f"not set, and {away[0]} is another machine; set it to tls, mtls, scram, oauth or msk-iam, "
            "or to plaintext where the network is trusted"
        )
        yield (security, servers), text


def _credentials(kafka: KafkaSettings) -> Iterator[Finding]:
    needed = {
        Security.SCRAM: ("username", "password"),
        Security.MTLS: ("certificate_file", "key_file"),
        Security.OAUTH: ("oauth_token_url", "oauth_client_id", "oauth_client_secret"),
    }
    for name in needed.get(kafka.security, ()):
        if not getattr(kafka, name):
            text = f"not set, and KAFKA_SECURITY={kafka.security.value} needs it; set it"
            yield (("kafka", name), ("kafka", "security")), text
    if kafka.oauth_token_url and not _keeps_secrets(kafka.oauth_token_url):
        text = (
            "no https URL, and the client secret goes there; write https://host/path (http on loopback only)"
        )
        yield (("kafka", "oauth_token_url"),), text
    if kafka.security is Security.MSK_IAM:
        yield from _msk_iam(kafka)


def _keeps_secrets(url: str) -> bool:
    """Whether what is sent to `url` is encrypted, or does not leave this machine."""
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        return False
    return bool(host) and (parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host or "")))


def _msk_iam(kafka: KafkaSettings) -> Iterator[Finding]:
    security = ("kafka", "security")
    if find_spec("aws_msk_iam_sasl_signer") is None:
        yield (security,), "msk-iam needs AWS's signer, which is not installed; pip install 'ottla[msk]'"
    if kafka.aws_region is None:
        text = (
            "not known: neither KAFKA_BOOTSTRAP_SERVERS nor AWS_REGION tells the region of the brokers, "
            "and KAFKA_SECURITY=msk-iam needs it; set it, as eu-west-1"
        )
        yield (("kafka", "aws_region"), security, ("kafka", "bootstrap_servers")), text


def _files(settings: Settings) -> Iterator[Finding]:
    names = ("ca_file", "certificate_file", "key_file")
    named: list[tuple[SettingPath, Path | None]] = [
        *((("kafka", name), getattr(settings.kafka, name)) for name in names),
        *((((f"schema_registry_{name}",)), getattr(settings, f"schema_registry_{name}")) for name in names),
    ]
    for where, file in named:
        if file is None:
            continue
        try:
            file.open("rb").close()
        except OSError as error:
            yield (where,), f"{file} cannot be read ({error.strerror}); mend path or permissions"


def _times(kafka: KafkaSettings) -> Iterator[Finding]:
    drain, poll = ("kafka", "drain_s"), ("kafka", "max_poll_interval_s")
    session = ("kafka", "session_timeout_s")
    if kafka.drain_s >= kafka.max_poll_interval_s:
        text = (
            f"{kafka.drain_s:g} s is not below KAFKA_MAX_POLL_INTERVAL_S={kafka.max_poll_interval_s:g}: "
            "the broker would give the partitions away while handlers still drain; lower it"
        )
        yield (drain, poll), text
    if kafka.session_timeout_s > kafka.max_poll_interval_s:
        text = (
            f"{kafka.session_timeout_s:g} s is above "
            f"KAFKA_MAX_POLL_INTERVAL_S={kafka.max_poll_interval_s:g}, which librdkafka refuses; lower it"
        )
        yield (session, poll), text


def _topics(settings: Settings) -> Iterator[Finding]:
    for name, real in settings.topics.items():
        if problem := name_problem(real):
            yield (("topics", name),), f"{real!r}: {problem}"


def _database(settings: Settings) -> Iterator[Finding]:
    if settings.database_url is None:
        return
    try:
        scheme = urlsplit(settings.database_url.get_secret_value()).scheme
    except ValueError:
        scheme = ""
    if scheme not in {"postgresql", "postgres", "postgresql+psycopg"}:
        text = "no URL of a PostgreSQL database; write postgresql://user:password@host:5432/name"
        yield (("database_url",),), text


def _schema_registry(settings: Settings) -> Iterator[Finding]:
    names = [name for name in Settings.model_fields if name.startswith("schema_registry_")]
    if settings.schema_registry_url is None:
        for name in names:
            value = getattr(settings, name)
            if value != Settings.model_fields[name].default:
                yield ((name,), ("schema_registry_url",)), "set without SCHEMA_REGISTRY_URL; set that too"
        return
    urls = settings.schema_registry_url.get_secret_value().split(",")
    if not all(_is_http(url) for url in urls):
        yield (("schema_registry_url",),), "no http(s) URL; write https://host:port, several with commas"
        return
    has_user = any(urlsplit(url).username for url in urls)
    user, password = ("schema_registry_username",), ("schema_registry_password",)
    if has_user and settings.schema_registry_username is not None:
        yield (user,), "set, and SCHEMA_REGISTRY_URL has a user as well; remove one of them"
    if (settings.schema_registry_username is None) != (settings.schema_registry_password is None):
        yield (user, password), "user and password belong together; set both, or neither"
    if settings.schema_registry_certificate_file is None:
        for name in ("schema_registry_key_file", "schema_registry_key_password"):
            if getattr(settings, name) is not None:
                yield ((name,),), "set without SCHEMA_REGISTRY_CERTIFICATE_FILE; set that too"


def _is_http(url: str) -> bool:
    try:
        parts = urlsplit(url.strip())
        _ = parts.port
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and bool(parts.hostname)


def _admin(settings: Settings) -> Iterator[Finding]:
    host = settings.admin_host
    try:
        ipaddress.ip_address(host)
    except ValueError:
        if not _NAME.fullmatch(host):
            text = f"{host!r} is no address to open a port on; write an address or a name, without a port"
            yield (("admin_host",),), text


def _raw(kafka: KafkaSettings) -> Iterator[Finding]:
    for table in RAW_TABLES:
        for name, value in getattr(kafka, table).items():
            if reason := refusal(name, value) or _without_tls(kafka, name, value):
                yield (("kafka", table, name),), reason


def _without_tls(kafka: KafkaSettings, name: str, value: Any) -> str | None:
    """Why `security.protocol` cannot be set raw: it would drop the TLS that the setting stands for."""
    if name != "security.protocol" or kafka.security is Security.PLAINTEXT:
        return None
    if str(value).strip().upper().endswith("SSL") or all(
        map(is_loopback, hosts(kafka.bootstrap_servers) or ())
    ):
        return None
    dropped = f"it would drop the TLS of KAFKA_SECURITY={kafka.security.value}"
    return f"{dropped}: anybody could read along, and pose as the broker; remove it"


def refusal(name: str, value: Any) -> str | None:
    """Why a raw librdkafka property cannot be set to `value`; None when it can."""
    rule = _REFUSED.get(name)
    if rule is not None:
        breaks, reason = rule
        return reason if breaks(str(value).strip().lower()) else None
    if name.endswith("_cb") or name in {"on_commit", "on_delivery", "logger"}:
        return "Ottla's own callbacks stand here; remove it"
    return None


def _always(_value: str) -> bool:
    return True


def _is_on(value: str) -> bool:
    return value in {"true", "1", "t"}


def _is_off(value: str) -> bool:
    return value in {"false", "0", "f"}


def _is_anonymous(value: str) -> bool:
    """Whether a list of ciphers lets in those without certificates or encryption."""
    return any(word in value for word in ("null", "adh", "aecdh", "seclevel=0", "complementofdefault"))


def _other_than(*allowed: str) -> Callable[[str], bool]:
    return lambda value: value not in allowed


_ACKS = (_other_than("all", "-1"), "fewer acknowledgements lose records when a broker dies; remove it")
_COMMITS = (
    _is_on,
    "the client would commit what no handler has finished; remove it (Ottla commits what is done)",
)
_CERTIFICATES = "without it anybody can pose as the broker; remove it and set KAFKA_CA_FILE"

_REFUSED: dict[str, tuple[Callable[[str], bool], str]] = {
    "enable.auto.commit": _COMMITS,
    "enable.auto.offset.store": _COMMITS,
    "auto.commit.enable": _COMMITS,
    "auto.offset.reset": (
        _other_than("error"),
        "the client would jump over records that retention removed; remove it and set KAFKA_START",
    ),
    "acks": _ACKS,
    "request.required.acks": _ACKS,
    "enable.idempotence": (_is_off, "retried sends would double or reorder records; remove it"),
    "transactional.id": (_always, "Ottla does not use Kafka transactions; remove it and take `tx` instead"),
    "partitioner": (
        _other_than("murmur2", "murmur2_random"),
        "keys would go to other partitions than Java's, and lose their order; use murmur2_random or murmur2",
    ),
    "enable.ssl.certificate.verification": (_is_off, _CERTIFICATES),
    "ssl.endpoint.identification.algorithm": (_other_than("https"), _CERTIFICATES),
    "ssl.cipher.suites": (
        _is_anonymous,
        "ciphers without certificates or encryption let anybody pose as the broker; name others",
    ),
    "enable.sasl.oauthbearer.unsecure.jwt": (
        _is_on,
        "anybody can make such a token; set KAFKA_SECURITY=oauth",
    ),
    "bootstrap.servers": (_always, "set KAFKA_BOOTSTRAP_SERVERS instead"),
    "metadata.broker.list": (_always, "set KAFKA_BOOTSTRAP_SERVERS instead"),
    "group.id": (_always, "set KAFKA_GROUP_ID instead: names of dead-letter topics follow from it"),
    "group.protocol": (_always, "set KAFKA_GROUP_PROTOCOL instead"),
    "group.instance.id": (
        _always,
        "set KAFKA_GROUP_INSTANCE_ID instead: listeners of a process need one each, or fence each other",
    ),
    "partition.assignment.strategy": (
        _always,
        "set KAFKA_ASSIGNOR instead: how partitions are taken up and given away follows from it",
    ),
    "max.poll.interval.ms": (
        _always,
        "set KAFKA_MAX_POLL_INTERVAL_S instead: KAFKA_DRAIN_S is checked against it",
    ),
    "enable.partition.eof": (_is_on, "ends of partitions are no records; remove it"),
}
