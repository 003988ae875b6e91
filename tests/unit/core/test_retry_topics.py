from __future__ import annotations

import math
from itertools import pairwise
from typing import Literal

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ottla.core.retry_topics import RetryTopics, Stage, next_retry
from ottla.errors import WiringError

FAR = 10**6
LONGEST_MS = 82_800_000
NOW = 1_795_407_112_963
SUFFIXES: list[Literal["delay", "index"]] = ["delay", "index"]
POLICIES = st.builds(
    RetryTopics,
    attempts=st.integers(2, 40),
    first_s=st.sampled_from([0.001, 0.0015, 0.2, 1.0, 1.001, 60.0]),
    factor=st.sampled_from([1.0, math.nextafter(1, 2), 1.0001, 1.5, 2.0, 3.7, 1e308]),
    max_s=st.sampled_from([60.0, 61.5, 3_600.0, 82_800.0]),
    timeout_s=st.none() | st.floats(0.001, 1e9),
    suffix=st.sampled_from(SUFFIXES),
)


def springs_delays_ms(policy: RetryTopics) -> list[int]:
    """Spring Framework 7 `ExponentialBackOff` as it is written, and never the fixed one."""
    most_ms = round(policy.max_s * 1000)
    delays_ms: list[int] = []
    current = -1
    while len(delays_ms) < policy.attempts - 1:
        if current < 0:
            current = round(policy.first_s * 1000)
        elif current >= most_ms:
            current = most_ms
        else:
            current = int(min(current * policy.factor, most_ms))  # a Java long does not overflow to infinity
        delays_ms.append(current)
    return delays_ms


def springs_suffixes(policy: RetryTopics) -> list[str]:
    """Spring Kafka 4.1.1 `DestinationTopicPropertiesFactory` with SINGLE_TOPIC, as it is written."""
    delays_ms = springs_delays_ms(policy)
    count = len(delays_ms) - (delays_ms.count(delays_ms[-1]) - 1 if len(delays_ms) > 1 else 0)
    if count == 1:
        return ["-retry"]
    if policy.suffix == "index" or (len(delays_ms) > 1 and len(set(delays_ms)) == 1):
        return [f"-retry-{index}" for index in range(count)]
    return [f"-retry-{delay_ms}" for delay_ms in delays_ms[:count]]


@pytest.mark.parametrize(
    ("policy", "stages"),
    [
        (RetryTopics(), {"-retry": 1000}),
        (RetryTopics(attempts=2), {"-retry": 1000}),
        (RetryTopics(attempts=2, factor=2), {"-retry": 1000}),
        (RetryTopics(attempts=2, suffix="index"), {"-retry": 1000}),
        (RetryTopics(attempts=9, first_s=5), {"-retry": 5000}),
        (RetryTopics(attempts=9, first_s=5, suffix="index"), {"-retry": 5000}),
        (RetryTopics(attempts=3, factor=2), {"-retry-1000": 1000, "-retry-2000": 2000}),
        (
            RetryTopics(attempts=4, factor=2),
            {"-retry-1000": 1000, "-retry-2000": 2000, "-retry-4000": 4000},
        ),
        (
            RetryTopics(attempts=4, factor=2, suffix="index"),
            {"-retry-0": 1000, "-retry-1": 2000, "-retry-2": 4000},
        ),
        (RetryTopics(attempts=5, factor=2, max_s=2), {"-retry-1000": 1000, "-retry-2000": 2000}),
        (RetryTopics(attempts=5, factor=2, max_s=2, suffix="index"), {"-retry-0": 1000, "-retry-1": 2000}),
        (RetryTopics(attempts=5, factor=2, max_s=1), {"-retry": 1000}),
        (  # cut to whole milliseconds each time: rounded at the end the third would be 1953
            RetryTopics(attempts=5, first_s=1, factor=1.25),
            {"-retry-1000": 1000, "-retry-1250": 1250, "-retry-1562": 1562, "-retry-1952": 1952},
        ),
        (RetryTopics(attempts=9, first_s=0.001, factor=1.5), {"-retry": 1}),  # 1.5 ms is cut to 1 for ever
    ],
)
def test_stages_are_the_topics_that_spring_makes(policy: RetryTopics, stages: dict[str, int]) -> None:
    assert {stage.suffix: stage.delay_ms for stage in policy.stages} == stages


