"""The documentation tells what the code does: its generated parts, links, samples, commands and numbers."""

from __future__ import annotations

import base64
import re
import shlex
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pytest
import typer

from collector.contract import Decoded
from collector.decode.registry import FORMATS, decoder
from collector.errors import BadSource
from collector.sources import documents, files
from collector.sources.urls import parse_source
from eastwatch.cli import COMMANDS, build
from eastwatch.cli.errors import EXIT_BAD_INPUT, EXIT_CHECK_FAILED, EXIT_INTERRUPTED
from eastwatch.cli.times import parse_time
from eastwatch.pages import blocks, named, refreshed
from eastwatch.pages.cli import helps
from eastwatch.pages.settings import settings
from eastwatch.settings import Settings, load_settings
from storage.tables import TABLES

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
ADRS = sorted((ROOT / "docs" / "adr").glob("*.md"))
ALL_TEXT = "\n".join(page.read_text() for page in PAGES)


def page(name: str) -> str:
    return (ROOT / "docs" / name).read_text()


def ids(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


# Systems.

ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in page("meshes.md").splitlines()
    if line.startswith("| ") and not line.startswith(("| system |", "| source |"))
]
SYSTEMS = (
    *("Istio sidecars", "ztunnel", "waypoint", "Istio metrics", "Google Cloud Service Mesh, Anthos", "Linkerd"),
    *("Linkerd metrics", "Consul Connect", "Open Service Mesh", "Envoy, bare", "Envoy's OTLP", "envoyals"),
    *("Envoy metrics", "Spring Cloud (Micrometer", "Spring Cloud over OTLP", "Spring Cloud Gateway", "Jaeger"),
    *("Istio's gateways", "Envoy Gateway", "Emissary", "Kong", "ingress-nginx", "Cilium", "Calico"),
    *("Kubernetes", "Consul's catalog"),
)


@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_each_system_says_what_it_gives_and_names_its_scenario(row: list[str]) -> None:
    system, switched_on, gives, lacks, scenario = row
    assert system and switched_on and gives and lacks
    named = re.fullmatch(r"\[(\w+)\]\(\.\./tests/meshes/test_(\w+)\.py\)", scenario)
    assert named and named[1] == named[2]
    source = (ROOT / "tests" / "meshes" / f"test_{named[1]}.py").read_text()
    # It goes the whole way, from bytes through ingestion, and looks at edges.
    assert re.search(r"\b(ingested|Ingest)\(", source) and re.search(r"\bedges?\b", source)


def test_every_system_has_a_row() -> None:
    told = [row[0] for row in ROWS]
    assert [system for system in SYSTEMS if not any(system in name for name in told)] == []


# Generated parts.


@pytest.mark.parametrize("path", PAGES, ids=ids)
def test_generated_parts_are_those_of_the_code(path: Path) -> None:
    text = path.read_text()
    assert refreshed(text) == text, "run `python -m eastwatch.pages`"
    assert text.count("<!-- generated:") == len(named(text)) == text.count("<!-- end -->")


def test_a_stale_part_is_found_and_a_strange_one_refused() -> None:
    stale = "a\n<!-- generated: help eastwatch map -->\nold\n<!-- end -->\nb\n"
    assert "--namespace" in refreshed(stale)
    assert refreshed(stale).startswith("a\n<!--") and refreshed(stale).endswith("<!-- end -->\nb\n")
    with pytest.raises(KeyError, match="no generated part 'nothing'"):
        refreshed("<!-- generated: nothing -->\n<!-- end -->")


@pytest.mark.parametrize(
    ("name", "prefix"), [("settings.md", "settings"), ("cli.md", "help "), ("formats.md", "envoy_json ")]
)
def test_every_setting_and_command_has_its_place(name: str, prefix: str) -> None:
    wanted = {block for block in blocks() if block.startswith(prefix)}
    assert wanted and wanted <= set(named(page(name)))


