"""That the check of policies can fail: each way in which one may be too wide, too narrow or wrong is told."""

from __future__ import annotations

from typing import Any

import pytest

from ottla.core.access import AccessList
from tests.deploy.needs import Needed, deployer_needs, replayer_needs, service_needs
from tests.deploy.policies import Database, Policy, differences, faults, policies

CLUSTER = "arn:aws:kafka:eu-central-1:111122223333:cluster/shop/uuid-5"
TOPIC = "arn:aws:kafka:eu-central-1:111122223333:topic/shop/uuid-5/orders"
ADDRESS = 'module.ecs[0].aws_iam_role_policy.task["orders"]'
NEEDED: dict[str, Needed] = {
    "orders": {
        ("kafka-cluster:Connect", "cluster"),
        ("kafka-cluster:DescribeTopic", "topic/orders"),
        ("kafka-cluster:WriteData", "topic/orders"),
    }
}


def _privilege(kind: str, *dependent: str) -> dict[str, Any]:
    return {"resource_types": {kind: {"dependent_actions": [f"kafka-cluster:{name}" for name in dependent]}}}


IN_A_CLUSTER = "arn:${Partition}:kafka:${Region}:${Account}:"
DATABASE: Database = {
    "kafka-cluster": {
        "privileges": {
            "Connect": _privilege("cluster"),
            "DescribeTopic": _privilege("topic", "Connect"),
            "WriteData": _privilege("topic", "Connect", "DescribeTopic"),
        },
        "resources": {
            "cluster": {"arn": IN_A_CLUSTER + "cluster/${ClusterName}/${ClusterUuid}"},
            "topic": {"arn": IN_A_CLUSTER + "topic/${ClusterName}/${ClusterUuid}/${TopicName}"},
        },
    },
    "sts": {"privileges": {"AssumeRoleWithWebIdentity": {"resource_types": {}}}, "resources": {}},
}


def allowed(*grants: tuple[list[str], str], address: str = ADDRESS) -> Policy:
    return Policy(
        address,
        {
            "Statement": [
                {
                    "Effect": "Allow",
                    "Action": [f"kafka-cluster:{name}" for name in names],
                    "Resource": [resource],
                }
                for names, resource in grants
            ]
        },
    )


SOUND = allowed((["Connect"], CLUSTER), (["DescribeTopic", "WriteData"], TOPIC))


def test_a_sound_policy_has_no_fault_and_no_difference() -> None:
    assert faults(SOUND, DATABASE) == []
    assert differences([SOUND], NEEDED) == []


@pytest.mark.parametrize(
    ("policy", "told"),
    [
        (allowed((["*"], CLUSTER)), "kafka-cluster:* is a pattern"),
        (allowed((["Write*"], TOPIC)), "kafka-cluster:Write* is a pattern"),
        (allowed((["Connect"], CLUSTER), (["WriteDate"], TOPIC)), "AWS knows no such action"),
        (allowed((["Connect", "DescribeTopic"], CLUSTER)), "kafka-cluster:DescribeTopic is not for"),
        (allowed((["Connect"], "*")), "kafka-cluster:Connect is not for *"),
        (allowed((["Connect"], CLUSTER.replace("uuid-5", "*"))), "is not for"),
        (
            allowed((["Connect"], CLUSTER), (["WriteData"], TOPIC)),
            "does nothing without kafka-cluster:DescribeTopic",
        ),
    ],
)
def test_a_policy_that_is_not_sound_is_told(policy: Policy, told: str) -> None:
    assert [fault for fault in faults(policy, DATABASE) if told in fault] != []


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ({"Effect": "Deny"}, "a Deny hides what is"),
        ({"NotResource": [TOPIC]}, "NotAction, NotResource and NotPrincipal"),
        ({"Principal": {"AWS": "*"}}, "its principal is anybody"),
    ],
)
def test_an_open_door_is_told(statement: dict[str, Any], told: str) -> None:
    document = {"Statement": [{"Effect": "Allow", "Action": "kafka-cluster:Connect", **statement}]}

    assert [fault for fault in faults(Policy(ADDRESS, document), DATABASE) if told in fault] != []