@pytest.mark.parametrize(
    ("policy", "delays_ms"),
    [
        (RetryTopics(), (1000, 1000)),
        (RetryTopics(attempts=2), (1000,)),
        (RetryTopics(attempts=5, factor=2, max_s=2), (1000, 2000, 2000, 2000)),
        (RetryTopics(attempts=4, first_s=1.001, factor=3, max_s=5), (1001, 3003, 5000)),
    ],
)
def test_each_retry_has_its_wait(policy: RetryTopics, delays_ms: tuple[int, ...]) -> None:
    assert policy.delays_ms == delays_ms


@given(POLICIES)
def test_waits_and_names_are_those_of_springs_own_rules(policy: RetryTopics) -> None:
    assert list(policy.delays_ms) == springs_delays_ms(policy)
    assert [stage.suffix for stage in policy.stages] == springs_suffixes(policy)


@given(POLICIES)
def test_every_stage_has_a_name_and_a_wait_of_its_own_and_each_waits_longer(policy: RetryTopics) -> None:
    delays_ms = [stage.delay_ms for stage in policy.stages]

    assert len({stage.suffix for stage in policy.stages}) == len(policy.stages)
    assert all(shorter < longer for shorter, longer in pairwise(delays_ms))
    assert delays_ms[0] >= 1
    assert delays_ms[-1] <= LONGEST_MS


@given(POLICIES, st.integers(1, 50))
def test_after_an_attempt_a_record_waits_as_long_as_that_retry_says(
    policy: RetryTopics, attempt: int
) -> None:
    stage = policy.stage_after(attempt)

    assert (stage.delay_ms if stage else None) == dict(enumerate(policy.delays_ms, 1)).get(attempt)
    assert stage is None or stage in policy.stages


@pytest.mark.parametrize(
    ("attempt", "stage"),
    [
        (1, Stage("-retry-1000", 1000)),
        (2, Stage("-retry-2000", 2000)),
        (3, Stage("-retry-2000", 2000)),
        (32_765, Stage("-retry-2000", 2000)),
        (32_766, None),
        (32_767, None),
        (FAR, None),
    ],
)
def test_the_last_stage_takes_all_further_retries_up_to_the_last(attempt: int, stage: Stage | None) -> None:
    policy = RetryTopics(attempts=32_766, factor=2, max_s=2)

    assert policy.stage_after(attempt) == stage


def test_as_many_stages_as_attempts_allow_are_made() -> None:
    policy = RetryTopics(attempts=32_766, first_s=2, factor=1.001)

    assert policy.stages[-1].delay_ms == LONGEST_MS
    assert len(policy.delays_ms) == 32_765


@pytest.mark.parametrize(
    ("attempt", "now_ms", "after_s", "expected"),
    [
        (1, NOW, None, (Stage("-retry-1000", 1000), NOW + 1000)),
        (2, NOW, None, (Stage("-retry-2000", 2000), NOW + 2000)),
        (3, NOW, None, None),
        (FAR, NOW, None, None),
        (3, NOW, 7.0, None),  # asking for a retry makes no attempt
        (1, NOW, 0.0, (Stage("-retry-1000", 1000), NOW)),
        (1, NOW, -1.0, (Stage("-retry-1000", 1000), NOW)),
        (1, NOW, 7.0, (Stage("-retry-1000", 1000), NOW + 7000)),
        (1, NOW, 82_800.0, (Stage("-retry-1000", 1000), NOW + LONGEST_MS)),
        (1, NOW, 82_800.1, (Stage("-retry-1000", 1000), NOW + LONGEST_MS)),
        (1, NOW, 1e300, (Stage("-retry-1000", 1000), NOW + LONGEST_MS)),
        (1, NOW, math.inf, (Stage("-retry-1000", 1000), NOW + LONGEST_MS)),
        (1, NOW + 10**12, None, (Stage("-retry-1000", 1000), NOW + 10**12 + 1000)),  # without a timeout
    ],
)
def test_a_failed_record_waits_until_it_is_due_or_is_given_up(
    attempt: int, now_ms: int, after_s: float | None, expected: tuple[Stage, int] | None
) -> None:
    policy = RetryTopics(attempts=3, factor=2)

    retry = next_retry(policy, attempt=attempt, now_ms=now_ms, first_seen_ms=NOW, after_s=after_s)

    assert retry == expected


