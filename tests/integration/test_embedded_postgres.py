"""The database from pip: durable unless asked otherwise, for us alone, and as whom root becomes."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import psycopg
import pytest

from ottla.embedded import EmbeddedPostgres, postgres
from ottla.errors import ConfigurationError


def setting(url: str, name: str) -> str:
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT current_setting(%s)", (name,)).fetchone()
    assert row is not None
    return str(row[0])


def test_it_is_postgresql_18_and_durable() -> None:
    with EmbeddedPostgres() as server:
        found = [setting(server.url, name) for name in ("server_version_num", "fsync", "synchronous_commit")]

    assert found[0].startswith("18")
    assert found[1:] == ["on", "on"]


def test_it_lets_nobody_in_without_the_password() -> None:
    with EmbeddedPostgres(durable=False) as server:
        without = server.url.replace(server.url.split(":")[2].split("@")[0], "wrong")

        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(without)


def test_it_runs_from_a_copy_when_the_other_user_cannot_enter_the_package(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root becomes another user")
    monkeypatch.setattr(postgres, "_can_be_entered", lambda _: False)

    with EmbeddedPostgres(durable=False) as server:
        assert server.pid is not None
        program = Path(f"/proc/{server.pid}/exe").readlink()
        version = setting(server.url, "server_version_num")

    assert "ottla-postgres-" in str(program)
    assert version.startswith("18")


def test_without_the_extra_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)

    with pytest.raises(ConfigurationError, match=r"pip install 'ottla\[demo,postgres\]'"):
        EmbeddedPostgres().start()
