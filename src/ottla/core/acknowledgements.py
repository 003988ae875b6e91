"""Which acknowledgements prove that a record is written.

Rules of this file:
- One without an offset proves nothing. librdkafka takes a broker's "duplicate sequence number" for
  success also where it has sent the record only once, and then nobody has written it.
- Neither does one with an offset that an earlier one had reached. A broker that takes a batch for another
  that it has answers with that one's offset; what is written stands behind all that was acknowledged
  before, since a partition's batches are written and answered in the order in which a client sends them.
- A topic made anew begins at 0: its first acknowledgement of each partition is not believed, the second is.

Source: librdkafka `rd_kafka_handle_idempotent_Produce_error`; Kafka `ProducerStateEntry.findDuplicateBatch`.
"""

from __future__ import annotations


class Acknowledgements:
    """Those of one client."""

    def __init__(self) -> None:
        self._last: dict[tuple[str, int], int] = {}

    def proves(self, topic: str, partition: int, offset: int | None) -> bool:
        """Whether a record is written that is said to stand there. None: the client was told no offset."""
        if offset is None:
            return False
        last = self._last.get((topic, partition), -1)
        self._last[topic, partition] = offset
        return offset > last
