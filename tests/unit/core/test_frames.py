"""A value says by its first bytes or a header which schema it was written with, and whose frame it has."""

from __future__ import annotations

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ottla.core.frames import SCHEMA_ID_HEADER, Frame, framed, is_framed, read_frame
from ottla.errors import Undecodable

GUID = UUID("89791762-2336-4186-9674-299b90a802e2")
BY_GUID = [(SCHEMA_ID_HEADER, b"\x01" + GUID.bytes)]


@given(st.integers(1, 2**31 - 1), st.binary())
def test_what_is_framed_is_read_again(schema_id: int, body: bytes) -> None:
    value = framed(schema_id, body)

    assert value[:5] == b"\x00" + schema_id.to_bytes(4, "big")
    assert read_frame(value) == Frame(schema_id, body)
    assert is_framed(value, ())


def test_a_header_with_a_guid_leaves_the_body_bare_also_where_it_begins_with_a_zero() -> None:
    assert read_frame(b"\x00\x00\x00\x00\x07x", BY_GUID) == Frame(GUID, b"\x00\x00\x00\x00\x07x")
    assert is_framed(b"x", BY_GUID)


def test_of_several_headers_the_last_counts() -> None:
    headers = [(SCHEMA_ID_HEADER, b"\x01" + bytes(16)), *BY_GUID]

    assert read_frame(b"", headers).schema == GUID


@pytest.mark.parametrize(
    ("value", "headers", "reason"),
    [
        (b"", [], "empty"),
        (b"\x00\x00\x01", [], "truncated: 3 bytes"),
        (b"\x03\x00" + GUID.bytes + b"x", [], "AWS Glue"),
        (b"\x00" + (7).to_bytes(8, "big") + b"x", [], "Apicurio's own"),
        (b"\x00\xff\xff\xff\xff", [], "larger than a registry gives"),
        (b'{"order_id": 1}', [], "first byte is 7b"),
        (b"x", [(SCHEMA_ID_HEADER, b"\x01short")], "no schema id"),
    ],
)
def test_what_is_no_frame_of_ours_is_told_by_whose_it_is(
    value: bytes, headers: list[tuple[str, bytes | None]], reason: str
) -> None:
    with pytest.raises(Undecodable, match=reason):
        read_frame(value, headers)


@given(st.binary(max_size=40))
def test_no_bytes_end_in_another_error(value: bytes) -> None:
    try:
        frame = read_frame(value)
    except Undecodable:
        return
    assert framed(int(frame.schema), frame.body) == value
