"""The command as users call it: in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ottla.cli.config import report, shown
from ottla.settings import load_settings, read_settings

LOCAL = {"KAFKA_BOOTSTRAP_SERVERS": "localhost:9092"}


def ottla(folder: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return python(folder, "from ottla.cli.main import main; main()", *arguments, **environ)


def python(folder: Path, program: str, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    ours = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("KAFKA_", "DATABASE_", "TOPICS__", "OTTLA_"))
    }
    return subprocess.run(
        [sys.executable, "-c", program, *arguments],
        env=ours | {"COLUMNS": "200"} | environ,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_config_tells_where_the_region_of_msk_is_from_and_what_gives_tokens() -> None:
    server = "b-1.shop.a1b2c3.c2.kafka.eu-west-1.amazonaws.com:9098"

    lines = list(
        report(read_settings(environ={"KAFKA_BOOTSTRAP_SERVERS": server, "KAFKA_SECURITY": "msk-iam"}))
    )

    (region,) = [line.split() for line in lines if line.startswith("kafka.aws_region ")]
    callbacks = [line.split(maxsplit=1) for line in lines if line.startswith("oauth_cb ")]
    assert region[1:3] == ["eu-west-1", "KAFKA_BOOTSTRAP_SERVERS,"]
    assert region[-1] == "KAFKA_AWS_REGION"
    assert callbacks == [["oauth_cb", "tokens of AWS IAM for eu-west-1"]] * 3


def test_config_prints_every_setting_with_its_origin_and_no_secret(tmp_path: Path) -> None:
    (tmp_path / "ottla.toml").write_text('[kafka]\ndrain_s = 5\n[kafka.client]\nssl.key.pem = "hunter2"\n')

    done = ottla(
        tmp_path,
        "config",
        "--app",
        "billing",
        KAFKA_PASSWORD="hunter2",
        DATABASE_URL="postgresql://u:hunter2@h/d?sslpassword=hunter2",
        TOPICS__ORDERS="prod.orders",
        **LOCAL,
    )

    lines = {line.split()[0]: line.split()[1:] for line in done.stdout.splitlines() if line}
    assert done.returncode == 0, done.stderr
    assert lines["kafka.bootstrap_servers"][:2] == ["localhost:9092", "KAFKA_BOOTSTRAP_SERVERS"]
    assert lines["kafka.drain_s"][:2] == ["5", "ottla.toml:kafka.drain_s"]
    assert lines["kafka.window"][:2] == ["100000", "default"]
    assert lines["kafka.password"][0] == "***"
    assert lines["database_url"][0] == "postgresql://u:***@h/d?sslpassword=***"
    assert lines["topics.orders"][:2] == ["prod.orders", "TOPICS__ORDERS"]
    assert lines["enable.auto.commit"] == ["false"]
    assert lines["group.id"] == ["billing"]
    assert "hunter2" not in done.stdout + done.stderr


def test_unsound_settings_are_one_line_each_and_exit_78(tmp_path: Path) -> None:
    done = ottla(tmp_path, "config", "--check", KAFKA_DRAIN_S="x", DATABASE_CONNECTIONS="0")

    lines = done.stderr.splitlines()
    assert done.returncode == 78
    assert done.stdout == ""
    assert len(lines) == 3
    assert all(line.startswith("ottla: ") for line in lines)


def test_check_says_sound_and_gives_hints(tmp_path: Path) -> None:
    done = ottla(tmp_path, "config", "--check", KAFKA_GROUPID="x", **LOCAL)

    assert (done.returncode, done.stdout) == (0, "settings: sound\n")
    assert done.stderr == "hint: KAFKA_GROUPID is set and is no setting; did you mean KAFKA_GROUP_ID?\n"


def test_the_version_is_printed(tmp_path: Path) -> None:
    done = ottla(tmp_path, "--version")

    assert done.returncode == 0
    assert done.stdout.startswith("ottla ")


def test_help_names_the_commands(tmp_path: Path) -> None:
    done = ottla(tmp_path, "--help")

    assert done.returncode == 0
    assert {"run", "dev", "config", "db", "topics", "dlt"} <= set(done.stdout.split())


WISHFUL = """
from ottla import App, Topic, Transaction

