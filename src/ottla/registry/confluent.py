"""Schema registries that speak Confluent's protocol, by its own client.

Confluent's own registry, Apicurio (`/apis/ccompat/v7`), Karapace.

Rules of this file:
- Every question has a time-out and is asked once: who asks asks again.
- 404 is an answer when it is the registry's own: a wrong path is answered with 404 as well, by anybody,
  and must not turn records into dead letters. Everything else is an `Unavailable` that says what to do.
- No URL appears in an error as it was set: it may have a password in it.

Source: Confluent "Schema Registry API Reference"; confluent_kafka.schema_registry 2.16.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit
from uuid import UUID

from ottla.core.frames import SchemaRef
from ottla.core.schemas import SubjectState, WantedSchema, differences
from ottla.errors import (
    AuthenticationFailed,
    NotAuthorized,
    SchemaRefused,
    SchemaRegistryUnavailable,
    WiringError,
)
from ottla.ports import RegisteredSchema
from ottla.settings import Settings

if TYPE_CHECKING:  # an extra that costs 0.2 s of import
    from confluent_kafka.schema_registry import SchemaRegistryClient

_NOT_THERE = range(40_400, 40_500)
"""Codes of the protocol: no such subject, version, schema, or setting of a subject."""
_NOT_FOUND, _CONFLICT, _UNPROCESSABLE = 404, 409, 422
_REFUSED = {401: AuthenticationFailed, 403: NotAuthorized}
_MOST_REFERENCES = 100
_LONGEST = 600


class ConfluentRegistry:
    """Fills `ports.SchemaRegistry`. Threads may share it."""

    is_remote = True

    def __init__(self, settings: Settings) -> None:
        url = settings.schema_registry_url
        if url is None:
            raise WiringError("no schema registry is named: set SCHEMA_REGISTRY_URL (https://host:port)")
        try:
            import confluent_kafka.schema_registry  # noqa: F401  (looked for; made when first asked)
        except ImportError as error:
            raise WiringError(f"SCHEMA_REGISTRY_URL is set: install ottla[registry] ({error})") from error
        self._settings = settings
        self._where = ",".join(_shown(each) for each in url.get_secret_value().split(","))
        self._lock = threading.Lock()
        self._made: SchemaRegistryClient | None = None

    def schema(self, ref: SchemaRef) -> RegisteredSchema | None:
        """As `ports.SchemaRegistry.schema`."""
        with self._answers(f"schema {ref}"):
            client = self._client()
            if isinstance(ref, UUID):
                # Registries without GUIDs have no such path; theirs was seen to be one at the start.
                found = _or_none(lambda: client.get_schema_by_guid(str(ref)), codes=None)
            else:
                found = _or_none(lambda: client.get_schema(ref))
            return None if found is None else self._registered(0 if isinstance(ref, UUID) else ref, found)

    def newest(self, subject: str) -> RegisteredSchema | None:
        """As `ports.SchemaRegistry.newest`."""
        with self._answers(f"subject {subject!r}"):
            client = self._client()
            client.clear_latest_caches()  # type: ignore[no-untyped-call]
            found = _or_none(lambda: client.get_latest_version(subject))
            return None if found is None else self._registered(found.schema_id, found.schema)

    def id_of(self, wanted: WantedSchema) -> int | None:
        """As `ports.SchemaRegistry.id_of`."""
        found = self._version(wanted)
        return None if found is None else int(found.schema_id)

    def register(self, wanted: WantedSchema) -> int:
        """As `ports.SchemaRegistry.register`."""
        with self._answers(f"subject {wanted.subject!r}"):
            return int(self._client().register_schema(wanted.subject, _schema(wanted)))

    def state(self, wanted: WantedSchema) -> SubjectState:
        """As `ports.SchemaRegistry.state`."""
        found = self._version(wanted)
        latest = self._latest_version(wanted.subject)
        rule = self._compatibility(wanted.subject)
        if found is not None:
            return SubjectState(latest, found.schema_id, found.version, rule)
        newest = self.newest(wanted.subject)
        refusal = None if newest is None else self._refusal(wanted, newest)
        return SubjectState(latest, compatibility=rule, refusal=refusal)

    def close(self) -> None:
        """As `ports.SchemaRegistry.close`; a question that is out ends by its time-out."""
        with self._lock:
            if self._made is not None:
                self._made.close()
            self._made = None

    # -- questions

    def _version(self, wanted: WantedSchema) -> Any:
        with self._answers(f"subject {wanted.subject!r}"):
            client = self._client()
            return _or_none(lambda: client.lookup_schema(wanted.subject, _schema(wanted)))

    def _latest_version(self, subject: str) -> int | None:
        with self._answers(f"subject {subject!r}"):
            client = self._client()
            versions = _or_none(lambda: client.get_versions(subject))
            return max(versions) if versions else None

    def _compatibility(self, subject: str) -> str:
        """The rule in force: the subject's own, else that of all."""
        with self._answers(f"the compatibility of subject {subject!r}"):
            client = self._client()
            own = _or_none(lambda: client.get_compatibility(subject))
            return str(own or client.get_compatibility())

    def _refusal(self, wanted: WantedSchema, newest: RegisteredSchema) -> str | None:
        """Why the registry would not take a schema."""
        with self._answers(f"subject {wanted.subject!r}"):
            # `test_compatibility` of the client asks the same and throws the reasons away.
            answer = self._client()._rest_client.post(  # noqa: SLF001
                f"compatibility/subjects/{quote(wanted.subject, safe='')}/versions?verbose=true",
                body=_schema(wanted).to_dict(),
            )
            if answer["is_compatible"]:
                return None
            # Apicurio gives none.
            told = answer.get("messages") or differences(newest.text, wanted.text)
            return _bounded("; ".join(map(str, told or ["the registry gives no reason"])))

    def _registered(self, schema_id: int, schema: Any) -> RegisteredSchema:
        texts: dict[tuple[str, int], str] = {}
        self._add_references(schema.references, texts)
        kind = schema.schema_type or "AVRO"
        return RegisteredSchema(schema_id, kind, schema.schema_str, tuple(texts.values()))

    def _add_references(self, references: Any, texts: dict[tuple[str, int], str]) -> None:
        """What a schema names, what that names first."""
        for reference in references or ():
            key = (reference.subject, reference.version)
            if key not in texts and len(texts) < _MOST_REFERENCES:
                found = self._client().get_version(*key).schema
                self._add_references(found.references, texts)
                texts[key] = str(found.schema_str)

    # -- the client

    def _client(self) -> SchemaRegistryClient:
        with self._lock:
            if self._made is None:
                self._made = _connect(self._settings)
            return self._made

    @contextmanager
    def _answers(self, what: str) -> Iterator[None]:
        """What the client raises, as what it means."""
        import ssl

        from confluent_kafka.schema_registry.common._httpx_compat import httpx
        from confluent_kafka.schema_registry.error import SchemaRegistryError

        try:
            yield
        except SchemaRegistryError as error:
            words = _bounded(str(error.error_message))
            status = error.http_status_code
            if status in _REFUSED:
                raise _REFUSED[status](
                    f"the schema registry at {self._where} refuses {what} ({status}: {words}): "
                    "look at SCHEMA_REGISTRY_USERNAME and _PASSWORD, and at what they may do"
                ) from None
            if status in {_CONFLICT, _UNPROCESSABLE}:
                raise SchemaRefused(f"the schema registry does not take {what} ({status}): {words}") from None
            raise SchemaRegistryUnavailable(
                f"the schema registry at {self._where} fails on {what} ({status}: {words}); see its log"
            ) from None
        except (httpx.HTTPError, ssl.SSLError, OSError, ValueError, KeyError, TypeError) as error:
            raise SchemaRegistryUnavailable(
                f"the schema registry at {self._where} gives no answer for {what} ({_told(error)}): "
                "look whether it runs, and at SCHEMA_REGISTRY_URL"
            ) from None


