"""A listening process of the demo: `ottla run module:app`, and how it fares in a file.

The file is `status.json` in the current folder, written anew within 20 ms of every
change: a process that is killed leaves it behind.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from dataclasses import asdict
from pathlib import Path

from examples.shop.demo.mutants import MUTANTS
from ottla import App
from ottla.cli.main import main as ottla
from ottla.cli.run import load

STATUS = "status.json"
_EVERY_S = 0.02


def _report(app: App) -> None:
    told = None
    while True:
        status = {"partitions": len(app.assigned()), **asdict(app.counts())}
        if status != told and status["partitions"]:  # after the stop there are no counts any more
            new = Path(f"{STATUS}.new")
            new.write_text(json.dumps(status))
            new.replace(STATUS)
            told = status
        time.sleep(_EVERY_S)


def main() -> None:
    """Run the app that the argument names until told to stop."""
    (path,) = sys.argv[1:]
    if mutant := os.environ.get("DEMO_MUTANT"):
        MUTANTS[mutant]()
    threading.Thread(target=_report, args=(load(path),), daemon=True).start()
    sys.argv = ["ottla", "run", path]
    ottla()


if __name__ == "__main__":
    main()