@pytest.mark.parametrize(
    ("condition", "told"),
    [
        ({}, "any token of the cluster would do"),
        ({"StringEquals": {"issuer:aud": "sts.amazonaws.com"}}, "any pod of the cluster could take the role"),
        (
            {
                "StringEquals": {
                    "issuer:aud": "sts.amazonaws.com",
                    "issuer:sub": "system:serviceaccount:shop:*",
                }
            },
            "any pod of the cluster could take the role",
        ),
        (
            {
                "StringLike": {
                    "issuer:aud": "sts.amazonaws.com",
                    "issuer:sub": "system:serviceaccount:shop:orders",
                }
            },
            "any pod of the cluster could take the role",
        ),
    ],
)
def test_a_role_that_any_pod_could_take_is_told(condition: dict[str, Any], told: str) -> None:
    trust = {
        "Effect": "Allow",
        "Principal": {"Federated": "arn:aws:iam::111122223333:oidc-provider/issuer"},
        "Action": "sts:AssumeRoleWithWebIdentity",
        "Condition": condition,
    }

    assert [
        fault for fault in faults(Policy("role", {"Statement": [trust]}), DATABASE) if told in fault
    ] != []


@pytest.mark.parametrize(
    ("rendered", "told"),
    [
        (
            [allowed((["Connect"], CLUSTER), (["DescribeTopic"], TOPIC))],
            "lacks kafka-cluster:WriteData on topic/orders",
        ),
        (
            [SOUND, allowed((["Connect"], CLUSTER), (["CreateTopic", "DescribeTopic", "WriteData"], TOPIC))],
            "kafka-cluster:CreateTopic on topic/orders is needed by nobody",
        ),
        (
            [allowed((["Connect"], CLUSTER), (["DescribeTopic", "WriteData"], TOPIC.replace("orders", "*")))],
            "topic/shop/uuid-5/* is needed by nobody",
        ),
        (
            [SOUND, allowed((["Connect"], CLUSTER), address=ADDRESS.replace("orders", "shipping"))],
            "'shipping'",
        ),
        ([], "no policy for 'orders'"),
    ],
)
def test_more_or_less_than_is_needed_is_told(rendered: list[Policy], told: str) -> None:
    assert [problem for problem in differences(rendered, NEEDED) if told in problem] != []


def test_the_documents_of_roles_and_keys_are_read_and_those_of_data_sources_are_not() -> None:
    document = '{"Statement": []}'
    resources = [
        {
            "mode": "managed",
            "type": "aws_iam_role",
            "address": "a",
            "values": {"assume_role_policy": document},
        },
        {"mode": "managed", "type": "aws_iam_role_policy", "address": "b", "values": {"policy": document}},
        {"mode": "managed", "type": "aws_kms_key", "address": "c", "values": {"policy": document}},
        {"mode": "managed", "type": "aws_vpc_endpoint", "address": "d", "values": {"policy": "mocked"}},
        {"mode": "data", "type": "aws_iam_role", "address": "e", "values": {"assume_role_policy": document}},
    ]

    assert [policy.address for policy in policies(resources)] == ["a", "b", "c"]


BILLING = AccessList(
    reads=("orders", "orders-billing-replay"),
    writes=("invoices", "orders-billing-dlt"),
    groups=("billing", "billing-replay"),
    dead_letters=("orders-billing-dlt",),
    replays=("orders-billing-replay",),
    ledger="billing-replays",
)


def test_a_service_needs_no_right_to_make_or_change_topics() -> None:
    actions = {action.removeprefix("kafka-cluster:") for action, _ in service_needs(BILLING)}

    assert actions == {
        "Connect",
        "WriteDataIdempotently",
        "ReadData",
        "WriteData",
        "DescribeTopic",
        "DescribeTopicDynamicConfiguration",
        "AlterGroup",
        "DescribeGroup",
    }


def test_a_deployer_sees_no_record() -> None:
    needs = deployer_needs(["orders"])

    assert ("kafka-cluster:CreateTopic", "topic/orders") in needs
    assert not {action for action, _ in needs} & {"kafka-cluster:ReadData", "kafka-cluster:WriteData"}


def test_a_replayer_writes_nothing_that_another_group_reads() -> None:
    written = {on for action, on in replayer_needs(BILLING) if action == "kafka-cluster:WriteData"}

    assert written == {"topic/orders-billing-replay", "topic/billing-replays"}
