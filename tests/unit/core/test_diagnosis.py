"""What `ottla doctor` makes of what it was told: a line each of the tables that its rules are."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ottla.core.access import Access, ReadTopic
from ottla.core.diagnosis import cluster, here, login, network, registry
from ottla.core.diagnosis.cluster import Missing, SeenGroup, SeenTopic
from ottla.core.diagnosis.findings import (
    Check,
    Finding,
    Verdict,
    as_json,
    counts,
    exit_code,
    fail,
    in_order,
    ok,
    pointless,
    skipped,
    warn,
)
from ottla.core.diagnosis.network import Certificate, NoAnswer
from ottla.core.topology import WantedTopic

OK, WARN, FAIL, SKIPPED = Verdict.OK, Verdict.WARN, Verdict.FAIL, Verdict.SKIPPED
WELL, ILL, DOUBTFUL, UNSEEN = (
    Finding(Check.LOGIN, "-", verdict, "") for verdict in (OK, FAIL, WARN, SKIPPED)
)


@pytest.mark.parametrize(
    ("findings", "code"),
    [
        ([], 0),
        ([WELL, DOUBTFUL, UNSEEN], 0),
        ([WELL, ILL], 1),
        ([ILL, fail(Check.SETTINGS, "-", "", "")], 78),
        ([fail(Check.WIRING, "-", "", "")], 78),
        ([warn(Check.SETTINGS, "-", "", ""), skipped(Check.WIRING, "-", "")], 0),
    ],
)
def test_the_exit_code_says_what_kind_of_cure_is_needed(findings: list[Finding], code: int) -> None:
    assert exit_code(findings) == code
    assert as_json(findings)["exit_code"] == code


@pytest.mark.parametrize(
    ("found", "is_pointless"),
    [
        ([], False),
        ([WELL], False),
        ([DOUBTFUL], False),
        ([ILL, WELL], False),
        ([ILL], True),
        ([ILL, UNSEEN], True),
        ([UNSEEN], True),
    ],
    ids=["not-made", "well", "doubtful", "one-of-two", "ill", "ill-and-skipped", "skipped"],
)
def test_a_check_is_skipped_only_when_what_it_needs_has_found_nothing_well(
    found: list[Finding], *, is_pointless: bool
) -> None:
    why = pointless(Check.TOPIC, (Check.LOGIN,), {Check.LOGIN: found})

    assert (why is not None) is is_pointless
    if why is not None:
        assert why == skipped(Check.TOPIC, "-", "not looked at: it needs login")


@given(st.permutations(list(Check)))
def test_findings_are_told_by_check_and_those_of_a_check_as_they_came(checks: list[Check]) -> None:
    findings = [ok(check, str(number), "") for number in range(2) for check in checks]

    told = in_order(findings)

    assert [each.check for each in told] == [check for check in Check for _ in range(2)]
    assert [each.subject for each in told] == ["0", "1"] * len(Check)


def test_every_verdict_is_counted_also_where_there_is_none() -> None:
    assert counts([WELL, WELL, ILL]) == {"ok": 2, "warn": 0, "failed": 1, "skipped": 0}


@pytest.mark.parametrize(
    ("attempts", "verdict", "said"),
    [
        ({"10.0.0.1": None}, OK, "10.0.0.1 answers"),
        ({"10.0.0.1": None, "10.0.0.2": None}, OK, "10.0.0.1, 10.0.0.2"),
        ({"10.0.0.1": NoAnswer.REFUSED}, FAIL, "10.0.0.1: connection refused; nobody listens there"),
        ({"10.0.0.1": NoAnswer.TIMED_OUT}, FAIL, "no answer in time; a firewall, security group"),
        ({"10.0.0.1": NoAnswer.UNREACHABLE}, FAIL, "no route there; see to a route"),
        (
            {"10.0.0.1": None, "10.0.0.2": NoAnswer.REFUSED},
            WARN,
            "10.0.0.2: connection refused; each is tried",
        ),
        ({"::1": NoAnswer.REFUSED, "127.0.0.1": None}, OK, "127.0.0.1 answers, the other family"),
        ({"::1": NoAnswer.REFUSED, "127.0.0.1": NoAnswer.REFUSED}, FAIL, "nobody listens there"),
        ({"::1": None, "::2": NoAnswer.TIMED_OUT, "127.0.0.1": None}, WARN, "::2: no answer in time"),
    ],
)
def test_one_address_that_answers_is_enough(
    attempts: dict[str, NoAnswer | None], verdict: Verdict, said: str
) -> None:
    finding = network.connected("kafka:9092", attempts)

    assert finding.verdict is verdict
    assert said in finding.text


@pytest.mark.parametrize(
    ("seen", "verdict", "said"),
    [
        (Certificate(subject="kafka", days_left=400), OK, "kafka, verified by KAFKA_CA_FILE=/ca.pem"),
        (Certificate(days_left=13.6), WARN, "expires in 14 days; renew it"),
        (Certificate(verify_code=10), FAIL, "has expired; renew it"),
        (Certificate(verify_code=9), FAIL, "not valid yet; is this machine's clock right?"),
        (
            Certificate(verify_code=20),
            FAIL,
            "an authority that is not in KAFKA_CA_FILE=/ca.pem; set KAFKA_CA_FILE",
        ),
        (Certificate(verify_code=18), FAIL, "an authority that is not in"),
        (Certificate(verify_code=19), FAIL, "an authority that is not in"),
        (
            Certificate(verify_code=62, names=("broker.internal",)),
            FAIL,
            "not for the name 'kafka': it is for broker.internal; write the broker's name",
        ),
        (Certificate(verify_code=64), FAIL, "not for the name 'kafka'; write"),
        (Certificate(verify_code=23, reason="certificate revoked"), FAIL, "refused (certificate revoked)"),
        (Certificate(reason="WRONG_VERSION_NUMBER"), FAIL, "does not speak TLS"),
        (Certificate(reason="UNEXPECTED_EOF_WHILE_READING"), FAIL, "does not speak TLS"),
        (Certificate(reason="TLSV13_ALERT_CERTIFICATE_REQUIRED"), FAIL, "set KAFKA_SECURITY=mtls"),
        (Certificate(reason="no answer within 3 s"), FAIL, "handshake failed (no answer within 3 s)"),
    ],
)
def test_a_refused_certificate_is_told_by_its_reason(seen: Certificate, verdict: Verdict, said: str) -> None:
    finding = network.certificate("kafka:9093", seen, ca_file="/ca.pem")

    assert finding.verdict is verdict
    assert said in finding.text


def test_without_a_file_of_authorities_the_systems_verify() -> None:
    finding = network.certificate("kafka:9093", Certificate(verify_code=20), ca_file=None)

    assert "not in the authorities that this system knows" in finding.said


def test_a_name_that_is_advertised_and_does_not_resolve_is_the_brokers_fault() -> None:
    seen = [network.resolved("kafka-0.internal:9092", [], "Name or service not known")]

    finding = network.advertised(1, "kafka-0.internal:9092", seen, is_bootstrap=False)

    assert (finding.check, finding.verdict) == (Check.ADVERTISED, FAIL)
    assert finding.subject == "kafka-0.internal:9092 (broker 1)"
    assert "clients are sent to this address" in finding.said
    assert "does not resolve (Name or service not known)" in finding.said
    assert "advertised.listeners" in finding.cure


def test_an_advertised_address_is_as_ill_as_the_gravest_that_was_seen() -> None:
    def told(*attempts: dict[str, NoAnswer | None]) -> Verdict:
        seen = [network.connected("a:1", each) for each in attempts]
        return network.advertised(1, "a:1", seen, is_bootstrap=False).verdict

    well: dict[str, NoAnswer | None] = {"10.0.0.1": None}
    half: dict[str, NoAnswer | None] = {"10.0.0.1": None, "10.0.0.2": NoAnswer.REFUSED}
    ill: dict[str, NoAnswer | None] = {"10.0.0.1": NoAnswer.REFUSED}

    assert [told(well), told(well, half), told(well, half, ill)] == [OK, WARN, FAIL]


@pytest.mark.parametrize(
    ("security", "words", "said"),
    [
        (
            "scram",
            "sasl_ssl://b:9/bootstrap: SASL authentication error: failed (after 311ms in state AUTH_REQ)",
            "SASL authentication error: failed; check KAFKA_USERNAME and KAFKA_PASSWORD",
        ),
        (
            "scram",
            "sasl_ssl://b:9/1: SCRAM-SHA-256 handshake failed: Broker: Unsupported SASL mechanism",
            "set KAFKA_SCRAM_MECHANISM",
        ),
        ("oauth", "Failed to retrieve OIDC token from 'http://x': 401", "check KAFKA_OAUTH_TOKEN_URL"),
        ("oauth", 'SASL authentication error: {"status":"invalid_token"}', "issuer, audience"),
        ("msk-iam", "SASL authentication error: Access denied", "kafka-cluster:Connect"),
        ("msk-iam", "Failed to acquire SASL OAUTHBEARER token: no credentials", "no AWS credentials"),
        ("mtls", "SSL routines::ssl/tls alert bad certificate", "KAFKA_CERTIFICATE_F"),
        ("tls", "tlsv13 alert certificate required: SSL alert number 116", "KAFKA_SECURITY=mtls"),
        ("tls", "certificate verify failed: broker certificate could not be", "KAFKA_CA_FILE"),
        ("tls", "connecting to a PLAINTEXT broker listener?", "does not speak TLS"),
        ("plaintext", "Disconnected: connecting to a SSL listener?", "speaks TLS: set KAFKA_SECURITY"),
        ("plaintext", "1/1 brokers are down", "may want TLS or a login: set KAFKA_SECURITY"),
        ("scram", "1/1 brokers are down", "check KAFKA_SECURITY=scram against the listener"),
    ],
)
def test_what_the_client_says_of_a_refusal_becomes_its_cure(security: str, words: str, said: str) -> None:
    finding = login.refused("b:9", security, [words])

    assert finding.verdict is FAIL
    assert said in finding.text
    assert "in state" not in finding.text


def test_the_gravest_word_counts_wherever_it_stands() -> None:
    finding = login.refused("b:9", "scram", ["2/2 brokers are down", "Authentication failed"])

    assert finding.said == "Authentication failed"


SAFE = SeenTopic(3, replicas=3, in_sync=3, min_in_sync=2)


@pytest.mark.parametrize(
    ("topic", "verdict", "said"),
    [
        (SAFE, OK, "3 copies, min.insync.replicas=2"),
        (SeenTopic(3, replicas=1, in_sync=1, min_in_sync=1), WARN, "1 copy: a lost disk loses"),
        (
            SeenTopic(3, replicas=3, in_sync=3, min_in_sync=1),
            WARN,
            "is lost with it; set min.insync.replicas=2",
        ),
        (SeenTopic(3, replicas=2, in_sync=2, min_in_sync=2), WARN, "one lost broker stops every write"),
        (SeenTopic(3, replicas=3, in_sync=2, min_in_sync=2), WARN, "in sync now: 2"),
        (SeenTopic(3, replicas=3, in_sync=1, min_in_sync=2), FAIL, "in sync now: 1: writes are refused"),
        (SeenTopic(3, replicas=2, in_sync=2, min_in_sync=3), WARN, "one lost broker stops every write"),
        (SeenTopic(3, replicas=2, in_sync=1, min_in_sync=3), FAIL, "in sync now: 1: writes are refused"),
        (SeenTopic(3, replicas=3, in_sync=3), SKIPPED, "DESCRIBE_CONFIGS"),
    ],
)
def test_replication_is_judged_by_what_one_lost_broker_costs(
    topic: SeenTopic, verdict: Verdict, said: str
) -> None:
    (finding,) = cluster.replication({"orders": topic}, brokers=3)

    assert (finding.subject, finding.verdict) == ("orders", verdict)
    assert said in finding.text


def test_topics_of_which_the_same_is_to_be_said_share_a_line() -> None:
    seen: dict[str, SeenTopic | Missing] = {"a": SAFE, "b": SeenTopic(3), "c": SAFE, "d": Missing.ABSENT}

    assert [finding.subject for finding in cluster.replication(seen, brokers=3)] == ["a, c", "b"]


WANTED = [WantedTopic("orders"), WantedTopic("orders-billing-dlt", takes_from="orders")]
ACCESS = Access(
    (ReadTopic("orders", "billing"), ReadTopic("orders-billing-replay", "billing-replay", is_optional=True)),
    ("orders-billing-dlt",),
)


@pytest.mark.parametrize(
    ("main", "dead", "replay", "verdicts", "said"),
    [
        (SeenTopic(3), SeenTopic(3), SeenTopic(3), [OK, OK, OK], "3 partitions"),
        (SeenTopic(3), SeenTopic(3), Missing.ABSENT, [OK, OK, OK], "the first `ottla dlt replay` makes it"),
        (SeenTopic(3), SeenTopic(3), Missing.FORBIDDEN, [OK, OK, SKIPPED], "this user may not see it"),
        (SeenTopic(3), SeenTopic(1), SeenTopic(3), [OK, WARN, OK], "partitions 1 -> 3"),
        (SeenTopic(3), Missing.ABSENT, SeenTopic(3), [OK, FAIL, OK], "no such topic there; run `ottla t"),
        (Missing.FORBIDDEN, SeenTopic(3), SeenTopic(3), [FAIL, OK, OK], "this user may not see it; grant"),
        (Missing.SILENT, SeenTopic(3), SeenTopic(3), [FAIL, OK, OK], "did not answer in time"),
        (SeenTopic(3, leaderless=2), SeenTopic(3), SeenTopic(3), [FAIL, OK, OK], "2 of 3 partitions have"),
    ],
)
def test_each_topic_is_there_or_its_absence_has_a_cure(
    main: SeenTopic | Missing,
    dead: SeenTopic | Missing,
    replay: SeenTopic | Missing,
    verdicts: list[Verdict],
    said: str,
) -> None:
    seen = {"orders": main, "orders-billing-dlt": dead, "orders-billing-replay": replay}

    findings = cluster.topics(WANTED, ACCESS, seen)

    assert [finding.subject for finding in findings] == list(seen)
    assert [finding.verdict for finding in findings] == verdicts
    assert any(said in finding.text for finding in findings)


def may(*operations: str) -> SeenTopic:
    return SeenTopic(1, operations=frozenset(operations))


@pytest.mark.parametrize(
    ("main", "dead", "is_iam", "told"),
    [
        (may("READ", "DESCRIBE"), may("WRITE"), False, [(OK, "may read orders, write orders-billing-dlt")]),
        (
            may("READ"),
            may("DESCRIBE"),
            False,
            [(OK, "may read orders"), (FAIL, "may not write it; grant WRITE on the topic")],
        ),
        (
            Missing.FORBIDDEN,
            may("DESCRIBE"),
            True,
            [
                (FAIL, "may not read it; allow kafka-cluster:ReadData and kafka-cluster:DescribeTopic"),
                (FAIL, "may not write it; allow kafka-cluster:WriteData and kafka-cluster:DescribeTopic"),
            ],
        ),
        (SeenTopic(1), Missing.ABSENT, False, [(SKIPPED, "do not tell what this user may do")]),
    ],
)
def test_rights_that_are_missing_are_named_as_those_who_grant_them_know_them(
    main: SeenTopic | Missing, dead: SeenTopic | Missing, told: list[tuple[Verdict, str]], *, is_iam: bool
) -> None:
    seen = {"orders": main, "orders-billing-dlt": dead, "orders-billing-replay": Missing.FORBIDDEN}

    findings = cluster.topic_rights(ACCESS, seen, is_iam=is_iam)

    assert [finding.verdict for finding in findings] == [verdict for verdict, _ in told]
    assert all(said in finding.text for finding, (_, said) in zip(findings, told, strict=True))


@pytest.mark.parametrize(
    ("operations", "is_iam", "verdicts"),
    [
        (None, False, []),
        (None, True, [SKIPPED]),
        (frozenset({"DESCRIBE"}), True, [FAIL]),
        (frozenset({"IDEMPOTENT_WRITE"}), True, [OK]),
    ],
)
def test_idempotent_writes_take_a_right_of_their_own_only_by_iam(
    operations: frozenset[str] | None, verdicts: list[Verdict], *, is_iam: bool
) -> None:
    found = cluster.idempotent_writes(operations, is_iam=is_iam)

    assert [finding.verdict for finding in found] == verdicts


@pytest.mark.parametrize(
    ("group", "verdict", "said"),
    [
        (SeenGroup("DEAD", "b:9"), OK, "coordinator b:9, nobody in it"),
        (SeenGroup("STABLE", "b:9", members=1, assignor="sticky"), OK, "1 member, stable"),
        (SeenGroup("STABLE", "b:9", members=2, assignor="range"), WARN, "members use range"),
        (SeenGroup("STABLE", "b:9", members=2, protocol="consumer"), WARN, "the same KAFKA_GROUP_PROTOCOL"),
        (SeenGroup("EMPTY", "b:9", operations=frozenset({"DESCRIBE"})), FAIL, "grant READ on the group"),
        (SeenGroup("EMPTY", "b:9", operations=frozenset({"READ"})), OK, "nobody in it"),
        (Missing.FORBIDDEN, FAIL, "may not join it; grant READ on the group"),
        (Missing.SILENT, FAIL, "coordinator does not answer"),
    ],
)
def test_a_group_can_be_joined_or_it_is_said_why_not(
    group: SeenGroup | Missing, verdict: Verdict, said: str
) -> None:
    wanted = {"billing": [ReadTopic("orders", "billing")]}

    (finding,) = cluster.groups(wanted, {"billing": group}, protocol="classic", assignors=["sticky", "other"])

    assert (finding.subject, finding.verdict) == ("billing", verdict)
    assert said in finding.text


def test_by_iam_a_group_takes_two_rights() -> None:
    wanted = {"billing": [ReadTopic("orders", "billing")]}

    (finding,) = cluster.groups(
        wanted, {"billing": Missing.FORBIDDEN}, protocol="classic", assignors=[], is_iam=True
    )

    assert finding.cure == "allow kafka-cluster:AlterGroup and kafka-cluster:DescribeGroup on it"


SOUND = here.SeenDatabase(
    "db:5432/shop", 18, tables_version=2, needed_version=2, schema="ottla", connections_free=90
)


@pytest.mark.parametrize(
    ("changed", "verdict", "said"),
    [
        ({}, OK, "tables of version 2"),
        ({"server_version": 14}, WARN, "PostgreSQL 14; supported is 15"),
        ({"tables_version": 0}, FAIL, "tables are not there; run `ottla db upgrade`"),
        ({"tables_version": 1}, FAIL, "have version 1, needed is 2; run `ottla db upgrade`"),
        ({"tables_version": 3}, OK, "tables of version 3"),
        ({"is_standby": True}, FAIL, "a standby"),
        ({"lacking": ("INSERT on ottla.inbox",)}, FAIL, "grant INSERT on ottla.inbox"),
        ({"statement_timeout_ms": 1500}, WARN, "statement_timeout ends what takes longer than 1.5 s"),
        ({"transaction_timeout_ms": 60_000}, WARN, "transaction_timeout ends what takes longer than 60 s"),
        ({"connections_free": 7}, WARN, "7 connections are free"),
        ({"connections_free": 8}, OK, "PostgreSQL 18"),
    ],
)
def test_a_database_is_judged_by_what_inbox_and_outbox_need(
    changed: dict[str, object], verdict: Verdict, said: str
) -> None:
    findings = list(here.database(replace(SOUND, **changed), connections=8))  # type: ignore[arg-type]

    assert any(finding.verdict is verdict and said in finding.text for finding in findings)
    assert sum(finding.verdict is not OK for finding in findings) == (verdict is not OK)


@pytest.mark.parametrize(
    ("difference_s", "uncertain_s", "verdict", "said"),
    [
        (0.02, 0.0, OK, "tells the same time as this machine (± 0.05 s)"),
        (0.02, 0.01, OK, "tells the same time"),
        (0.2, 0.1, OK, "0.2 s ahead of it (± 0.10 s)"),
        (-2.9, 0.0, OK, "2.9 s behind it"),
        (3.1, 0.0, WARN, "3.1 s ahead of it"),
        (-3.1, 0.0, WARN, "3.1 s behind it"),
        (3.4, 0.5, OK, "± 0.50 s"),
    ],
)
def test_clocks_are_warned_of_beyond_three_seconds_and_what_is_not_known(
    difference_s: float, uncertain_s: float, verdict: Verdict, said: str
) -> None:
    finding = here.clock("it", difference_s, uncertain_s)

    assert finding.verdict is verdict
    assert said in finding.text


def test_a_pooler_that_refuses_our_options_is_told_apart_from_a_database_that_is_away() -> None:
    away = here.database_refused("db", "connection refused")
    pooler = here.database_refused("db", "unsupported startup parameter: options")

    assert "check DATABASE_URL" in away.cure
    assert "PgBouncer" in pooler.cure


@pytest.mark.parametrize(
    ("error", "is_ottla", "verdict"),
    [("", False, OK), ("Address already in use", True, OK), ("Address already in use", False, FAIL)],
)
def test_an_admin_port_that_a_service_of_ours_has_is_well(
    error: str, verdict: Verdict, *, is_ottla: bool
) -> None:
    assert here.admin_port("127.0.0.1:8080", error=error, answers_as_ottla=is_ottla).verdict is verdict


@pytest.mark.parametrize(
    ("status", "subjects", "verdict", "said"),
    [
        (200, ["orders-value", "bills-value"], OK, "2 subjects"),
        (200, None, FAIL, "no schema registry there"),
        (401, None, FAIL, "refuses us (HTTP 401)"),
        (404, None, FAIL, "Apicurio: …/apis/ccompat/v7"),
    ],
)
def test_a_registry_is_known_by_its_list_of_subjects(
    status: int, subjects: list[str] | None, verdict: Verdict, said: str
) -> None:
    (finding,) = registry.answered("http://registry:8081", status, subjects=subjects)

    assert finding.verdict is verdict
    assert said in finding.text


def test_a_subject_that_the_app_wants_and_the_registry_lacks_is_told_with_its_cure() -> None:
    _, missing = registry.answered(
        "http://registry:8081", 200, subjects=["orders-value"], wanted=["orders-value", "bills-value"]
    )

    assert (missing.subject, missing.verdict) == ("bills-value", FAIL)
    assert "ottla schemas register" in missing.text
