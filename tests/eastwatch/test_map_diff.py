"""`eastwatch map --diff` and `--ledger`: their windows, documents, tables, drawings and refusals."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from xml.etree import ElementTree

import pytest
import typer
from jsonschema import Draft202012Validator

from eastwatch.cli.diff_ranges import parse_diff

ROOT = Path(__file__).parent.parent.parent
NOW = datetime(2026, 3, 2, 12, 30, 40, tzinfo=UTC)


def at(hour: int, minute: int = 0, day: int = 2) -> datetime:
    return datetime(2026, 3, day, hour, minute, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "windows"),
    [
        ("2026-03-02T11:00Z..2026-03-02T12:00Z", ((at(10), at(11)), (at(11), at(12)))),
        ("-1d..now", ((at(11, 30, 1), at(12, 30, 1)), (at(11, 30), at(12, 30)))),
        ("2026-03-01..2026-03-02", ((at(0, 0, 1), at(0)), (at(0), at(12, 31)))),
        ("-2h/-1h..-1h/now", ((at(10, 30), at(11, 30)), (at(11, 30), at(12, 30)))),
        ("2026-03-02T10:00:59Z/2026-03-02T10:10Z..-5m/2026-03-09", ((at(10), at(10, 10)), (at(12, 25), at(12, 31)))),
        ("2026-03-02T13:00:00+02:00..2026-03-02T12:00", ((at(10), at(11)), (at(11), at(12)))),
        ("now..-1h", ((at(11, 30), at(12, 30)), (at(10, 30), at(11, 30)))),
    ],
)
def test_both_sides_name_a_window(text: str, windows: tuple[object, object]) -> None:
    assert parse_diff(text, NOW) == windows


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "expected A..B"),
        ("-1h", "expected A..B"),
        ("..now", "expected A..B"),
        ("-2h..-1h..now", "expected A..B"),
        ("-30m..now", "both windows hold 2026-03-02T11:30Z"),
        ("yesterday..now", "'yesterday' is no time"),
        ("2026-02-30..now", "'2026-02-30' is no time"),
        ("-1h/-2h..now", "'-1h/-2h' holds no whole minute"),
        ("-2h/-1h..2027-01-01/2027-01-02", "holds no whole minute of the past"),
        ("-2h/-1h/now..now", "is no time"),
    ],
)
def test_what_names_no_two_windows_is_refused(text: str, says: str) -> None:
    with pytest.raises(typer.BadParameter, match=re.escape(says)) as refused:
        parse_diff(text, NOW)
    assert "\n" not in str(refused.value)


EACH = """
import contextlib, io, json, sys
from eastwatch.cli import run
told = []
for arguments in json.load(sys.stdin):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run(arguments)
    told.append((code, out.getvalue(), err.getvalue()))
sys.stdout.write(json.dumps(told))
"""
"""Runs the command lines that stdin lists, one after the other: (exit code, stdout, stderr) of each on stdout."""
HOSTILE = '\x1b[31m"><script>$(reboot)'
PRINCIPAL = "spiffe://cluster.local/ns/shop/sa/web"


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("diff") / "calls.jsonl"
    common = {"source_namespace": "shop", "source_service": "web", "protocol": "http", "status": 200, "tls": "mtls"}
    common |= {"reporter": "destination", "source_principal": PRINCIPAL, "duration_us": 2000, "method": "GET"}
    listed: list[str] = []
    for hour, callees in (
        (10, {"orders": 60, "gone": 20, "busy": 100}),
        (11, {"orders": 60, HOSTILE: 20, "busy": 900}),
    ):
        for service, count in callees.items():
            for place in range(count):
                ts = at(hour) + timedelta(seconds=3600 * (place + 0.5) / count)
                path_ = "/" if hour == 10 or service != "orders" or place % 2 else "/new"
                listed.append(
                    json.dumps(
                        {**common, "ts": ts.isoformat(), "destination_namespace": "shop", "path": path_}
                        | {"destination_service": service}
                    )
                )
    path.write_text("\n".join(listed) + "\n")
    return path


DIFF = ("--diff", "2026-03-02T11:00Z..2026-03-02T12:00Z")
REFUSED = (
    (("--diff", "-1h"), "expected A..B"),
    ((*DIFF, "--format", "dot"), "--diff has no --format dot, expected table or json or svg"),
    (("--ledger", "--format", "svg"), "--ledger has no --format svg, expected table or json"),
    ((*DIFF, "--since", "-1h"), "--diff names its own windows"),
    ((*DIFF, "--ledger"), "--diff names its own windows"),
)


def test_the_commands_tell_the_same_in_every_form(run_in_process, tmp_path: Path, lines: Path) -> None:
    told = (("--json",), (), ("--format", "svg"))
    commands = [
        ("ingest", f"file:{lines}?format=calls_json", "--until-idle"),
        *(("map", *DIFF, *form) for form in told),
        ("map", "--ledger", "--service", "orders", "--json"),
        ("map", "--ledger"),
        *(("map", *arguments) for arguments, _ in REFUSED),
    ]
    asked = tmp_path / "commands.json"
    asked.write_text(json.dumps([(*command, "--store", f"chdb:{tmp_path / 'store'}") for command in commands]))
    with asked.open() as stdin:
        answers = json.loads(run_in_process(EACH, stdin=stdin, timeout_s=240).stdout)
    done = [out for code, out, _ in answers if code == 0]
    assert len(done) == 6, answers
    document, table, drawn, entries, ledger_table = json.loads(done[1]), done[2], done[3], json.loads(done[4]), done[5]

    assert [edge["destination"] for edge in document["appeared"]] == [f"shop/{HOSTILE}"]
    assert [edge["destination"] for edge in document["disappeared"]] == ["shop/gone"]
    assert [(change["what"], change["destination"], change["operation"]) for change in document["changed"]] == [
        ("rate", "shop/busy", None),
        ("operation", "shop/orders", "GET /new"),
    ]
    for name, shown in (("map-diff", document), ("map-ledger", entries)):
        Draft202012Validator(json.loads((ROOT / f"schemas/{name}.schema.json").read_text())).validate(shown)

    rows = {line[0]: line.split() for line in table.splitlines() if line[:1] in ("+", "-", "~")}
    assert rows["-"][1:5] == ["shop/web", "shop/gone", "requests", "20"]
    assert "never seen before" in table and "edges: 1 came, 1 went; changes on others: 2" in table
    assert "\x1b" not in table + ledger_table + drawn and "<script" not in drawn
    classes = [set(group.get("class", "").split()) for group in ElementTree.fromstring(drawn).iter()]
    for tone, count in (("came", 1), ("went", 1), ("changed", 2), ("same", 0)):
        assert (
            sum({"edge", tone} <= found for found in classes)
            - sum({"edge", "label", tone} <= found for found in classes)
            == count
        ), tone

    assert [(each["operation"], each["principal"], each["first_seen"]) for each in entries["entries"]] == [
        ("GET /", PRINCIPAL, "2026-03-02T10:00:30Z"),
        ("GET /new", PRINCIPAL, "2026-03-02T11:00:30Z"),
    ]
    assert ledger_table.startswith("first seen") and ledger_table.endswith("4 edges, 5 entries\n")

    for (code, out, err), (_, says) in zip(answers[6:], REFUSED, strict=True):
        assert (code, out) == (2, "")
        assert says in err and err.count("\n") == 1
