"""`eastwatch incidents` as its users run it: list, show, close, whatever names strangers gave themselves."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from analyzers.incidents.model import STATES
from eastwatch.cli import run
from eastwatch.cli.incidents import State
from tests.support.cli import Ended, eastwatch_each

ROOT = Path(__file__).parent.parent.parent
HOSTILE = "\x1b[31mred\u202e</script>\n$(reboot)"

FILL = """
import sys
from datetime import timedelta
from analyzers.findings.store import keep
from analyzers.incidents.store import keep_incidents
from storage.connect import open_store
from storage.migrate import migrate
from tests.analyzers.incidents.found import finding, slow
from tests.analyzers.records import T0
engine = open_store(sys.argv[1], memory_bytes=1 << 30)
migrate(engine)
name = sys.argv[2]
now = T0 + timedelta(days=1)
keep(engine, [
    finding("f1", name, "shop/orders", principal=name, severity="critical", techniques=("T1046",)),
    finding("f2", name, "shop/stock", at=9, principal=name),
    slow("f3", "shop/web", "shop/cart", at=90),
], now, settled=True)
keep_incidents(engine, now)
engine.close()
"""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Two incidents: f1 and f2 of one caller, and f3."""
    place = f"chdb:{tmp_path_factory.mktemp('incidents') / 'data'}"
    subprocess.run([sys.executable, "-c", FILL, place, HOSTILE], cwd=ROOT, check=True, timeout=100)
    return place


def each(store: str, *commands: Sequence[str]) -> list[Ended]:
    return eastwatch_each(*(["incidents", *arguments, "--store", store] for arguments in commands))


def ids(ended: Ended) -> list[str]:
    assert ended.code == 0, ended.stderr
    return [one["id"] for one in json.loads(ended.stdout)["incidents"]]


def test_from_the_list_to_the_end(store: str) -> None:
    listed, same, table, shown, document, early, late, nobody, wrong, gone = each(
        store,
        ["--json"],
        ["list", "--json"],
        [],
        ["show", "f1"],
        ["show", "f1", "--json"],
        ["--until", "2026-01-01T11:00Z", "--json"],
        ["--since", "2026-01-01T11:00Z", "--json"],
        ["--state", "closed", "--json"],
        ["show", "f2"],
        ["close", HOSTILE],
    )
    assert ids(listed) == ids(same) == ["f3", "f1"]
    assert (ids(early), ids(late), ids(nobody)) == (["f1"], ["f3"], [])
    one: dict[str, Any] = json.loads(document.stdout)["incidents"][0]
    assert one["findings"] == ["f1", "f2"] and one["principals"] == [HOSTILE] and one["techniques"] == ["T1046"]
    assert one["path"] == [HOSTILE, "shop/orders", "shop/stock"] and one["severity"] == "critical"
    assert (one["state"], one["note"], one["merged_into"], one["closed_at"]) == ("open", None, None, None)
    assert (one["started"], one["updated"]) == ("2026-01-01T10:00:00Z", "2026-01-01T10:14:00Z")

    lines = table.stdout.splitlines()
    assert [line.split()[:3] for line in lines[1:3]] == [["f3", "open", "medium"], ["f1", "open", "critical"]]
    assert lines[-1].startswith("2 incidents; `eastwatch incidents show ID`")
    assert [line.split()[0] for line in shown.stdout.splitlines()[-2:]] == ["f1", "f2"]
    for text in (table.stdout, shown.stdout):
        assert "\\x1b[31mred\\u202e" in text and not {"\x1b", "\u202e"} & set(text)
    for ended in (wrong, gone):
        assert ended.code == 2 and len(ended.stderr.splitlines()) == 1 and not ended.stdout
        assert "no such incident, expected an id" in ended.stderr and "\x1b" not in ended.stderr

    closed, again, open_, shown, document = each(
        store,
        ["close", "f1", "--note", HOSTILE],
        ["close", "f1"],
        ["--state", "open", "--state", "acknowledged", "--json"],
        ["show", "f1"],
        ["--state", "closed", "--json"],
    )
    assert closed.code == again.code == 0 and closed.stdout == again.stdout
    assert closed.stdout.startswith("incident f1: closed at 20") and len(closed.stdout.splitlines()) == 1
    assert ids(open_) == ["f3"]
    one = json.loads(document.stdout)["incidents"][0]
    assert (one["id"], one["state"], one["note"]) == ("f1", "closed", HOSTILE) and one["closed_at"]
    assert "note" in shown.stdout and "\\x1b[31mred" in shown.stdout and "\x1b" not in shown.stdout


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--state", "gone"], "gone"),
        (["--since", "now", "--until", "-1h"], "is not after"),
        (["show"], "ID"),
        (["--store", "chdb:/nowhere/at/all"], "no store there"),
        (["close", "x", "--store", "chdb:/nowhere/at/all"], "no store there"),
    ],
)
def test_bad_input_is_one_line(arguments: list[str], told: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["incidents", *arguments]) == 2
    out, err = capfd.readouterr()
    assert not out and told in err and len(err.splitlines()) == 1


def test_every_state_can_be_asked_for() -> None:
    assert [one.value for one in State] == list(STATES)
