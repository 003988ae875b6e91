"""The region of brokers stands in the names that MSK gives them, and in no other."""

from __future__ import annotations

import pytest

from ottla.core.aws_region import region_of


@pytest.mark.parametrize(
    ("hosts", "region"),
    [
        (["b-1.shop.a1b2c3.c2.kafka.eu-west-1.amazonaws.com"], "eu-west-1"),
        (["b-1-public.shop.a1b2c3.c2.kafka.us-east-2.amazonaws.com"], "us-east-2"),
        (["boot-a1b2c3.c1.kafka-serverless.eu-central-1.amazonaws.com"], "eu-central-1"),
        (["b-1.scram.shop.a1b2c3.c1.kafka.us-gov-east-1.amazonaws.com"], "us-gov-east-1"),
        (["B-1.shop.a1b2c3.c2.kafka.AP-SOUTHEAST-2.amazonaws.com."], "ap-southeast-2"),
        (["broker.example.org", "b-2.s.a1.c2.kafka.eu-west-1.amazonaws.com"], "eu-west-1"),
        (["b-1.s.a1.c2.kafka.eu-west-1.amazonaws.com"] * 3, "eu-west-1"),
        (["b-1.s.a.c2.kafka.eu-west-1.amazonaws.com", "b-1.s.a.c2.kafka.eu-west-2.amazonaws.com"], None),
        (["b-1.shop.a1b2c3.c2.kafka.eu-west-1.amazonaws.com.evil.example"], None),
        (["kafka.eu-west-1.amazonaws.com"], None),
        (["b-1.shop.a1b2c3.c2.kafka.west.amazonaws.com"], None),
        (["s3.eu-west-1.amazonaws.com"], None),
        (["127.0.0.1", "localhost"], None),
        ([], None),
    ],
)
def test_the_region_is_what_all_names_with_a_region_say(hosts: list[str], region: str | None) -> None:
    assert region_of(hosts) == region
