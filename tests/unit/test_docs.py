"""The words around the code stay true: links, code, names, settings and figures that the pages name."""

from __future__ import annotations

import ast
import importlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import NamedTuple

import pytest
import typer
from pydantic_core import PydanticUndefinedType

import ottla
import ottla.errors
from ottla.admin.metrics import METRICS
from ottla.cli.main import dlt
from ottla.core.dead_letters import DeadLetterTopic
from ottla.core.decide import Bury, Reason
from ottla.core.destinations import Destinations
from ottla.core.detours import REPLAY_ID_HEADER, Road, read_arrival
from ottla.core.diagnosis.findings import Check
from ottla.core.figures import BOUNDS_S
from ottla.core.headers import Hop, Origin, dead_letter_headers, retry_headers
from ottla.core.identity import event_id
from ottla.core.letters import Letter, told_by
from ottla.core.replay import Stamp, Target, Way, replay_headers
from ottla.core.retry_topics import RetryTopics
from ottla.core.spring_headers import GROUP_HEADER
from ottla.core.topology import Naming, dead_letter_group, replay_group, retry_group
from ottla.records import Headers
from ottla.settings import load_settings
from ottla.settings.model import (
    BY_VARIABLE,
    SETTINGS,
    KafkaSettings,
    SettingPath,
    Settings,
    key_of,
    variable_of,
)
from ottla.template import RecordEncoder
from tests.support.pages import ROOT, Block, blocks, pages, without_blocks

PAGES = pages()
PYTHON = [block for page in PAGES for block in blocks(page) if block.language == "python"]
HOSTS = {
    "keepachangelog.com",
    "www.brucehardie.com",
    "example.org",
    "idp.example.org",
    "eks.amazonaws.com",
    "b-1.shop.a1b2c3.c2.kafka.eu-west-1.amazonaws.com",
}
"""The only hosts that pages may name: those of package registries differ from place to place."""
_HOST = re.compile(r"\b(?:[\w-]+\.)+(?:com|org|net|io|dev|cloud|internal|local)\b(?![\w.]*[=(])")
OTHER_VARIABLES = {
    "OTTLA_CONFIG",
    *re.findall(r"\bKAFKA_[A-Z_]+[A-Z]\b", (ROOT / "deploy" / "compose" / "compose.yaml").read_text()),
}
"""Variables that are no setting: where settings are; what the Compose file takes, or tells Kafka's image."""
README, DELIVERY = ROOT / "README.md", ROOT / "docs" / "explanation" / "delivery.md"
SETTINGS_PAGE = ROOT / "docs" / "reference" / "settings.md"
DEAD_LETTERS_PAGE = ROOT / "docs" / "howto" / "dead-letters.md"
HEADERS_PAGE = ROOT / "docs" / "reference" / "headers.md"
FAILING = ROOT / "docs" / "howto" / "failing-records.md"
METRICS_PAGE = ROOT / "docs" / "reference" / "metrics.md"
NOTHING = "\N{EN DASH}"


class Link(NamedTuple):
    page: Path
    text: str
    target: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}: {self.target}"

    @property
    def file(self) -> Path:
        path = self.target.partition("#")[0]
        return (self.page.parent / path).resolve() if path else self.page

    @property
    def anchor(self) -> str:
        return self.target.partition("#")[2]


def links() -> Iterator[Link]:
    for page in PAGES:
        for text, target in re.findall(r"\[([^\[\]]*)\]\(([^)\s]+)\)", without_blocks(page)):
            if "://" not in target:
                yield Link(page, text, target)


LINKS = list(links())
TO_CODE = [link for link in LINKS if link.file.suffix == ".py" and link.anchor]
"""Links to a line of a Python file. Their text names, last, what is defined there."""


