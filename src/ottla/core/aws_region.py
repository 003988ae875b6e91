"""Which AWS region brokers stand in, by the names that MSK gives them."""

from __future__ import annotations

import re
from collections.abc import Iterable

REGION = r"[a-z]{2,}(?:-[a-z]+)+-\d+"
"""What a region looks like, as a regular expression: eu-west-1, us-gov-east-1."""

_BROKER = re.compile(rf".+\.kafka(?:-serverless)?\.({REGION})\.amazonaws\.com\.?", re.IGNORECASE)


def region_of(hosts: Iterable[str]) -> str | None:
    """The region that all those of `hosts` name that name one; None where none does, or they differ.

    `b-1.shop.a1b2c3.c2.kafka.eu-west-1.amazonaws.com` is in eu-west-1, and so is
    `boot-a1b2c3.c1.kafka-serverless.eu-west-1.amazonaws.com`. A name of one's own tells nothing.
    """
    found = {match[1].lower() for host in hosts if (match := _BROKER.fullmatch(host))}
    return found.pop() if len(found) == 1 else None
