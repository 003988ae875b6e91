from __future__ import annotations

import subprocess
import sys


def test_importing_the_plugin_imports_nothing_that_ottla_does_not() -> None:
    program = (
        "import pytest, sys, ottla; before = set(sys.modules)\n"
        "import ottla.testing.plugin\n"
        "new = sorted(set(sys.modules) - before)\n"
        "print(*[name for name in new if not name.startswith('ottla.testing')])"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout.split() == []
