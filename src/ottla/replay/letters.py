"""Dead letters as they lie on their topic."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from difflib import get_close_matches

from ottla.core.letters import Letter, LetterFilter, Span, told_by
from ottla.core.topology import TopicKind, parse_topic
from ottla.errors import TopicMissing
from ottla.kafka.reader import TopicReader
from ottla.ports import Message
from ottla.records import Headers

_NAMED = 5


def letter_in(message: Message) -> Letter:
    """The letter that a record is."""
    kind, timestamp_ms = message.timestamp()
    headers = _headers_of(message)
    return Letter(
        message.topic(),
        message.partition(),
        message.offset(),
        timestamp_ms if kind else None,
        message.key(),
        message.value(),
        headers,
        told_by(headers),
    )


class LetterBox:
    """The letters of `topic` that are meant by `wanted`, as many as there are when it is opened.

    Two readings give the same letters in the same order, but for what retention removes.
    """

    def __init__(self, reader: TopicReader, topic: str, wanted: LetterFilter) -> None:
        self._reader = reader
        self._topic = topic
        self._wanted = wanted
        self._spans: dict[int, Span] = {}

    async def open(self, topics: Mapping[str, int]) -> None:
        """Note where each partition ends; `topics` are the cluster's, with their partitions.

        Raises `TopicMissing`, which names what there is.
        """
        if self._topic not in topics:
            there = [name for name in sorted(topics) if parse_topic(name).kind is TopicKind.DEAD_LETTER]
            near = get_close_matches(self._topic, there, _NAMED) or there[:_NAMED]
            named = f"dead-letter topics are {', '.join(near)}" if near else "nor any dead-letter topic"
            raise TopicMissing(f"topic {self._topic!r}: no such topic that this user may see; {named}")
        whole = await self._reader.spans(self._topic, range(topics[self._topic]))
        self._spans = {number: self._wanted.span(number, *span) for number, span in whole.items()}

    async def letters(self, on_read: Callable[[int], None] = lambda _: None) -> AsyncIterator[Letter]:
        """Those that are meant; `on_read` is told of each batch how many records it had."""
        async for messages in self._reader.read(self._topic, self._spans):
            on_read(len(messages))
            for message in messages:
                letter = letter_in(message)
                if self._wanted.matches(letter):
                    yield letter


def _headers_of(message: Message) -> Headers | None:
    """None where a name is not UTF-8: asked once, because the client survives no second question."""
    try:
        return Headers(message.headers() or ())
    except (SystemError, UnicodeDecodeError):
        return None
