"""Where reading begins when a committed offset does not say: there is none, or its record is gone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ottla.errors import WiringError

_ENDS = ("earliest", "latest")


@dataclass(frozen=True, slots=True)
class Offsets:
    """Where a listener reads a partition whose committed offset does not tell.

    Args:
        start: where a partition without a committed offset begins; None is as the
            setting says (`KAFKA_START`).
        on_out_of_range: what to do when the next record is gone (retention): `stop` that
            partition and say so, or say so and go on at the `earliest` or `latest` there is.

    Raises:
        WiringError: a value that is none of these.
    """

    start: Literal["earliest", "latest"] | None = None
    on_out_of_range: Literal["stop", "earliest", "latest"] = "stop"

    def __post_init__(self) -> None:
        problems = [
            problem
            for is_wrong, problem in (
                (self.start not in (None, *_ENDS), f"start={self.start!r} must be 'earliest' or 'latest'"),
                (
                    self.on_out_of_range not in ("stop", *_ENDS),
                    f"on_out_of_range={self.on_out_of_range!r} must be 'stop', 'earliest' or 'latest'",
                ),
            )
            if is_wrong
        ]
        if problems:
            raise WiringError(f"Offsets: {'; '.join(problems)}")
