from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ottla.core.topology import (
    AddPartitions,
    CreateTopic,
    KeepPartitions,
    Naming,
    ParsedTopic,
    PresentTopic,
    SetConfig,
    Step,
    TopicInOrder,
    TopicKind,
    WantedTopic,
    dead_letter_group,
    dead_letter_topic,
    parse_topic,
    plan_topics,
    replay_topic,
    retry_group,
    retry_topic,
    with_topics_beside,
)


@pytest.mark.parametrize(
    ("naming", "name"),
    [(Naming.PER_GROUP, "orders-billing-dlt"), (Naming.SPRING, "orders-dlt")],
)
def test_the_dead_letter_topic_is_named_by_topic_and_group_or_as_springs(naming: Naming, name: str) -> None:
    assert dead_letter_topic("orders", "billing", naming) == name


def test_two_groups_on_a_topic_keep_their_failures_apart_unless_they_share_them_with_java() -> None:
    names = {
        naming: {dead_letter_topic("orders", group, naming) for group in ("billing", "notifications")}
        for naming in Naming
    }

    assert len(names[Naming.PER_GROUP]) == 2
    assert len(names[Naming.SPRING]) == 1


@pytest.mark.parametrize(
    ("naming", "suffix", "name"),
    [
        (Naming.PER_GROUP, "-retry", "orders-billing-retry"),
        (Naming.PER_GROUP, "-retry-1000", "orders-billing-retry-1000"),
        (Naming.SPRING, "-retry", "orders-retry"),
        (Naming.SPRING, "-retry-0", "orders-retry-0"),
    ],
)
def test_a_retry_topic_is_named_by_topic_group_and_stage_or_as_springs(
    naming: Naming, suffix: str, name: str
) -> None:
    assert retry_topic("orders", "billing", suffix, naming) == name


def test_who_reads_retry_topics_and_dead_letters_is_named_as_in_spring() -> None:
    assert retry_group("billing", "-retry-1000") == "billing-retry-1000"
    assert dead_letter_group("billing") == "billing-dlt"


def test_a_groups_replays_are_its_own() -> None:
    assert replay_topic("orders", "billing") == "orders-billing-replay"


@pytest.mark.parametrize(
    ("name", "base", "kind", "suffix"),
    [
        ("orders", "orders", TopicKind.MAIN, ""),
        ("orders-dlt", "orders", TopicKind.DEAD_LETTER, "-dlt"),
        ("orders-billing-dlt", "orders-billing", TopicKind.DEAD_LETTER, "-dlt"),
        ("orders.DLT", "orders", TopicKind.DEAD_LETTER, ".DLT"),
        ("orders-retry", "orders", TopicKind.RETRY, "-retry"),
        ("orders-retry-0", "orders", TopicKind.RETRY, "-retry-0"),
        ("orders-retry-1000", "orders", TopicKind.RETRY, "-retry-1000"),
        ("orders-retry-2000-1", "orders", TopicKind.RETRY, "-retry-2000-1"),
        ("orders-billing-replay", "orders-billing", TopicKind.REPLAY, "-replay"),
        ("orders-deserialization-dlt", "orders-deserialization", TopicKind.DEAD_LETTER, "-dlt"),
        ("orders-retry-1000-dlt", "orders-retry-1000", TopicKind.DEAD_LETTER, "-dlt"),
        ("orders-dlt-retry", "orders-dlt", TopicKind.RETRY, "-retry"),
        ("orders-retry-retry-1", "orders-retry", TopicKind.RETRY, "-retry-1"),
        # What only looks like one.
        ("orders.dlt", "orders.dlt", TopicKind.MAIN, ""),
        ("orders-DLT", "orders-DLT", TopicKind.MAIN, ""),
        ("orders_retry", "orders_retry", TopicKind.MAIN, ""),
        ("orders-retryable", "orders-retryable", TopicKind.MAIN, ""),
        ("orders-retry-", "orders-retry-", TopicKind.MAIN, ""),
        ("orders-retry-soon", "orders-retry-soon", TopicKind.MAIN, ""),
        ("orders-retry-1-2-3", "orders-retry-1-2-3", TopicKind.MAIN, ""),
        ("orders-retry--1", "orders-retry--1", TopicKind.MAIN, ""),
        ("orders-retry-1-", "orders-retry-1-", TopicKind.MAIN, ""),
        ("orders-retry-²", "orders-retry-²", TopicKind.MAIN, ""),
        ("-dlt", "-dlt", TopicKind.MAIN, ""),
        ("-retry-1", "-retry-1", TopicKind.MAIN, ""),
        ("", "", TopicKind.MAIN, ""),
    ],
)
def test_a_name_is_taken_apart(name: str, base: str, kind: TopicKind, suffix: str) -> None:
    assert parse_topic(name) == ParsedTopic(base, kind, suffix)


