"""What has become of dead letters, read from and written to the ledgers of their groups."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from ottla.core.letters import Letter
from ottla.core.replay_ledger import (
    LEDGER_CONFIG,
    Entry,
    encode_entry,
    entry_key,
    fold,
    ledger_topic,
)
from ottla.core.topology import CreateTopic
from ottla.kafka.reader import TopicReader
from ottla.ports import RecordProducer
from ottla.records import Headers


class Ledgers:
    """The ledgers of the groups whose letters are met, each read to its end when it is first asked for.

    `topics` are the cluster's. A ledger that is not there is empty, until somebody makes it.
    """

    def __init__(self, new_reader: Callable[[], TopicReader], topics: Mapping[str, int]) -> None:
        self._new_reader = new_reader
        self._topics = topics
        self._read: dict[str, dict[bytes, Entry]] = {}

    async def entry(self, letter: Letter) -> Entry | None:
        """What became of `letter` until now."""
        topic = ledger_topic(letter)
        if topic not in self._read:
            self._read[topic] = await self._entries(topic)
        return self._read[topic].get(entry_key(letter))

    def missing(self, letters_ledgers: Iterable[str]) -> list[CreateTopic]:
        """Those of the ledgers that are to be made before anything is written to them."""
        return [
            CreateTopic(topic, 1, LEDGER_CONFIG)
            for topic in sorted(set(letters_ledgers))
            if topic not in self._topics
        ]

    async def _entries(self, topic: str) -> dict[bytes, Entry]:
        if topic not in self._topics:
            return {}
        records: list[tuple[bytes | None, bytes | None]] = []
        async with self._new_reader() as reader:
            spans = await reader.spans(topic, range(self._topics[topic]))
            async for messages in reader.read(topic, spans):
                records += [(message.key(), message.value()) for message in messages]
        return fold(records)


async def write_entry(producer: RecordProducer, letter: Letter, entry: Entry) -> None:
    """Return once it is acknowledged. Raises a `SendFailed`."""
    await producer.send(
        ledger_topic(letter), key=entry_key(letter), value=encode_entry(entry), headers=Headers()
    )
