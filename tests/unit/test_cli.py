"""The command as users call it: in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ottla.cli.config import shown
from ottla.settings import load_settings

LOCAL = {"KAFKA_BOOTSTRAP_SERVERS": "localhost:9092"}


def ottla(folder: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    ours = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("KAFKA_", "DATABASE_", "TOPICS__", "OTTLA_"))
    }
    command = [sys.executable, "-c", "from ottla.cli.main import main; main()", *arguments]
    return subprocess.run(
        command,
        env=ours | {"COLUMNS": "200"} | environ,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


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
    assert {"run", "dev", "config", "db"} <= set(done.stdout.split())


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