def definitions(file: Path) -> dict[str, int]:
    """What a Python file defines at its top and in its classes, by dotted name; of overloads the last."""
    lines: dict[str, int] = {}

    def look(body: list[ast.stmt], prefix: str) -> None:
        for node in body:
            match node:
                case ast.ClassDef(name=name, body=inner):
                    lines[prefix + name] = node.lineno
                    look(inner, f"{prefix}{name}.")
                case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                    lines[prefix + name] = node.lineno
                case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
                    lines[prefix + name] = node.lineno

    look(ast.parse(file.read_text()).body, "")
    return lines


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", without_blocks(page), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def spans(page: Path) -> list[str]:
    return re.findall(r"`([^`\n]+)`", without_blocks(page))


def table(page: Path, heading: str) -> list[list[str]]:
    """The body of the first table below `heading`: its cells, without back-ticks."""
    below = page.read_text().split(f"{heading}\n", 1)[1]
    rows = re.search(r"(?:^\|.*\n)+", below, re.MULTILINE)
    assert rows is not None, f"no table below {heading!r}"
    lines = rows[0].splitlines()[2:]
    return [[cell.strip().strip("`") for cell in line.strip("|").split("|")] for line in lines]


def told_default(path: SettingPath) -> str:
    """A setting's default as pages tell it; `NOTHING` where there is none."""
    fields = KafkaSettings.model_fields if path[0] == "kafka" else Settings.model_fields
    match fields[path[-1]].default:
        case None | PydanticUndefinedType():
            return NOTHING
        case Enum(value=value):
            return str(value)
        case bool(value):
            return str(value).lower()
        case int(value):
            return f"{value:,}"
        case value:
            return str(value)


def resolve(name: str) -> object:
    """What a dotted name names: a module, or an attribute of the longest module it begins with."""
    parts = name.split(".")
    for count in range(len(parts), 0, -1):
        try:
            found: object = importlib.import_module(".".join(parts[:count]))
        except ModuleNotFoundError:
            continue
        for attribute in parts[count:]:
            found = getattr(found, attribute)
        return found
    raise ModuleNotFoundError(name)


def test_the_pages_are_found() -> None:
    names = {page.relative_to(ROOT).as_posix() for page in PAGES}

    assert {"README.md", "CONTRIBUTING.md", "docs/explanation/delivery.md"} <= names
    assert "src/ottla/template.py" in {link.file.relative_to(ROOT).as_posix() for link in TO_CODE}


@pytest.mark.parametrize("link", LINKS, ids=str)
def test_a_relative_link_leads_to_a_page_and_a_heading(link: Link) -> None:
    assert link.file.exists()
    assert not link.anchor or link in TO_CODE or link.anchor in anchors(link.file)


@pytest.mark.parametrize("link", TO_CODE, ids=str)
def test_a_link_to_a_line_of_code_leads_to_what_its_text_names(link: Link) -> None:
    name = re.findall(r"\w+(?:\.\w+)*", link.text)[-1]

    lines = [f"L{line}" for path, line in definitions(link.file).items() if f".{path}".endswith(f".{name}")]

    assert link.anchor in lines, f"{name} is defined at {', '.join(lines) or 'no line'} of {link.file.name}"


@pytest.mark.parametrize("block", PYTHON, ids=str)
def test_python_on_a_page_compiles(block: Block) -> None:
    ast.parse(block.text)


