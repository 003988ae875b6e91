"""deploy/msk is formatted, valid, and keeps its promises on a mocked provider: no account, no network.

Works on a copy, so that nothing is left in the tree. The provider comes from wherever Terraform's own
configuration says (TF_CLI_CONFIG_FILE, or ~/.terraformrc); where that file is not there, from a mirror on
this machine if there is one.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.deploy.findings import ROOT, Ended, Findings, Missing, failed, run

MSK = ROOT / "deploy" / "msk"
WHOLE = "tests/whole.tftest.hcl"
"""Makes everything; what it made is read for the policies, so it alone tells what it has made."""

_MIRRORED = "registry.terraform.io/hashicorp/aws"
_MIRRORS = ("/usr/share", "/usr/local/share", "/usr/local/lib", "/opt", "/srv")


@dataclass(frozen=True, slots=True)
class Checked:
    """What was found, and the resources that WHOLE has made: address, type and values."""

    findings: list[Findings]
    resources: list[dict[str, Any]]


class Terraform:
    """Runs in a copy of deploy/msk below `folder`."""

    def __init__(self, folder: Path) -> None:
        if shutil.which("terraform") is None:
            raise Missing(
                "terraform is missing: install version 1.9 or later (developer.hashicorp.com/terraform)"
            )
        self.module = folder / "msk"
        shutil.copytree(
            MSK, self.module, ignore=shutil.ignore_patterns(".terraform*", "*.tfstate*", "*.tfvars")
        )
        self._environment = {
            "CHECKPOINT_DISABLE": "1",
            "TF_IN_AUTOMATION": "1",
            "TF_INPUT": "0",
            "TF_DATA_DIR": str(folder / "data"),
            **_configuration(folder),
        }

    def __call__(self, *words: str) -> Ended:
        return run("terraform", *words, cwd=self.module, env=self._environment)


def check(folder: Path) -> Checked:
    """Format, initialize, validate, test; what fails early leaves the rest out."""
    terraform = Terraform(folder)
    form = Findings("terraform fmt")
    form.failures += failed(
        "terraform fmt",
        terraform("fmt", "-check", "-recursive", "-diff"),
        "run `terraform fmt -recursive deploy/msk`",
        codes=(0,),
    )
    ready = Findings(
        "terraform init",
        failures=failed("terraform init", terraform("init", "-backend=false", "-no-color"), _NO_PROVIDER),
    )
    if ready.failures:
        return Checked([form, ready], [])
    valid = Findings("terraform validate")
    valid.failures += failed(
        "terraform validate", terraform("validate", "-no-color"), "mend what it names in deploy/msk"
    )
    if valid.failures:
        return Checked([form, ready, valid], [])
    tested, resources = _test(terraform)
    return Checked([form, ready, valid, tested], resources)


_NO_PROVIDER = (
    "the provider hashicorp/aws 5.100 is to be had neither from the network nor from a mirror: name one in "
    "Terraform's configuration (provider_installation { filesystem_mirror { path = … } }), and that file in "
    "TF_CLI_CONFIG_FILE"
)


def _test(terraform: Terraform) -> tuple[Findings, list[dict[str, Any]]]:
    files = sorted(
        str(path.relative_to(terraform.module)) for path in terraform.module.glob("tests/*.tftest.hcl")
    )
    others = [f"-filter={name}" for name in files if name != WHOLE]
    with ThreadPoolExecutor() as pool:
        whole = pool.submit(terraform, "test", "-json", "-verbose", f"-filter={WHOLE}")
        rest = pool.submit(terraform, "test", "-json", *others)
        ended = [whole.result(), rest.result()]
    events = [event for each in ended for event in _events(each.output)]
    found = Findings("terraform test", failures=_complaints(events))
    for each in ended:
        if each.code != 0 and not found.failures:
            found.failures += failed("terraform test", each, "mend what it names in deploy/msk")
    passed = [
        (event["test_run"]["path"], event["test_run"]["run"])
        for event in events
        if event["type"] == "test_run" and event["test_run"].get("status") == "pass"
    ]
    asserted = {name: assertions((terraform.module / name).read_text()) for name in files}
    count = sum(asserted[path][name] for path, name in passed)
    if missed := {(path, name) for path, runs in asserted.items() for name in runs} - set(passed):
        found.failures += [
            f"terraform test: {path}: run {name!r} did not pass" for path, name in sorted(missed)
        ]
    found.counts["terraform_assertions"] = count
    found.said = f"{len(passed)} runs, {count} assertions"
    return found, _resources(events)


def assertions(text: str) -> dict[str, int]:
    """How many each run of a file makes: of its own, or the one that something is refused.

    Read by the form that `terraform fmt` gives, which is checked before.
    """
    parts = re.split(r'^run "(\w+)" \{$', text, flags=re.MULTILINE)
    return {
        name: len(re.findall(r"^  assert \{$", body, re.MULTILINE))
        + len(re.findall(r"^  expect_failures = ", body, re.MULTILINE))
        for name, body in zip(parts[1::2], parts[2::2], strict=True)
    }


def _events(output: str) -> Iterator[dict[str, Any]]:
    for line in output.splitlines():
        if line.startswith("{"):
            yield json.loads(line)


def _complaints(events: list[dict[str, Any]]) -> list[str]:
    return [
        f"terraform test: {event.get('@testfile', 'deploy/msk')}: {event.get('@testrun', '')}: "
        f"{event['diagnostic']['summary']}: {event['diagnostic'].get('detail', '')}"
        for event in events
        if event["type"] == "diagnostic" and event["diagnostic"]["severity"] == "error"
    ]


def _resources(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    states = [event["test_state"]["root_module"] for event in events if event["type"] == "test_state"]
    return [resource for state in states for resource in _walked(state)]


def _walked(module: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield from module.get("resources", [])
    for child in module.get("child_modules", []):
        yield from _walked(child)


def _configuration(folder: Path) -> dict[str, str]:
    """Terraform's own where it is there; else one of our own for the mirror that this machine has."""
    named = os.environ.get("TF_CLI_CONFIG_FILE")
    if (Path(named) if named else Path.home() / ".terraformrc").exists():
        return {}
    mirror = next(
        (found.parents[2] for place in _MIRRORS for found in sorted(Path(place).glob(f"*/{_MIRRORED}"))), None
    )
    written = folder / "terraform.rc"
    written.write_text(
        f'provider_installation {{\n  filesystem_mirror {{\n    path = "{mirror}"\n  }}\n}}\n'
        if mirror
        else ""
    )
    return {"TF_CLI_CONFIG_FILE": str(written)}
