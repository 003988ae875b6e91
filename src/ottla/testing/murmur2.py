"""Where a key lies: the partitioner that Java's producer, Spring Kafka and our own clients share.

Source: Apache Kafka `org.apache.kafka.common.utils.Utils.murmur2` and `toPositive`.
"""

from __future__ import annotations

_MASK = 0xFFFF_FFFF
_SEED = 0x9747_B28C
_MULTIPLIER = 0x5BD1_E995


def murmur2(data: bytes) -> int:
    """The hash as an unsigned number of 32 bits; Java's int has the same bits."""
    value = _SEED ^ len(data)
    whole = len(data) & ~3
    for at in range(0, whole, 4):
        word = int.from_bytes(data[at : at + 4], "little") * _MULTIPLIER & _MASK
        word = (word ^ word >> 24) * _MULTIPLIER & _MASK
        value = value * _MULTIPLIER & _MASK ^ word
    if tail := data[whole:]:
        value = (value ^ int.from_bytes(tail, "little")) * _MULTIPLIER & _MASK
    value = (value ^ value >> 13) * _MULTIPLIER & _MASK
    return value ^ value >> 15


def partition_of(key: bytes, partitions: int) -> int:
    """The partition of `key` in a topic of so many."""
    return (murmur2(key) & 0x7FFF_FFFF) % partitions