def test_python_with_a_file_name_imports_and_its_apps_are_wired(tmp_path: Path) -> None:
    files = [block for block in PYTHON if block.title]
    for block in files:
        (tmp_path / block.title).write_text(block.text)
    program = (
        "import asyncio, importlib, sys\n"
        "from ottla import App\n"
        "for name in sys.argv[1:]:\n"
        "    for app in vars(importlib.import_module(name)).values():\n"
        "        if isinstance(app, App):\n"
        # Nobody listens there: what is wired wrongly is raised before anything is waited for.
        "            async def started():\n"
        "                async with app: print(name, *app.wanted_topics())\n"
        "            asyncio.run(started())\n"
    )
    environment = {
        "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1",
        "DATABASE_URL": "postgresql://u@127.0.0.1:1/d",
        "KAFKA_DRAIN_S": "0.5",
        "OTTLA_CONFIG": os.devnull,
    }

    done = subprocess.run(
        [sys.executable, "-c", program, *(Path(block.title).stem for block in files)],
        cwd=tmp_path,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    told = done.stdout.splitlines()
    (listing,) = (block.text for block in blocks(FAILING) if block.text.startswith("create "))
    assert "billing orders orders-billing-dlt" in told
    assert "spring_billing orders orders-billing-retry-1000" in done.stdout
    assert f"refunds {' '.join(re.findall(r'^create (.*?) ', listing, re.MULTILINE))}" in told


def test_dotted_names_of_ottla_can_be_imported() -> None:
    named = {
        name
        for page in PAGES
        for span in spans(page)
        for name in re.findall(r"^(ottla(?:\.\w+)+)", span)
        if not name.endswith((".toml", ".inbox", ".outbox"))
    }

    unknown = set()
    for name in named:
        try:
            resolve(name)
        except (AttributeError, ModuleNotFoundError):
            unknown.add(name)

    assert "ottla.App" in named
    assert unknown == set()


def test_variables_that_pages_name_are_settings() -> None:
    named = {
        word
        for page in PAGES
        for word in re.findall(r"\b(?:KAFKA|DATABASE|OTTLA)_[A-Z_]+[A-Z]\b", page.read_text())
    }

    assert "KAFKA_BOOTSTRAP_SERVERS" in named
    assert named - OTHER_VARIABLES <= set(BY_VARIABLE)


def test_make_targets_that_pages_name_exist() -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))

    named = {match for page in PAGES for match in re.findall(r"`make ([a-z0-9-]+)", page.read_text())}

    assert "demo" in named
    assert named <= targets


def test_files_that_pages_name_exist() -> None:
    named = {
        span
        for page in PAGES
        for span in spans(page)
        if re.fullmatch(r"(src|tests|docs|examples|benchmarks|scripts|requirements)/[\w./-]*", span)
    }

    assert "src/ottla/kafka/consumer.py" in named
    assert [path for path in sorted(named) if not (ROOT / path).exists()] == []


def test_pages_name_no_hosts_but_the_known() -> None:
    named = {host for page in PAGES for host in _HOST.findall(page.read_text())}

    assert "keepachangelog.com" in named
    assert named - HOSTS == set()


def test_every_decision_is_in_the_index_and_has_a_number_of_its_own() -> None:
    folder = ROOT / "docs" / "adr"
    decisions = sorted(path.name for path in folder.glob("[0-9]*.md"))

    indexed = re.findall(r"\]\((\d{4}-[^)]+)\)", (folder / "README.md").read_text())

    assert indexed == decisions
    assert len({name[:4] for name in decisions}) == len(decisions) > 0


def test_defaults_that_the_readme_tells_are_those_of_the_settings() -> None:
    settings = load_settings(
        "billing", environ={"KAFKA_BOOTSTRAP_SERVERS": "localhost"}, file=Path(os.devnull)
    )
    told = {row[0]: row[1].strip("`") for row in table(README, "## Settings")}

    wrong: dict[str, tuple[str, object]] = {}
    for variable, default in told.items():
        path = BY_VARIABLE.get(variable)
        value: object = settings
        for name in path or ():
            value = getattr(value, name)
        if path and default.replace(",", "").isalnum():
            wrong |= {} if default == str(value).lower().removesuffix(".0") else {variable: (default, value)}

    assert told["KAFKA_DRAIN_S"] == "25"
    assert wrong == {}


def test_every_setting_is_on_its_page_with_variable_key_default_and_description() -> None:
    expected = [
        [variable_of(path) or NOTHING, key_of(path), told_default(path), description]
        for path, description in SETTINGS.items()
    ]

    assert table(SETTINGS_PAGE, "## All of them") == expected


def test_every_metric_is_on_its_page_with_type_labels_and_description() -> None:
    expected = [
        [metric.name, metric.kind, ", ".join(metric.labels) or NOTHING, metric.description]
        for metric in METRICS
    ]

    assert table(METRICS_PAGE, "## All of them") == expected