def test_every_setting_is_explained_and_can_be_given(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    found = settings()
    assert {one.path.partition(".")[0] for one in found} == set(Settings.model_fields)
    for one in found:
        assert len(one.help) > 10, f"{one.path} has no help"
        assert one.unit
        given = {"store": "chdb:elsewhere", "memory_bytes": str(1 << 30), "policies.smi.permissive": "True"}
        value = given.get(one.path, str(one.default))
        monkeypatch.setenv(one.environment, value)
        read = load_settings()
        for part in one.path.split("."):
            read = getattr(read, part)
        assert str(read) == value
        monkeypatch.delenv(one.environment)


# Samples.

_FENCE = re.compile(r"^```(\w*)([^\n]*)\n(.*?)\n```$", re.DOTALL | re.MULTILINE)


def samples() -> list[tuple[str, dict[str, int], bytes]]:
    """(format, rows by table, message) of every line of every sample of formats.md."""
    found: list[tuple[str, dict[str, int], bytes]] = []
    for language, rest, body in _FENCE.findall(page("formats.md")):
        if match := re.fullmatch(r" sample=(\w+) rows=(\w+):(\d+)", rest):
            for line in body.split("\n"):
                message = base64.b64decode(line, validate=True) if language == "base64" else line.encode()
                found.append((match[1], {match[2]: int(match[3])}, message))
    return found


def refusals() -> list[tuple[str, bytes, str]]:
    """(format, message, reason) of every refusal of formats.md."""
    fences = _FENCE.findall(page("formats.md"))
    found: list[tuple[str, bytes, str]] = []
    for (_, rest, body), (_, after, reason) in pairwise(fences):
        if match := re.fullmatch(r" dead=(\w+)", rest):
            assert after == " reason", f"no reason behind {body[:60]!r}"
            found.append((match[1], body.encode(), reason))
    return found


def decoded(format: str, message: bytes) -> Decoded:
    return decoder(format).decode(pa.array([message], pa.large_binary()))


@pytest.mark.parametrize(("format", "rows", "message"), samples())
def test_a_sample_gives_its_rows(format: str, rows: dict[str, int], message: bytes) -> None:
    for name in (format, "auto"):
        found = decoded(name, message)
        assert not found.dead
        assert {table: batch.num_rows for table, batch in found.tables.items()} == rows


@pytest.mark.parametrize(("format", "message", "reason"), refusals())
def test_a_refusal_has_its_reason(format: str, message: bytes, reason: str) -> None:
    found = decoded(format, message)
    assert not any(batch.num_rows for batch in found.tables.values())
    assert [letter.reason for letter in found.dead] == [reason]


def test_every_format_and_every_table_of_records_has_a_sample() -> None:
    assert {format for format, _, _ in samples()} == set(FORMATS)
    assert {table for _, rows, _ in samples() for table in rows} == {"calls", "spans", "metric_points"}
    assert len(refusals()) > 10
    headings = re.findall(r"^#+ (.*)$", page("formats.md"), re.MULTILINE)
    for format in FORMATS:
        assert any(format in heading for heading in headings), f"{format} has no heading"
    assert {"calls", "spans", "metric_points", "dead_letters"} <= TABLES.keys() & set(headings)


# Links and places.


def anchors(text: str) -> set[str]:
    """The anchors that GitHub gives to the headings of a page."""
    outside = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ (.*)$", outside, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", PAGES, ids=ids)
def test_links_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", path.read_text()):
        if target.startswith(("http://", "https://")):
            continue
        name, _, anchor = target.partition("#")
        file = (path.parent / name).resolve() if name else path
        assert file.exists(), f"{target}: no such file"
        assert not anchor or anchor in anchors(file.read_text()), f"{target}: no such heading"


@pytest.mark.parametrize("path", PAGES, ids=ids)
def test_named_files_exist(path: Path) -> None:
    rooms = "storage|collector|analyzers|api|dashboards|eastwatch|tests|benchmarks|deploy|schemas|docs"
    for name in re.findall(rf"`((?:{rooms})/[\w./*-]*)`", path.read_text()):
        # A word in capitals stands for any name: storage/sql/ROOM/NAME.sql
        pattern = re.sub(r"\b[A-Z]+\b", "*", name.rstrip("/"))
        assert list(ROOT.glob(pattern)), f"{name} does not exist"


@pytest.mark.parametrize("path", PAGES, ids=ids)
def test_named_tests_exist(path: Path) -> None:
    for file, name in re.findall(r"`(test_\w+\.py)::(\w+)`", path.read_text()):
        found = list((ROOT / "tests").rglob(file))
        assert found, f"no file {file}"
        assert any(f"\ndef {name}(" in one.read_text() for one in found), f"no test {file}::{name}"


def test_what_is_promised_of_delivery_is_shown_by_tests() -> None:
    shown = page("delivery.md").partition("| what | shown by |")[2].strip().splitlines()[1:]
    assert len(shown) >= 15
    assert [row for row in shown if not re.search(r"`test_\w+\.py::\w+`", row)] == []


def test_every_page_and_every_folder_of_sql_is_named() -> None:
    for folder in sorted(path for path in (ROOT / "storage" / "sql").iterdir() if path.is_dir()):
        assert f"storage/sql/{folder.name}" in ALL_TEXT, f"no page names storage/sql/{folder.name}"
    readme = (ROOT / "README.md").read_text()
    for path in (ROOT / "docs").glob("*.md"):
        assert f"(docs/{path.name})" in readme, f"README.md does not lead to docs/{path.name}"


@pytest.mark.parametrize("path", ADRS, ids=ids)
def test_a_decision_has_its_four_sections(path: Path) -> None:
    text = path.read_text()
    assert re.match(rf"# ADR {path.name[:3]}: \S", text)
    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == ["Context", "Decision", "Alternatives", "What gets worse"]
    for section in re.split(r"^## .*$", text, flags=re.MULTILINE)[1:]:
        assert len(section.split()) > 10