def _connect(settings: Settings) -> SchemaRegistryClient:
    from confluent_kafka.schema_registry import SchemaRegistryClient

    url = settings.schema_registry_url
    assert url is not None  # noqa: S101  (looked at when the registry was made)
    conf: dict[str, Any] = {
        "url": url.get_secret_value(),
        "timeout": settings.schema_registry_timeout_s,
        "max.retries": 0,
    }
    if settings.schema_registry_username is not None and settings.schema_registry_password is not None:
        secret = settings.schema_registry_password.get_secret_value()
        conf["basic.auth.user.info"] = f"{settings.schema_registry_username}:{secret}"
    files = {
        "ssl.ca.location": settings.schema_registry_ca_file,
        "ssl.certificate.location": settings.schema_registry_certificate_file,
        "ssl.key.location": settings.schema_registry_key_file,
    }
    conf |= {name: str(file) for name, file in files.items() if file is not None}
    if settings.schema_registry_key_password is not None:
        conf["ssl.key.password"] = settings.schema_registry_key_password.get_secret_value()
    return SchemaRegistryClient(conf)


def _schema(wanted: WantedSchema) -> Any:
    from confluent_kafka.schema_registry import Schema

    return Schema(wanted.text, wanted.kind)


def _or_none(ask: Callable[[], Any], codes: range | None = _NOT_THERE) -> Any:
    """What `ask` returns; None for what the registry says it has not, by a code of `codes`."""
    from confluent_kafka.schema_registry.error import SchemaRegistryError

    try:
        return ask()
    except SchemaRegistryError as error:
        if error.http_status_code != _NOT_FOUND or (codes and error.error_code not in codes):
            raise
        return None


def _shown(url: str) -> str:
    """Scheme, host and port: what may be seen of a URL."""
    parts = urlsplit(url.strip())
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _told(error: BaseException) -> str:
    return _bounded(f"{type(error).__name__}: {error}" if str(error) else type(error).__name__)


def _bounded(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
