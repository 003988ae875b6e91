"""`ottla run module:app`: one service, until it is told to stop."""

from __future__ import annotations

import asyncio
import importlib
import logging
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from ottla.app import App
from ottla.errors import ConfigurationError, OttlaError

_STOPPING = (signal.SIGTERM, signal.SIGINT)
CONFIGURATION_EXIT = 78
"""EX_CONFIG of sysexits.h: starting again without an edit is of no use."""


def run(
    app: Annotated[str, typer.Argument(metavar="MODULE:APP", help="where the App is, e.g. billing.app:app")],
    *,
    fail_fast: Annotated[
        bool | None,
        typer.Option(
            "--fail-fast/--wait", help="exit when broker, topic or database is not there (default: wait)"
        ),
    ] = None,
    log_level: Annotated[str, typer.Option(help="DEBUG, INFO, WARNING or ERROR")] = "INFO",
) -> None:
    """Run an app's listeners until SIGTERM or Ctrl-C, and stop cleanly within the drain bound.

    Exit codes: 0 stopped as told, 78 settings or wiring must be edited, 1 anything else.
    """
    logging.basicConfig(level=log_level.upper(), format="%(asctime)s %(levelname)-7s %(name)s: %(message)s")
    end(serve(app, fail_fast=fail_fast))


def serve(path: str, *, fail_fast: bool | None = None) -> tuple[int, bool]:
    """Run the app at `path`; the exit code, and whether threads of it still run."""
    try:
        app = load(path)
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(_until_told(app, fail_fast=fail_fast))
    except ConfigurationError as error:
        for line in str(error).splitlines():
            typer.echo(f"ottla: {line}", err=True)
        return CONFIGURATION_EXIT, False
    except OttlaError as error:
        typer.echo(f"ottla: {error}", err=True)
        return 1, False
    return 0, app.has_running_threads()


def end(result: tuple[int, bool]) -> None:
    """Exit; at once where a handler's thread would hold the interpreter up, as no thread can be ended."""
    code, has_threads = result
    if has_threads:
        logging.shutdown()
        sys.stdout.flush()
        os._exit(code)
    raise typer.Exit(code)


def load(path: str) -> App:
    """The `App` at `module:attribute`, with the current folder importable.

    Raises:
        ConfigurationError: there is none; says what was found instead.
    """
    module_name, _, attribute = path.partition(":")
    if not module_name or not attribute:
        raise ConfigurationError(f"{path!r} is not MODULE:APP, as in billing.app:app")
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, here)
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not (module_name == error.name or module_name.startswith(f"{error.name}.")):
            raise
        raise ConfigurationError(
            f"there is no module {module_name!r} here ({Path.cwd()}) nor installed"
        ) from error
    if not hasattr(module, attribute):
        raise ConfigurationError(f"{module_name} has nothing named {attribute!r}")
    found = getattr(module, attribute)
    if not isinstance(found, App):
        raise ConfigurationError(
            f"{module_name} has no ottla.App named {attribute!r}, but {type(found).__name__}"
        )
    return found


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Uvloop's where the extra is installed, else asyncio's own."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


async def _until_told(app: App, *, fail_fast: bool | None) -> None:
    """Run until the first signal; a second one, of either kind, ends the process at once."""
    loop = asyncio.get_running_loop()
    running = asyncio.ensure_future(app.run(fail_fast=fail_fast))

    def stop(number: signal.Signals) -> None:
        logging.getLogger("ottla").info("%s: stopping", number.name)
        for each in _STOPPING:
            loop.remove_signal_handler(each)
            # Python's own answer to SIGINT would wait for every task to end.
            signal.signal(each, signal.SIG_DFL)
        running.cancel()

    for number in _STOPPING:
        loop.add_signal_handler(number, stop, number)
    try:
        await running
    except asyncio.CancelledError:
        if not running.cancelled():
            raise