TOPIC_NAMES = st.text(st.sampled_from("ab.-0"), min_size=1, max_size=6) | st.sampled_from(
    ["orders", "a-retry", "a-dlt", "a-retry-1"]
)
STAGES = st.sampled_from(["-retry", "-retry-0", "-retry-1000", "-retry-2000-1"])


@given(TOPIC_NAMES, TOPIC_NAMES, st.sampled_from(Naming), STAGES)
def test_every_name_that_is_given_is_taken_apart_again(
    topic: str, group: str, naming: Naming, suffix: str
) -> None:
    own = f"{topic}-{group}"
    base = own if naming is Naming.PER_GROUP else topic

    assert parse_topic(retry_topic(topic, group, suffix, naming)) == ParsedTopic(
        base, TopicKind.RETRY, suffix
    )
    assert parse_topic(dead_letter_topic(topic, group, naming)) == ParsedTopic(
        base, TopicKind.DEAD_LETTER, "-dlt"
    )
    assert parse_topic(replay_topic(topic, group)) == ParsedTopic(own, TopicKind.REPLAY, "-replay")


@given(st.text(max_size=12))
def test_base_and_suffix_joined_are_the_name_whatever_it_is(name: str) -> None:
    parsed = parse_topic(name)

    assert parsed.base + parsed.suffix == name
    assert (parsed.kind is TopicKind.MAIN) == (parsed.suffix == "")


ORDERS, DEAD = "orders", "orders-billing-dlt"
DEAD_LETTERS = WantedTopic(DEAD, takes_from=ORDERS)


def test_each_topic_is_followed_by_those_beside_it() -> None:
    listened = [(WantedTopic("orders", 6), [DEAD]), (WantedTopic("audit"), [])]

    wanted = with_topics_beside(listened)

    assert wanted == [WantedTopic("orders", 6), DEAD_LETTERS, WantedTopic("audit")]


@pytest.mark.parametrize("order", [1, -1])
def test_a_dead_letter_topic_that_is_listened_to_keeps_both_wishes(order: int) -> None:
    listened = [(WantedTopic(ORDERS, 6), [DEAD]), (WantedTopic(DEAD, 3, {"retention.ms": "1"}), [])]

    wanted = with_topics_beside(listened[::order])

    assert sorted(wanted, key=lambda topic: topic.name) == [
        WantedTopic(ORDERS, 6),
        WantedTopic(DEAD, 3, {"retention.ms": "1"}, takes_from=ORDERS),
    ]


@pytest.mark.parametrize(
    ("topic", "present", "lines"),
    [
        (WantedTopic(ORDERS), None, ["create orders partitions=default"]),
        (WantedTopic(ORDERS, 6), None, ["create orders partitions=6"]),
        (
            WantedTopic(ORDERS, 6, {"retention.ms": "1", "cleanup.policy": "compact"}),
            None,
            ["create orders partitions=6 cleanup.policy=compact retention.ms=1"],
        ),
        (WantedTopic(ORDERS), PresentTopic(3, {"retention.ms": "5"}), ["ok orders"]),
        (WantedTopic(ORDERS, 3), PresentTopic(3), ["ok orders"]),
        (
            WantedTopic(ORDERS, 6),
            PresentTopic(3),
            ["alter orders partitions 3 -> 6; keys move to other partitions"],
        ),
        (
            WantedTopic(ORDERS, 3),
            PresentTopic(6),
            ["refuse orders partitions 6 -> 3: Kafka never removes partitions"],
        ),
        (
            WantedTopic(ORDERS, config={"retention.ms": "86400000"}),
            PresentTopic(1, {"retention.ms": "604800000", "segment.ms": "7"}),
            ["alter orders retention.ms 604800000 -> 86400000"],
        ),
        (
            WantedTopic(ORDERS, 3, {"retention.ms": "2", "segment.ms": "7"}),
            PresentTopic(6, {"retention.ms": "1", "segment.ms": "6"}),
            [
                "refuse orders partitions 6 -> 3: Kafka never removes partitions",
                "alter orders retention.ms 1 -> 2",
                "alter orders segment.ms 6 -> 7",
            ],
        ),
        (
            WantedTopic(ORDERS, config={"retention.mss": "1"}),
            PresentTopic(1),
            ["alter orders retention.mss unknown -> 1"],
        ),
        (
            WantedTopic(ORDERS, config={"follower.replication.throttled.replicas": "*"}),
            PresentTopic(1, {"follower.replication.throttled.replicas": ""}),
            ['alter orders follower.replication.throttled.replicas "" -> *'],
        ),
    ],
)
def test_the_difference_of_a_topic_is_told_in_lines(
    topic: WantedTopic, present: PresentTopic | None, lines: list[str]
) -> None:
    there = {} if present is None else {ORDERS: present}

    steps = plan_topics([topic], there)

    assert [str(step) for step in steps] == lines
    assert [step.verb for step in steps] == [line.split()[0] for line in lines]