@pytest.mark.parametrize(
    ("first_seen_ms", "is_retried"),
    [
        (NOW, True),
        (NOW - 9_999, True),
        (NOW - 10_000, True),
        (NOW - 10_001, False),
        (-1, False),
        (NOW + 1, True),
    ],
)
def test_the_timeout_counts_from_the_records_own_timestamp_to_its_failure(
    first_seen_ms: int,
    is_retried: bool,  # noqa: FBT001
) -> None:
    policy = RetryTopics(first_s=60, timeout_s=10)  # due after the time-out, and retried all the same

    retry = next_retry(policy, attempt=1, now_ms=NOW, first_seen_ms=first_seen_ms)

    assert (retry is not None) is is_retried


@given(POLICIES, st.integers(1, 50), st.integers(-1, 10**12), st.none() | st.floats(allow_nan=False))
def test_no_due_time_is_in_the_past_or_more_than_a_day_ahead(
    policy: RetryTopics, attempt: int, age_ms: int, after_s: float | None
) -> None:
    retry = next_retry(policy, attempt=attempt, now_ms=NOW, first_seen_ms=NOW - age_ms, after_s=after_s)
    assume(retry)

    assert retry is not None
    assert NOW <= retry[1] <= NOW + LONGEST_MS
    assert retry[0] == policy.stage_after(attempt)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("attempts", 1),
        ("attempts", 32_767),
        ("first_s", 0.0009),
        ("first_s", 82_800.1),
        ("first_s", math.nan),
        ("max_s", 0.9),
        ("max_s", 82_800.1),
        ("max_s", math.inf),
        ("max_s", math.nan),
        ("factor", 0.99),
        ("factor", math.inf),
        ("factor", math.nan),
        ("timeout_s", 0),
        ("timeout_s", -1),
        ("timeout_s", math.inf),
        ("timeout_s", math.nan),
        ("suffix", "number"),
    ],
)
def test_a_value_out_of_its_range_is_refused_by_name(field: str, value: float | str) -> None:
    with pytest.raises(WiringError, match=rf"^RetryTopics: .*{field}={value!r} must"):
        RetryTopics(**{field: value})  # type: ignore[arg-type]


def test_every_value_out_of_its_range_is_told_at_once() -> None:
    with pytest.raises(WiringError) as caught:
        RetryTopics(attempts=1, first_s=-1, factor=0.5, max_s=-2, timeout_s=0, suffix="x")  # type: ignore[arg-type]

    assert str(caught.value) == (
        "RetryTopics: attempts=1 must lie in 2 to 32766; first_s=-1 must lie in 0.001 to 82800; "
        "max_s=-2 must lie in first_s to 82800; factor=0.5 must be at least 1; "
        "timeout_s=0 must be above 0; suffix='x' must be 'delay' or 'index'"
    )


def test_the_ends_of_every_range_are_taken() -> None:
    shortest = RetryTopics(attempts=2, first_s=0.001, max_s=0.001, timeout_s=5e-324)
    longest = RetryTopics(attempts=32_766, first_s=82_800, factor=1e308)

    assert shortest.delays_ms == (1,)
    assert set(longest.delays_ms) == {LONGEST_MS}


def test_policies_that_say_the_same_are_equal() -> None:
    assert RetryTopics(attempts=4) == RetryTopics(attempts=4)
    assert len({RetryTopics(attempts=4), RetryTopics(attempts=4), RetryTopics()}) == 2
