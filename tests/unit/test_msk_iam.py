"""librdkafka is always answered: with a token, to its end if need be, else with one that brokers refuse."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from ottla.kafka.msk_iam import NO_TOKEN, MskTokens, Token, answer, is_young

TOKEN = Token("signed", signed_at=1000, expires_at=1900)


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """AWS's chain finds nothing of this machine's."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    return monkeypatch


@pytest.mark.parametrize(
    ("token", "now", "young"),
    [(None, 0, False), (TOKEN, 1000, True), (TOKEN, 1449, True), (TOKEN, 1450, False), (TOKEN, 2000, False)],
)
def test_a_token_is_shared_in_the_first_half_of_its_life(
    token: Token | None,
    now: float,
    young: bool,  # noqa: FBT001
) -> None:
    assert is_young(token, now) is young


@pytest.mark.parametrize(
    ("token", "now", "is_current", "expected"),
    [
        (TOKEN, 1000, True, ("signed", 1900)),
        (TOKEN, 1720, False, ("signed", 1725)),  # could not be renewed: asked for again soon
        (TOKEN, 1898, False, ("signed", 1900)),
        (TOKEN, 1900, False, (NO_TOKEN, 1905)),
        (None, 1000, False, (NO_TOKEN, 1005)),
    ],
)
def test_a_token_that_cannot_be_renewed_serves_to_its_end(
    token: Token | None,
    now: float,
    is_current: bool,  # noqa: FBT001
    expected: tuple[str, float],
) -> None:
    assert answer(token, now, is_current=is_current) == expected


def test_a_token_holds_a_quarter_of_an_hour_and_is_given_to_all_who_ask(aws: pytest.MonkeyPatch) -> None:
    aws.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    aws.setenv("AWS_SECRET_ACCESS_KEY", "s3cret")
    tokens = MskTokens("eu-west-1")

    text, expires_at = tokens("")
    again = tokens("ignored")

    assert again == (text, expires_at)
    assert 890 < expires_at - time.time() <= 901
    assert tokens.trouble() is None


def test_a_file_that_is_missing_is_told_and_then_found(
    aws: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    aws.setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/orders")
    aws.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "missing"))
    tokens = MskTokens("eu-west-1")

    answers = [tokens("")[0] for _ in range(3)]
    trouble = tokens.trouble()
    aws.delenv("AWS_ROLE_ARN")
    aws.delenv("AWS_WEB_IDENTITY_TOKEN_FILE")
    aws.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    aws.setenv("AWS_SECRET_ACCESS_KEY", "s3cret")
    text, _ = tokens("")

    assert answers == [NO_TOKEN] * 3
    assert trouble is not None
    assert str(tmp_path / "missing") in trouble
    assert "AWS_WEB_IDENTITY_TOKEN_FILE (EKS)" in trouble
    told = [record for record in caplog.records if "no token for MSK IAM" in record.getMessage()]
    assert len(told) == 1, caplog.text
    assert text != NO_TOKEN
    assert tokens.trouble() is None


def test_what_is_shown_of_it_names_the_region_and_no_token(aws: pytest.MonkeyPatch) -> None:
    aws.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    aws.setenv("AWS_SECRET_ACCESS_KEY", "s3cret")
    tokens = MskTokens("eu-west-1")

    text, _ = tokens("")

    assert str(tokens) == "tokens of AWS IAM for eu-west-1"
    assert text not in repr(tokens)


def test_trouble_of_one_kind_is_told_once_whatever_its_words(caplog: pytest.LogCaptureFixture) -> None:
    tokens = MskTokens("eu-west-1")

    for second in range(3):
        tokens._say("ClientError ExpiredToken", f"expired {second} s ago")
    tokens._say("ClientError AccessDenied", "not allowed")

    assert [record.getMessage().partition(";")[0] for record in caplog.records] == [
        "no token for MSK IAM: expired 0 s ago",
        "no token for MSK IAM: not allowed",
    ]
