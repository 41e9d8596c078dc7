"""`eastwatch deadletters` and error lines: nothing that strangers wrote steers a terminal."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest

from collector.deadletters import dead_letters
from eastwatch.cli import deadletters, run
from storage.conform import conform
from storage.engine import Engine
from storage.tables import DEAD_LETTERS

AT = datetime(2026, 1, 1, tzinfo=UTC)
HOSTILE = b"\x00\x1b[2Jgone\x07\x9b31m\xe2\x80\xae\n'\"\\x"


class Kept:
    """The tests' store, which a command must not close."""

    def __init__(self, engine: Engine) -> None:
        self.query = engine.query
        self.insert = engine.insert
        self.execute = engine.execute

    def close(self) -> None:
        """It belongs to the tests."""


@pytest.fixture
def store(engine: Engine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Engine:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(deadletters, "open_for_reading", lambda _settings: Kept(engine))
    return engine


def keep(engine: Engine, *payloads: bytes, source: str = "calls", reason: str = "not recognised") -> None:
    columns = {
        "offset": pa.array(range(len(payloads)), pa.int64()),
        "record": pa.array([0] * len(payloads), pa.uint32()),
        "format": ["auto"] * len(payloads),
        "reason": [reason] * len(payloads),
        "payload": pa.array(payloads, pa.binary()),
        "payload_bytes": pa.array([len(payload) for payload in payloads], pa.uint64()),
    }
    batch = conform(DEAD_LETTERS, pa.RecordBatch.from_pydict(columns), received_at=AT, source=source, partition=0)
    engine.insert(DEAD_LETTERS.name, batch)


def listed(capfd: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert run(["deadletters", "list", *arguments]) == 0
    said = capfd.readouterr()
    assert said.err == ""
    return said.out


def test_an_empty_store(store: Engine, capfd: pytest.CaptureFixture[str]) -> None:
    assert listed(capfd) == "0 dead letters\n"
    assert json.loads(listed(capfd, "--json")) == {"total": 0, "dead_letters": []}


def test_hostile_bytes_stay_in_the_store(store: Engine, capfd: pytest.CaptureFixture[str]) -> None:
    keep(store, HOSTILE, source="a\x1b[31m.log", reason="it is \x9b31m\u202e")
    assert [letter.payload for letter in dead_letters(store)] == [HOSTILE]
    for arguments in ((), ("--json",)):
        out = listed(capfd, *arguments)
        assert all(line.isprintable() for line in out.removesuffix("\n").split("\n")), ascii(out)
        assert out.isascii()
    (letter,) = json.loads(listed(capfd, "--json"))["dead_letters"]
    assert letter["source"] == "a\x1b[31m.log"
    assert letter["payload"] == HOSTILE.decode("utf-8", "backslashreplace")


def test_the_limit_says_what_it_leaves_out(store: Engine, capfd: pytest.CaptureFixture[str]) -> None:
    keep(store, b"first", b"second", b"x" * 101)
    out = listed(capfd, "--limit", "2")
    assert out.splitlines()[0] == "2026-01-01T00:00:00Z  calls[0]@0  auto: not recognised"
    assert out.splitlines()[-1] == "3 dead letters, 1 older ones not shown (--limit)"
    assert listed(capfd).splitlines()[-2] == "    " + "x" * 100 + "..."
    found = json.loads(listed(capfd, "--limit", "1", "--json"))
    assert (found["total"], [one["payload"] for one in found["dead_letters"]]) == (3, ["first"])
    assert json.loads(listed(capfd, "--source", "others", "--json"))["total"] == 0
    assert json.loads(listed(capfd, "--since", "2026-01-02T00:00:00Z", "--json"))["total"] == 0


CALL = b'{"ts":"2026-03-02T10:00:00Z","source_service":"web","destination_service":"cart"}'


def test_what_is_replayed_is_told_and_no_terminal_steered(store: Engine, capfd: pytest.CaptureFixture[str]) -> None:
    keep(store, CALL, HOSTILE, source="a\x1b[31m.log")
    assert run(["deadletters", "replay", "--format", "calls_json"]) == 0
    out = capfd.readouterr().out
    assert out.isascii() and all(line.isprintable() for line in out.removesuffix("\n").split("\n"))
    assert out.startswith("stays  a\\x1b[31m.log[0]@1  ")
    said = "2 dead letters tried: 1 replayed, 1 still undecodable, 0 refused; stored 1 calls"
    assert out.splitlines()[-1] == said
    assert run(["deadletters", "replay", "--json"]) == 0
    found = json.loads(capfd.readouterr().out)
    assert (found["tried"], found["replayed"], found["failed"], found["rows"]) == (1, 0, 1, {})
    assert json.loads(listed(capfd, "--json"))["total"] == 1


def test_a_format_that_does_not_exist(store: Engine, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["deadletters", "replay", "--format", "x"]) == 2
    assert "--format x: expected one of auto, " in capfd.readouterr().err


def test_an_error_line_steers_no_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["inventory", "load", "none\x1b[2J\u202e\udcff.yaml"]) == 2
    said = capfd.readouterr().err
    assert "none\\x1b[2J\\u202e\\udcff.yaml" in said
    assert said.removesuffix("\n").isprintable()
