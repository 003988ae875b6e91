"""Writes a record that ends here elsewhere, and says when it is safe to be done with it.

To the dead-letter topic or to a retry topic. The order is the promise: publish, await the
acknowledgement, then the engine marks the record done. A process that dies in between
leaves the record uncommitted, and whoever gets it next writes it again; it is never the
other way round. With an inbox one transaction claims the event as dead and stores the dead
letter in the outbox, so an effect and a dead letter of one event exclude each other, and
the relay sends it. A record on its way to a retry topic claims nothing: it is not over.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

from ottla.core.decide import Forward, SendOn
from ottla.core.destinations import Destinations
from ottla.core.headers import Hop, dead_letter_headers, retry_headers
from ottla.ports import Claim, Clock, Inbox, RecordProducer
from ottla.records import EncodedRecord, Headers
from ottla.runtime.assignment import Delivery
from ottla.runtime.invoker import inbox_key
from ottla.runtime.publishing import publish

_log = logging.getLogger("ottla.listener")


class Settlement:
    """Sends records of one listener on.

    `partitions` are the counts that are known, by topic; an unknown one leaves the choice to the key.
    """

    def __init__(
        self,
        listener: str,
        destinations: Destinations,
        *,
        partitions: Mapping[str, int],
        producer: RecordProducer,
        inbox: Inbox | None,
        clock: Clock,
    ) -> None:
        self._listener = listener
        self._destinations = destinations
        self._partitions = partitions
        self._producer = producer
        self._inbox = inbox
        self._clock = clock

    async def send_on(self, delivery: Delivery, decision: SendOn) -> None:
        """Return once it is acknowledged or stored, or somebody else has ended the record.

        May write it twice, when the process died or the answer was lost before.

        Raises:
            SendFailed: it was not acknowledged.
            Unavailable: the inbox cannot be asked.
        """
        record = self._record(delivery, decision)
        if self._inbox is None or isinstance(decision, Forward):
            await publish(self._producer, record)
            return
        claim = await self._inbox.bury(inbox_key(self._listener, delivery), record)
        if claim in {Claim.DONE, Claim.DEAD}:
            _log.info(
                "%s: %s was ended elsewhere (%s); no dead letter", self._listener, delivery, claim.value
            )

    def _record(self, delivery: Delivery, decision: SendOn) -> EncodedRecord:
        """What is sent, to the partition of the same number where it exists, as Spring does; else by key.

        The key decides as well once it could not be written: the topic may have come back with
        fewer partitions.
        """
        topic = self._destinations.of(decision)
        number, count = delivery.state.partition.partition, self._partitions.get(topic, 0)
        return EncodedRecord(
            topic,
            key=delivery.message.key(),
            value=delivery.message.value(),
            headers=self._headers(delivery, decision),
            partition=number if number < count and not delivery.burials else None,
        )

    def _headers(self, delivery: Delivery, decision: SendOn) -> Headers:
        origin = delivery.origin(self._destinations.group)
        if isinstance(decision, Forward):
            hop = Hop(delivery.attempt + 1, delivery.first_seen_ms, decision.due_ms)
            return retry_headers(delivery.headers, origin, decision.error, hop)
        hop_to_the_end = None
        if self._destinations.stages:
            hop_to_the_end = Hop(delivery.attempt + 1, delivery.first_seen_ms, self._clock.time_ms())
        return dead_letter_headers(delivery.headers, origin, decision.reason, decision.error, hop_to_the_end)