app = App("billing")
wired = App("billing")

@wired.listener(Topic("orders", str))
async def bill(value: str, tx: Transaction) -> None: ...

@app.listener(Topic("orders", str))
async def first(value: str, mailer: int) -> None: ...

@app.listener(Topic("orders", str))
async def second(value: str) -> None: ...
"""


@pytest.mark.parametrize("command", ["plan", "apply", "access"])
@pytest.mark.parametrize(
    ("app", "source", "environ", "said"),
    [
        ("billing", WISHFUL, LOCAL, ["'billing' is not MODULE:APP"]),
        ("billing:nothing", WISHFUL, LOCAL, ["nothing named 'nothing'"]),
        ("billing:wired", WISHFUL, {}, ["KAFKA_BOOTSTRAP_SERVERS"]),
        ("billing:app", WISHFUL, LOCAL, ["'value' and 'mailer' both", "share topic 'orders'"]),
        (
            "billing:app",
            "from ottla import Topic\nTopic('orders', str, partitions=0)",
            LOCAL,
            ["topic 'orders': partitions=0 is no number of partitions; give 1 or more"],
        ),
    ],
    ids=["path", "attribute", "settings", "wiring", "wish"],
)
def test_topics_of_what_only_an_edit_cures_are_one_line_a_problem_and_exit_78(
    tmp_path: Path, *, command: str, app: str, source: str, environ: dict[str, str], said: list[str]
) -> None:
    (tmp_path / "billing.py").write_text(source)

    done = ottla(tmp_path, "topics", command, app, **environ)

    lines = done.stderr.splitlines()
    assert (done.returncode, done.stdout) == (78, ""), done.stderr
    assert len(lines) == len(said), done.stderr
    assert all(line.startswith("ottla: ") and text in line for line, text in zip(lines, said, strict=True))


def test_what_an_app_does_with_the_cluster_is_printed_for_who_grants_it_the_rights(tmp_path: Path) -> None:
    (tmp_path / "billing.py").write_text(WISHFUL)

    done = ottla(tmp_path, "topics", "access", "billing:wired", **LOCAL, TOPICS__ORDERS="staging.orders")

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "reads": ["staging.orders", "staging.orders-billing-replay"],
        "writes": ["staging.orders-billing-dlt"],
        "groups": ["billing", "billing-replay"],
        "dead_letters": ["staging.orders-billing-dlt"],
        "replays": ["staging.orders-billing-replay"],
        "ledger": "billing-replays",
    }


def test_topics_are_planned_without_a_database_url(tmp_path: Path) -> None:
    (tmp_path / "billing.py").write_text(WISHFUL)
    program = "from billing import wired; print([topic.name for topic in wired.topology()])"

    done = python(tmp_path, program, **LOCAL)

    assert done.stdout == "['orders', 'orders-billing-dlt']\n", done.stderr


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("sasl.password", "hunter2", "***"),
        ("ssl.key.pem", "hunter2", "***"),
        ("sasl.oauthbearer.client.secret", "hunter2", "***"),
        ("sasl.oauthbearer.config", "hunter2", "***"),
        ("url", "https://u:hunter2@h/p", "https://u:***@h/p"),
        ("url", "postgresql://u:hun/t@er2@h/d", "postgresql://u:***@h/d"),
        ("url", "x://h/d?a=1&password=hunter2&b=2", "x://h/d?a=1&password=***&b=2"),
        ("oauth_token_url", "https://idp/token", "https://idp/token"),
        ("sasl.oauthbearer.token.endpoint.url", "https://idp/token", "https://idp/token"),
        ("drain_s", 25.0, "25"),
        ("fail_fast", True, "true"),
        ("ca_file", None, "-"),
    ],
)
def test_a_value_is_shown_without_its_secrets(name: str, value: object, expected: str) -> None:
    assert shown(name, value) == expected


def test_a_secret_that_is_no_url_is_hidden_whole() -> None:
    settings = load_settings(environ=LOCAL | {"KAFKA_PASSWORD": "hunter2"}, file=Path(os.devnull))

    assert shown("password", settings.kafka.password) == "***"