@pytest.mark.parametrize(
    ("wanted", "in_force"),
    [("compact, delete", "delete,compact"), ("0.50", "0.5"), ("TRUE", "true"), (" 1000 ", "1000")],
)
def test_a_value_that_the_broker_tells_in_its_own_way_is_in_order(wanted: str, in_force: str) -> None:
    topic = WantedTopic(ORDERS, config={"any": wanted})

    steps = plan_topics([topic], {ORDERS: PresentTopic(1, {"any": in_force})})

    assert steps == [TopicInOrder(ORDERS)]


@pytest.mark.parametrize(
    ("wanted", "in_force"),
    [
        ("9223372036854775807", "9223372036854775806"),
        ("compact", "compact,delete"),
        ("1", "true"),
        ("Zstd", "zstd"),
    ],
)
def test_another_value_is_another_however_near(wanted: str, in_force: str) -> None:
    topic = WantedTopic(ORDERS, config={"any": wanted})

    steps = plan_topics([topic], {ORDERS: PresentTopic(1, {"any": in_force})})

    assert steps == [SetConfig(ORDERS, "any", in_force, wanted)]


@pytest.mark.parametrize(
    ("source", "present", "step"),
    [
        (WantedTopic(ORDERS), {}, CreateTopic(DEAD)),
        (WantedTopic(ORDERS, 6), {}, CreateTopic(DEAD, 6)),
        (WantedTopic(ORDERS), {ORDERS: 4}, CreateTopic(DEAD, 4)),
        (WantedTopic(ORDERS, 6), {ORDERS: 4}, CreateTopic(DEAD, 6)),
        (WantedTopic(ORDERS, 3), {ORDERS: 4}, CreateTopic(DEAD, 4)),  # its topic keeps the four
        (WantedTopic(ORDERS, 6), {DEAD: 1}, AddPartitions(DEAD, 1, 6)),
        (WantedTopic(ORDERS), {ORDERS: 4, DEAD: 1}, AddPartitions(DEAD, 1, 4)),
        (WantedTopic(ORDERS, 6), {ORDERS: 6, DEAD: 9}, TopicInOrder(DEAD)),
        (WantedTopic(ORDERS), {DEAD: 1}, TopicInOrder(DEAD)),
        (WantedTopic(ORDERS, 2, {"max.message.bytes": "9", "retention.ms": "1"}), {}, CreateTopic(DEAD, 2)),
    ],
)
def test_a_dead_letter_topic_wants_at_least_the_partitions_of_its_topic_and_no_config(
    source: WantedTopic, present: dict[str, int], step: Step
) -> None:
    there = {name: PresentTopic(count) for name, count in present.items()}

    steps = plan_topics([source, DEAD_LETTERS], there)

    assert [found for found in steps if found.topic == DEAD] == [step]


def test_takes_from_dead_letters_have_room_for_the_first_topic() -> None:
    wanted = [
        WantedTopic("a", 6),
        WantedTopic("b", takes_from="a"),
        WantedTopic("c", takes_from="b"),
    ]

    steps = plan_topics(wanted, {"b": PresentTopic(1), "c": PresentTopic(1)})

    assert steps[1:] == [AddPartitions("b", 1, 6), AddPartitions("c", 1, 6)]


