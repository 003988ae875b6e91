from __future__ import annotations

import pytest

from ottla.core.sizes import batch_bytes
from ottla.records import Headers


@pytest.mark.parametrize(
    ("key", "value", "headers", "size"),
    [
        (None, None, (), 68),
        (b"", b"", (), 68),
        (b"k", b"value", (), 74),
        (b"k", b"value", (("ü", b"xyz"), ("none", None)), 87),
        # Lengths at which a length itself takes one byte more: 63 of content, 64, 8,191 and 8,192.
        (bytes(63), None, (), 68 + 1 + 63),
        (bytes(64), None, (), 68 + 2 + 64),
        (None, bytes(8_191), (), 68 + 3 + 8_191),
        (None, bytes(8_192), (), 68 + 4 + 8_192),
        (None, bytes(2**27), (), 68 + 8 + 2**27),
    ],
)
def test_a_record_takes_as_much_as_its_batch_on_the_wire(
    key: bytes | None, value: bytes | None, headers: tuple[tuple[str, bytes | None], ...], size: int
) -> None:
    assert batch_bytes(key, value, Headers(headers)) == size