def test_the_buckets_told_are_those_that_are_counted() -> None:
    told = re.search(r"buckets end at ([\d., ]+) and 60 seconds", METRICS_PAGE.read_text())

    assert told is not None
    assert [float(bound) for bound in told[1].split(", ")] + [60.0] == list(BOUNDS_S)


@pytest.mark.parametrize(
    ("page", "heading"),
    [(DELIVERY, "## What a dead letter carries"), (HEADERS_PAGE, "## Written on dead letters")],
    ids=["delivery", "headers"],
)
def test_the_table_of_dead_letter_headers_is_the_one_that_is_written(page: Path, heading: str) -> None:
    origin = Origin("orders", 1, 2, 3, 1, "billing")

    written = dead_letter_headers(None, origin, Reason.EXHAUSTED, ValueError("no"))

    assert {row[0] for row in table(page, heading)} == {name for name, _ in written}


def test_the_table_of_headers_of_a_send_is_what_is_written() -> None:
    written = RecordEncoder().encode("orders", "text").headers

    assert [row[0] for row in table(HEADERS_PAGE, "## Written on every send")] == [
        name for name, _ in written
    ]


def test_the_table_of_headers_of_a_replay_is_what_is_written() -> None:
    letter = Letter("orders-dlt", 0, 0, 1, None, None, Headers(), told_by(None))

    written = replay_headers(letter, Target("orders", Way.MAIN), Stamp("id", "by", "at", 1))

    told = [row[0] for row in table(HEADERS_PAGE, "## Written by a replay")]
    assert told == [name for name, _ in written]


def test_options_that_the_page_of_dead_letters_names_are_those_of_the_commands() -> None:
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", DEAD_LETTERS_PAGE.read_text()))

    group = typer.main.get_command(dlt)
    assert isinstance(group, typer.core.TyperGroup)
    there = {name for command in group.commands.values() for each in command.params for name in each.opts}

    assert {"--dry-run", "--because", "--to-all-groups"} <= named <= there


def test_every_check_of_the_doctor_is_on_its_page_in_the_order_of_its_lines() -> None:
    page = (ROOT / "docs/howto/doctor.md").read_text()
    table = page[page.index("## What is looked at") : page.index("Checks that do not need")]

    told = re.findall(r"^\| `([a-z ]+)` \|", table, re.MULTILINE)

    assert told == [check.value for check in Check]


def test_the_headers_told_as_read_are_those_that_make_an_event_id() -> None:
    told = [row[0] for row in table(HEADERS_PAGE, "## Read from every record")]

    def known(*names: str) -> str:
        return event_id(Headers((name, name.encode()) for name in names), "orders", 0, 7, 1)

    ours, cloud_id, cloud_source = told
    assert known(*told) == ours
    assert known(cloud_source, cloud_id) == f"{cloud_source}#{cloud_id}"
    assert known(cloud_source) == "orders-0-7@1"


def test_every_reason_for_a_dead_letter_is_told() -> None:
    told = DELIVERY.read_text()

    assert [reason.value for reason in Reason if f"| `{reason.value}` |" not in told] == []


ORIGIN = Origin("orders", 1, 2, 3, timestamp_type=2, group="billing")
"""Of the type that is not the one which a missing header stands for."""
ON_RETRY_TOPIC = retry_headers(None, ORIGIN, ValueError("no"), Hop(2, 3, 4))
DEAD = dead_letter_headers(None, ORIGIN, Reason.EXHAUSTED, ValueError("no"))


def test_the_table_of_headers_on_retry_topics_is_what_is_written() -> None:
    told = {row[0] for row in table(HEADERS_PAGE, "## Written on retry topics")}
    dead = dead_letter_headers(None, ORIGIN, Reason.EXHAUSTED, ValueError("no"), Hop(2, 3, 4))

    assert told == {name for name, _ in ON_RETRY_TOPIC}
    assert told | {"ottla-dead-letter-reason"} == {name for name, _ in dead}


