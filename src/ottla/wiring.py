"""What the declarations of an app come to under its settings: whether they fit together, and what they need.

Nothing is opened and nobody asked: the same for an app that starts, and for whoever makes its topics,
registers its schemas and grants its rights beforehand.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ottla.core.access import Access, all_of, dlt_handler_access, listener_access
from ottla.core.destinations import Destinations
from ottla.core.schemas import WantedSchema
from ottla.core.topology import WantedTopic, with_topics_beside
from ottla.errors import WiringError
from ottla.listener import ListenerSpec, Parameters, check, parameters_of
from ottla.serde.codecs import Codecs
from ottla.serde.schemas import Unregistered
from ottla.settings import Settings
from ottla.topics import Topic

_LEAST_WITH_THREADS = 3
"""Connections that an app with transactions in threads needs."""


@dataclass(frozen=True, slots=True)
class Wiring:
    """The listeners of an app and the `sent` topics, those that it is known to send to."""

    app: str
    specs: Sequence[ListenerSpec]
    sent: Sequence[Topic[Any]]
    settings: Settings

    @property
    def group(self) -> str:
        """The consumer group of the listeners."""
        return self.settings.kafka.group_id or self.app

    def check(self, codecs: Codecs | None = None, *, needs_database: bool = True) -> list[Parameters]:
        """Every listener's parameters, where all fits together.

        `codecs` are those that will read and write; by default whether there is a schema
        registry is not asked.

        Raises:
            WiringError: not so, all problems in one error.
        """
        codecs = codecs or self._codecs()
        problems = list(self._problems_of_sent(codecs))
        found: list[Parameters] = []
        names: dict[tuple[bool, str], ListenerSpec] = {}
        for spec in self.specs:
            problems += [*check(spec), *self._problems_of_dlt_handler(spec)]
            name = self.settings.topic_name(spec.topic.name)
            if (other := names.setdefault((spec.is_dlt_handler, name), spec)) is not spec:
                problems.append(
                    f"{spec} and {other} share topic {name!r} and group {self.group!r}: each "
                    "record would reach only one of them; put them into two apps, or let one call the other"
                )
            try:
                parameters = parameters_of(spec)
                codecs.reader(spec.topic, parameters.annotation)
            except WiringError as error:
                problems.append(str(error) if str(error).startswith(str(spec)) else f"{spec}: {error}")
                continue
            found.append(parameters)
            if parameters.transaction:
                problems += self._problems_of_transactions(spec, needs_database=needs_database)
        if problems:
            raise WiringError("\n".join(problems))
        return found

    def topics(self) -> list[WantedTopic]:
        """What the app wants of its topics on this cluster, the listeners' dead-letter topics included."""
        listened = [(spec.topic, to.beside) for spec, to in self._listened()]
        declared: list[tuple[Topic[Any], list[str]]] = [*listened, *((topic, []) for topic in self.sent)]
        return with_topics_beside(
            (WantedTopic(self.settings.topic_name(topic.name), topic.partitions, topic.config or {}), beside)
            for topic, beside in declared
        )

    def access(self) -> Access:
        """What the app reads and writes on this cluster, and in which groups."""
        listening = (
            (dlt_handler_access if spec.is_dlt_handler else listener_access)(
                destinations(spec, self.settings, self.group)
            )
            for spec in self.specs
        )
        sent = Access(written=tuple(self.settings.topic_name(topic.name) for topic in self.sent))
        return all_of([*listening, sent])

    def schemas(self) -> list[WantedSchema]:
        """The schemas of the topics that have one: those that are sent to, and the listeners'."""
        codecs = self._codecs()
        topics = [*self.sent, *(spec.topic for spec, _ in self._listened())]
        wanted = [schema for topic in topics if (schema := codecs.wanted(topic)) is not None]
        return list(dict.fromkeys(wanted))

    def _listened(self) -> list[tuple[ListenerSpec, Destinations]]:
        return [
            (spec, destinations(spec, self.settings, self.group))
            for spec in self.specs
            if not spec.is_dlt_handler
        ]

    def _codecs(self) -> Codecs:
        """For what asks no registry: what a topic's schema is."""
        has_registry = self.settings.schema_registry_url is not None
        return Codecs(Unregistered(), topic_name=self.settings.topic_name, has_registry=has_registry)

    def _problems_of_sent(self, codecs: Codecs) -> Iterable[str]:
        """Whether the values of topics that are sent to can be written."""
        for topic in self.sent:
            try:
                codecs.encoder(topic)
            except WiringError as error:
                yield str(error) if "topic " in str(error) else f"topic {topic.name!r}: {error}"

    def _problems_of_dlt_handler(self, spec: ListenerSpec) -> list[str]:
        """Whether there are dead letters for it, and whether it can take all of them."""
        if not spec.is_dlt_handler:
            return []
        if not any(
            other.topic.name == spec.topic.name and other.dead_letter is not None for other in self.specs
        ):
            return [f"{spec}: no listener of this app writes dead letters of topic {spec.topic.name!r}"]
        try:
            parameters = parameters_of(spec)
        except WiringError:
            return []  # told with the other parameters
        if parameters.payload is not None:
            problem = (
                f"{spec}: parameter {parameters.payload!r} would have to be decoded, which is what may have "
                "failed; take a Record, and decode record.value"
            )
            return [problem]
        return []

    def _problems_of_transactions(self, spec: ListenerSpec, *, needs_database: bool) -> Iterable[str]:
        """Whether there is a database for them, and room in it."""
        if needs_database and self.settings.database_url is None:
            yield f"{spec} takes a Transaction: set DATABASE_URL (postgresql://user:password@host/name)"
        if not spec.is_async and self.settings.database_connections < _LEAST_WITH_THREADS:
            yield (
                f"{spec} is a `def` that takes a Transaction: set DATABASE_CONNECTIONS to "
                f"{_LEAST_WITH_THREADS} or more: for its threads, for the outbox, for the rest"
            )


def destinations(spec: ListenerSpec, settings: Settings, group: str) -> Destinations:
    """The topics beside that of `spec` on this cluster."""
    topic = settings.topic_name(spec.topic.name)
    return Destinations(topic, group, settings.kafka.naming, spec.retry, spec.dead_letter)
