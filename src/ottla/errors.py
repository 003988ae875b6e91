"""Every exception of Ottla, and apart from them the signals a handler raises.

OttlaError
├── ConfigurationError        only an edit cures it; `ottla run` exits with 78
│   ├── SettingsError         every unsound setting at once
│   └── WiringError           listeners, topics, annotations that do not fit
├── Unavailable               the outside cures it: no handler's attempt, waited for without end
│   ├── BrokerUnavailable     unreachable, refusing, or not answering in time
│   ├── AuthenticationFailed  wrong user, password, certificate or token
│   ├── NotAuthorized         an ACL is missing
│   ├── TopicMissing          a topic does not exist
│   ├── DatabaseUnavailable   no connection, or a lost one
│   ├── TransactionConflict   given up for another transaction's sake: run it again
│   ├── DatabaseNotMigrated   `ottla db upgrade` has not run
│   ├── SchemaRegistryUnavailable  unreachable, failing, or not answering in time
│   ├── SchemaNotRegistered   `ottla schemas register` has not run
│   └── SchemaRefused         the schema registry does not take a schema
├── SendFailed                a record was not acknowledged; carries topic and key
│   ├── NotSerializable       the value or key does not fit the topic
│   ├── RecordTooLarge        over the client's or the broker's limit
│   ├── SendTimedOut          also Unavailable; the record may have been written
│   ├── SendUnproven          also Unavailable; called written, and what the client was told is no proof
│   ├── SendRefused           also Unavailable; the broker said no (unknown topic, ACL, policy)
│   └── ProducerClosed        the app is stopping
├── Undecodable               a record's bytes do not fit the listener's annotation
├── EventIdReused             the same event id with other content
└── FatalClientError          the Kafka client cannot go on; the process ends

Signal                        what a handler raises to say what shall happen; no OttlaError
├── Retry                     again, after the back-off or after what it names
├── DeadLetter                to the dead-letter topic now
└── Skip                      done without effect
"""

from __future__ import annotations

from datetime import timedelta


class OttlaError(Exception):
    """The root of all errors that Ottla raises."""


class ConfigurationError(OttlaError):
    """Only an edit cures it: settings, wiring or annotations."""


class SettingsError(ConfigurationError):
    """Settings are missing or unsound; `problems` lists every one of them."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        self.problems = problems
        super().__init__("; ".join(problems))


class WiringError(ConfigurationError):
    """Listeners, topics or annotations do not fit together."""


class Unavailable(OttlaError):
    """Something outside is not there; waiting or an operator cures it.

    Raised below a handler it is no attempt of that handler: the listener stops
    starting records, says why, and tries again without end.
    """


class BrokerUnavailable(Unavailable):
    """No broker answers in time."""


class AuthenticationFailed(Unavailable):
    """The broker or the database refuses who we say we are."""


class NotAuthorized(Unavailable):
    """We are known, but an ACL or a grant is missing."""


class TopicMissing(Unavailable):
    """A topic does not exist on the cluster."""


class DatabaseUnavailable(Unavailable):
    """No connection to PostgreSQL could be had, or one was lost; a COMMIT under way may have taken place."""


class TransactionConflict(Unavailable):
    """PostgreSQL gave a transaction up because of another one; nothing of it took place: run it again.

    A serialization failure, a deadlock, or a lock that did not come within
    DATABASE_LOCK_TIMEOUT_S. A listener does so by itself, and only the record's key waits.
    """


class DatabaseNotMigrated(Unavailable):
    """The tables of Ottla are missing or of another version."""


class SchemaRegistryUnavailable(Unavailable):
    """The schema registry cannot be reached, fails, or does not answer in time."""


class SchemaNotRegistered(Unavailable):
    """A topic's schema is not registered as this service has it."""


class SchemaRefused(Unavailable):
    """The registry does not take a schema: it is invalid, or not compatible with what is registered."""


class SendFailed(OttlaError):
    """A record was not acknowledged."""

    def __init__(self, message: str, *, topic: str, key: bytes | None = None) -> None:
        self.topic = topic
        self.key = key
        super().__init__(message)


class NotSerializable(SendFailed):
    """The value or the key does not fit the topic's type."""


class RecordTooLarge(SendFailed):
    """The record is larger than the client or the broker allows."""


class SendTimedOut(SendFailed, Unavailable):
    """No acknowledgement within `delivery.timeout.ms`; the record may still have been written."""


class SendUnproven(SendFailed, Unavailable):
    """The client calls the record written, and what it was told is no proof; it may or may not be there."""


class SendRefused(SendFailed, Unavailable):
    """The broker refused the record for a reason that an operator can cure."""


class ProducerClosed(SendFailed):
    """The producer is closed: the app has not started, or is stopping."""


class Undecodable(OttlaError):
    """A record's bytes do not fit what the listener takes; no retry can help."""


class EventIdReused(OttlaError):
    """A record has the event id of an earlier one, and other content."""


class FatalClientError(OttlaError):
    """The Kafka client reports that it cannot go on; only a new process can."""


class Signal(Exception):
    """What a handler raises to say what shall happen to its record."""


class Retry(Signal):
    """Handle the record again after `after`, or after the listener's back-off. Counts as an attempt."""

    def __init__(self, *, after: timedelta | None = None, reason: str = "") -> None:
        self.after = after
        self.reason = reason
        super().__init__(reason or "the handler asked for a retry")


class DeadLetter(Signal):
    """Send the record to the dead-letter topic now, without further attempts."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


class Skip(Signal):
    """The record is done without effect; with `tx` what the handler wrote is rolled back."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)
