"""That the checks of Terraform and of what checkov is told to leave out can fail."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.conftest import missing
from tests.deploy.static_analysis import complaints, unreasoned
from tests.deploy.terraform import Terraform, assertions

MUTANTS = {
    "public brokers": (
        'type = "DISABLED"',
        'type = "SERVICE_PROVIDED_EIPS"',
        "No broker has a public address.",
    ),
    "anybody": ("unauthenticated = false", "unauthenticated = true", "Nobody comes in without a name."),
    "plaintext": (
        'client_broker = "TLS"',
        'client_broker = "TLS_PLAINTEXT"',
        "Between clients and brokers TLS alone.",
    ),
    "auto-create": (
        "auto.create.topics.enable=false",
        "auto.create.topics.enable=true",
        "A misspelt topic is an error",
    ),
}


@pytest.mark.timeout(300)
def test_a_cluster_that_breaks_its_promises_fails_its_tests(tmp_path: Path) -> None:
    if shutil.which("terraform") is None:
        missing("terraform is missing: install version 1.9 or later")
    terraform = Terraform(tmp_path)
    text = (source := terraform.module / "modules" / "cluster" / "main.tf").read_text()
    for before, after, _ in MUTANTS.values():
        assert text.count(before) == 1
        text = text.replace(before, after)
    source.write_text(text)

    ready = terraform("init", "-backend=false", "-no-color")
    tested = terraform("test", "-no-color", "-filter=tests/cluster.tftest.hcl")

    assert ready.code == 0, ready.last_words
    assert tested.code != 0
    told = " ".join((tested.output + tested.errors).replace("│", " ").split())
    assert [name for name, (_, _, promise) in MUTANTS.items() if promise not in told] == []


def test_assertions_are_counted_by_run() -> None:
    text = (
        'run "one" {\n  assert {\n    condition = true\n  }\n  assert {\n    condition = true\n  }\n}\n\n'
        'run "two" {\n  expect_failures = [var.name]\n}\n\nrun "none" {\n}\n'
    )

    assert assertions(text) == {"one": 2, "two": 1, "none": 0}


@pytest.mark.parametrize(
    "comment", ["#checkov:skip=CKV_AWS_39", "#checkov:skip=CKV_AWS_39:n/a", "#checkov:skip=CKV_AWS_39: "]
)
def test_what_is_left_out_without_a_reason_is_told(tmp_path: Path, comment: str) -> None:
    (path := tmp_path / "main.tf").write_text(f"resource {{\n  {comment}\n}}\n")

    assert len(unreasoned([path])) == 1


def test_what_is_left_out_with_its_reason_is_not_told(tmp_path: Path) -> None:
    (path := tmp_path / "main.tf").write_text("#checkov:skip=CKV_AWS_39:off unless addresses are named\n")

    assert unreasoned([path]) == []


def test_what_checkov_finds_or_cannot_read_is_told() -> None:
    failed = {
        "check_id": "CKV_AWS_80",
        "resource": "aws_msk_cluster.this",
        "file_path": "/main.tf",
        "check_name": "logs",
    }
    report = {"results": {"failed_checks": [failed], "parsing_errors": ["/broken.tf"]}}

    told = complaints([report])

    assert len(told) == 2
    assert "#checkov:skip=CKV_AWS_80:reason" in told[0]