def test_decisions_are_numbered_without_a_gap() -> None:
    assert [path.name[:3] for path in ADRS] == [f"{number:03}" for number in range(1, len(ADRS) + 1)]


# Commands.


@cache
def commands() -> typer.core.TyperGroup:
    command = typer.main.get_command(build())
    assert isinstance(command, typer.core.TyperGroup)
    return command


def shown_commands(text: str) -> Iterator[str]:
    """Command lines of a page: lines of code blocks, and inline code."""
    for language, rest, body in _FENCE.findall(text):
        if language or rest:
            continue
        for line in body.split("\n"):
            for part in line.split("#")[0].split("|"):
                if part.strip().startswith("eastwatch "):
                    yield part.split(">")[0].strip()
    yield from re.findall(r"`(eastwatch [^`\n]*)`", re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE))


@pytest.mark.parametrize("path", PAGES, ids=ids)
def test_shown_commands_exist(path: Path) -> None:
    for line in shown_commands(path.read_text()):
        command = commands()
        for word in shlex.split(line.split(r"\|")[0])[1:]:
            if word.startswith("--"):
                known = {option for parameter in command.params for option in parameter.opts}
                assert word.partition("=")[0] in known | {"--help"}, f"{line}: no option {word}"
            elif isinstance(command, typer.core.TyperGroup):
                assert word in command.commands, f"{line}: no command {word}"
                command = command.commands[word]


def test_the_readme_shows_commands_and_every_command_is_in_it() -> None:
    readme = (ROOT / "README.md").read_text()
    assert len(list(shown_commands(readme))) > 5
    for name in COMMANDS:
        assert f"`eastwatch {name}" in readme, f"README.md does not name {name}"
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"^make ([a-z-]+)", ALL_TEXT, re.MULTILINE)) <= targets


def test_a_wrong_command_would_be_found(tmp_path: Path) -> None:
    for line in ("eastwatch map --sinc -2h", "eastwatch maps"):
        wrong = tmp_path / "wrong.md"
        wrong.write_text(f"`{line}`\n\n```\n{line} | head\n```\n")
        assert list(shown_commands(wrong.read_text())) == [line, line]
        with pytest.raises(AssertionError):
            test_shown_commands_exist(wrong)


def test_every_command_has_a_heading() -> None:
    headings = set(re.findall(r"^#+ (eastwatch.*)$", page("cli.md"), re.MULTILINE))
    assert headings == helps().keys() - {"eastwatch"}


def test_exit_codes() -> None:
    codes = re.findall(r"^\| (\d+) \|", page("cli.md"), re.MULTILINE)
    assert codes == [str(code) for code in (0, EXIT_CHECK_FAILED, EXIT_BAD_INPUT, EXIT_INTERRUPTED)]


def test_shown_times_can_be_read() -> None:
    paragraph = re.search(r"\*\*Times\*\*.*?\n\n", page("cli.md"), re.DOTALL)
    assert paragraph
    times = [text for text in re.findall(r"`([^`]+)`", paragraph[0]) if not text.startswith("--")]
    assert len(times) >= 6
    for text in times:
        assert parse_time(text, datetime.now(UTC)).tzinfo is UTC


@pytest.mark.parametrize("source", ["kafka://127.0.0.1:9092/t", "file:x", "-"])
def test_options_of_sources(source: str) -> None:
    rows = re.findall(r"^\| ((?:`\w+`(?:, )?)+) \| ([a-z, -]+) \|", page("cli.md"), re.MULTILINE)
    kind = source.partition(":")[0]
    listed = {name.strip("`") for names, of in rows for name in names.split(", ") if kind in of.split(", ")}
    with pytest.raises(BadSource) as refusal:
        parse_source(f"{source}?nonsense=1")
    assert listed == set(str(refusal.value).rpartition("expected ")[2].split(", "))


# Numbers of delivery.md.


def test_windows() -> None:
    migrations = [path.read_text() for path in (ROOT / "storage" / "migrations").glob("*.sql")]
    tables = [text for text in migrations if re.search(r"^CREATE TABLE", text, re.MULTILINE)]
    windows = [re.findall(r"non_replicated_deduplication_window = (\d+)", text) for text in tables]
    assert set(map(tuple, windows)) == {("100000",)}, "every table needs its window, and delivery.md says how large"
    text = page("delivery.md")
    assert "100 000 blocks" in text
    for batches_a_second, spans_s in ((1, 27.8 * 3600), (12, 2 * 3600 + 19 * 60), (100, 17 * 60)):
        assert re.search(rf"^\| {batches_a_second}\b", text, re.MULTILINE)
        assert 100_000 / batches_a_second == pytest.approx(spans_s, rel=0.03)


def test_fixed_numbers() -> None:
    assert f"files: {files.COMMIT_S:g} s" in page("delivery.md")
    assert f"{documents.DOCUMENT_BYTES >> 20} MiB" in page("formats.md")
