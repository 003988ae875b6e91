from __future__ import annotations

import pytest

from ottla.testing.murmur2 import murmur2, partition_of


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_it_is_the_hash_of_javas_own_test(data: bytes, expected: int) -> None:
    assert murmur2(data) == expected & 0xFFFFFFFF


@pytest.mark.parametrize(
    ("key", "partition"),
    [
        (b"", 35),
        (b"a", 49),
        (b"ab", 36),
        (b"abc", 77),
        (b"abcd", 5),
        (b"order-1", 79),
        ("grün".encode(), 14),
        (b"\xff\x00\xfe", 71),
        (b"42", 57),
        (b"-1", 28),
        (b"\x80" * 7, 31),
        (b"customer-" * 20, 26),
    ],
)
def test_a_key_lies_where_confluent_kafkas_murmur2_random_put_it_among_97(key: bytes, partition: int) -> None:
    assert partition_of(key, 97) == partition
