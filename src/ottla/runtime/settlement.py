"""Writes the dead letter of a record that was given up, and says when it is safe to be done with it.

The order is the promise: publish, await the acknowledgement, then the engine marks the
record done. A process that dies in between leaves the record uncommitted, and whoever
gets it next writes the dead letter again; it is never the other way round. With an inbox
one transaction claims the event as dead and stores the dead letter in the outbox, so an
effect and a dead letter of one event exclude each other, and the relay sends it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

from ottla.core.decide import Bury
from ottla.core.headers import Origin, dead_letter_headers
from ottla.ports import Claim, Inbox, RecordProducer
from ottla.records import EncodedRecord
from ottla.runtime.assignment import Delivery
from ottla.runtime.invoker import inbox_key
from ottla.runtime.publishing import publish

_log = logging.getLogger("ottla.listener")


class Settlement:
    """Buries records in one listener's dead-letter topic.

    `partitions` are the counts that are known, by topic; an unknown one leaves the choice to the key.
    """

    def __init__(
        self,
        listener: str,
        group: str,
        *,
        topic: str,
        partitions: Mapping[str, int],
        producer: RecordProducer,
        inbox: Inbox | None,
    ) -> None:
        self._listener = listener
        self._group = group
        self._topic = topic
        self._partitions = partitions
        self._producer = producer
        self._inbox = inbox

    async def bury(self, delivery: Delivery, decision: Bury) -> None:
        """Return once the dead letter is acknowledged or stored, or somebody else has ended the record.

        May write the dead letter twice, when the process died or the answer was lost before.

        Raises:
            SendFailed: it was not acknowledged.
            Unavailable: the inbox cannot be asked.
        """
        letter = self._letter(delivery, decision)
        if self._inbox is None:
            await publish(self._producer, letter)
            return
        claim = await self._inbox.bury(inbox_key(self._listener, delivery), letter)
        if claim in {Claim.DONE, Claim.DEAD}:
            _log.info(
                "%s: %s was ended elsewhere (%s); no dead letter", self._listener, delivery, claim.value
            )

    def _letter(self, delivery: Delivery, decision: Bury) -> EncodedRecord:
        """The dead letter, to the partition of the same number where it exists, as Spring does; else by key.

        The key decides as well once a burial has failed: the topic may have come back with
        fewer partitions.
        """
        message = delivery.message
        timestamp_type, timestamp_ms = message.timestamp()
        origin = Origin(*delivery.state.partition, delivery.offset, timestamp_ms, timestamp_type, self._group)
        number, count = delivery.state.partition.partition, self._partitions.get(self._topic, 0)
        return EncodedRecord(
            self._topic,
            key=message.key(),
            value=message.value(),
            headers=dead_letter_headers(delivery.headers, origin, decision.reason, decision.error),
            partition=number if number < count and not delivery.burials else None,
        )