def test_a_declared_number_for_a_dead_letter_topic_is_refused_where_it_has_more() -> None:
    wanted = [WantedTopic(ORDERS, 2), WantedTopic(DEAD, 3, takes_from=ORDERS)]

    steps = plan_topics(wanted, {ORDERS: PresentTopic(2), DEAD: PresentTopic(4)})

    assert steps == [TopicInOrder(ORDERS), KeepPartitions(DEAD, 4, 3)]


def test_a_declared_number_below_that_of_its_topic_is_no_reason_to_refuse_what_is_needed() -> None:
    wanted = [WantedTopic(ORDERS, 6), WantedTopic(DEAD, 2, takes_from=ORDERS)]

    steps = plan_topics(wanted, {ORDERS: PresentTopic(6), DEAD: PresentTopic(6)})

    assert steps == [TopicInOrder(ORDERS), TopicInOrder(DEAD)]


NAMES = st.sampled_from("abcde")
COUNTS = st.integers(1, 6)
CONFIGS = st.dictionaries(st.sampled_from(["retention.ms", "cleanup.policy"]), st.sampled_from("123"))
TOPOLOGIES = st.lists(
    st.builds(WantedTopic, NAMES, st.none() | COUNTS, CONFIGS, st.none() | NAMES),
    unique_by=lambda topic: topic.name,
)
CLUSTERS = st.dictionaries(NAMES, st.builds(PresentTopic, COUNTS, CONFIGS))


def carried_out(
    steps: Sequence[Step], cluster: Mapping[str, PresentTopic], default: int
) -> dict[str, PresentTopic]:
    """What a cluster does with the steps; fails for a step that Kafka would refuse."""
    after = dict(cluster)
    for step in steps:
        there = after.get(step.topic)
        match step:
            case CreateTopic(name, partitions, config):
                assert there is None
                after[name] = PresentTopic(partitions or default, dict(config))
            case AddPartitions(name, present, wanted):
                assert there is not None
                assert there.partitions == present < wanted
                after[name] = PresentTopic(wanted, there.config)
            case SetConfig(topic, name, _, value):
                assert there is not None
                after[topic] = PresentTopic(there.partitions, {**there.config, name: value})
            case KeepPartitions() | TopicInOrder():
                pass
    return after


@given(TOPOLOGIES, CLUSTERS)
def test_a_plan_that_was_carried_out_leaves_nothing_to_do(
    wanted: list[WantedTopic], cluster: dict[str, PresentTopic]
) -> None:
    after = carried_out(plan_topics(wanted, cluster), cluster, default=1)

    assert {step.verb for step in plan_topics(wanted, after)} <= {"ok", "refuse"}


@given(TOPOLOGIES, CLUSTERS, COUNTS)
def test_whatever_the_brokers_default_is_a_second_plan_adds_only_partitions_and_a_third_nothing(
    wanted: list[WantedTopic], cluster: dict[str, PresentTopic], default: int
) -> None:
    once = carried_out(plan_topics(wanted, cluster), cluster, default)
    second = plan_topics(wanted, once)
    twice = carried_out(second, once, default)

    assert all(isinstance(step, AddPartitions | KeepPartitions | TopicInOrder) for step in second)
    assert {step.verb for step in plan_topics(wanted, twice)} <= {"ok", "refuse"}


@given(TOPOLOGIES, CLUSTERS, COUNTS)
def test_nothing_is_lost_and_nothing_touched_that_is_not_wanted(
    wanted: list[WantedTopic], cluster: dict[str, PresentTopic], default: int
) -> None:
    names = {topic.name for topic in wanted}

    steps = plan_topics(wanted, cluster)
    after = carried_out(steps, cluster, default)

    assert {step.topic for step in steps} == names
    assert {name: after[name] for name in cluster if name not in names} == {
        name: topic for name, topic in cluster.items() if name not in names
    }
    assert all(after[name].partitions >= topic.partitions for name, topic in cluster.items())
    wishes = {(topic.name, key) for topic in wanted for key in topic.config}
    assert all(
        after[name].config[key] == value
        for name, topic in cluster.items()
        for key, value in topic.config.items()
        if (name, key) not in wishes
    )