@pytest.mark.parametrize(
    ("road", "column"), [(Road.MAIN, 0), (Road.RETRY, 2), (Road.REPLAY, 3), (Road.DEAD_LETTER, 4)]
)
@pytest.mark.parametrize("family", ["kafka_", "kafka_dlt-"])
def test_the_headers_told_as_believed_on_a_road_are_those_that_make_a_difference_there(
    road: Road, column: int, family: str
) -> None:
    """Without one that is believed a record is something else, to its own group or to another one."""
    rows = table(HEADERS_PAGE, "## Read on retry, replay and dead-letter topics")
    retry = tuple(pair for pair in ON_RETRY_TOPIC if pair[0].startswith("retry_topic-"))
    written = ON_RETRY_TOPIC if family == "kafka_" else Headers((*retry, *DEAD))
    headers = Headers((*written, (REPLAY_ID_HEADER, b"r-1")))

    def read(present: Headers) -> list[object]:
        if road is Road.MAIN:
            return []  # the engine of a first topic asks for none of them
        return [read_arrival(road, present, group=group, now_ms=5) for group in ("billing", "shipping")]

    def without(name: str) -> Headers:
        return Headers(pair for pair in headers if pair[0] != name)

    told = {row[0] for row in rows if row[column].startswith("yes")}
    if family == "kafka_dlt-":
        told = {name if name == GROUP_HEADER else name.replace("kafka_", family) for name in told}
    assert told == {name for name, _ in headers if read(without(name)) != read(headers)}


def test_the_names_of_retry_topics_are_those_of_the_policy() -> None:
    rows = table(FAILING, "## Retry by topics")

    found = {}
    for policy, _ in rows:
        at = Destinations("orders", "billing", Naming.PER_GROUP, called(policy), DeadLetterTopic())
        found[policy] = ", ".join(f"`{at.of_stage(stage)}`" for stage in at.stages).strip("`")

    assert dict(rows) == found


@pytest.mark.parametrize(("naming", "column"), [(Naming.PER_GROUP, 1), (Naming.SPRING, 2)])
def test_the_names_of_topics_and_groups_follow_the_naming_as_told(naming: Naming, column: int) -> None:
    retry, routed = RetryTopics(attempts=4, factor=2), DeadLetterTopic(routes={KeyError: "-unreadable"})
    with_retries = Destinations("orders", "billing", naming, retry, routed)
    without = Destinations("orders", "billing", naming, ottla.InPlace(), routed)
    suffix = retry.stages[0].suffix
    groups = [retry_group("billing", suffix), dead_letter_group("billing"), replay_group("billing")]

    told = [row[column] for row in table(FAILING, "## Names")]

    assert told[:4] == [
        with_retries.of_stage(retry.stages[0]),
        without.of(Bury(Reason.FATAL, ValueError())),
        without.of(Bury(Reason.FATAL, KeyError())),
        without.replay,
    ]
    assert told[4] in {"`, `".join(groups), "the same"}


def called(call: str) -> ottla.RetryTopics | ottla.InPlace:
    """What a call on a page makes; exceptions that a reader has to think of are made up."""
    made_up = {name: type(name, (Exception,), {}) for name in ("A", "B", "CardRefused")}
    found: ottla.RetryTopics | ottla.InPlace = eval(call, {**vars(ottla), **vars(ottla.errors), **made_up})
    return found


def test_calls_that_pages_name_can_be_made() -> None:
    names = "App|DeadLetterTopic|Fatal|Guard|InPlace|Never|Offsets|RetryTopics"
    calls = {
        span.removeprefix("fatal=")
        for page in PAGES
        for span in spans(page)
        if re.fullmatch(rf"(?:fatal=)?(?:{names})\(.*\)", span)
        and not any(part in span for part in ("…", "=)", "topics="))
    }

    for call in calls:
        called(call)

    assert "Fatal((ValueError,), causes=True)" in calls
    assert len(calls) > 15


def test_calls_that_are_told_as_defaults_are() -> None:
    told = re.findall(r"`([^`\n]+)` are the\sdefaults", FAILING.read_text())

    assert [called(call) for call in told] == [ottla.InPlace(), ottla.RetryTopics(), ottla.DeadLetterTopic()]
