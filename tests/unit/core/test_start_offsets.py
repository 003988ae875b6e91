from __future__ import annotations

import pytest

from ottla.core.start_offsets import Offsets
from ottla.errors import WiringError


def test_by_default_the_setting_tells_the_start_and_a_gap_stops_the_partition() -> None:
    assert (Offsets().start, Offsets().on_out_of_range) == (None, "stop")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("start", "newest"),
        ("start", "stop"),
        ("start", 0),
        ("on_out_of_range", "skip"),
        ("on_out_of_range", None),
    ],
)
def test_a_value_that_is_none_of_the_choices_is_refused_by_name(field: str, value: object) -> None:
    with pytest.raises(WiringError, match=rf"^Offsets: {field}={value!r} must be"):
        Offsets(**{field: value})  # type: ignore[arg-type]


def test_both_unsound_values_are_told_at_once() -> None:
    with pytest.raises(WiringError) as caught:
        Offsets(start="newest", on_out_of_range="skip")  # type: ignore[arg-type]

    assert str(caught.value).count("must be") == 2
