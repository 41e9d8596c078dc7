"""A token without its rows, as a kill leaves it between two steps of the engine, is forgotten when the store opens."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from storage.torn_inserts import TAIL, forget_torn_inserts
from tests.conftest import RunInProcess

_INSERT = """
import sys
import pyarrow as pa
from storage.connect import open_store
engine = open_store(f"chdb:{sys.argv[1]}")
engine.execute("CREATE TABLE IF NOT EXISTS t (n UInt64) ENGINE = MergeTree ORDER BY n "
    "SETTINGS non_replicated_deduplication_window = 100")
for number, token in enumerate(sys.argv[2:]):
    engine.insert("t", pa.record_batch({"n": pa.array(range(10), pa.uint64())}), token=token)
print(engine.query("SELECT count() AS n FROM t")["n"][0].as_py())
engine.close()
"""


def test_a_repeated_insert_counts_where_a_kill_left_a_token_alone(tmp_path: Path, run_in_process: RunInProcess) -> None:
    store = tmp_path / "store"
    assert run_in_process(_INSERT, store, "a", "b").stdout.split() == ["20"]
    (log,) = [path for path in store.glob("store/*/*/deduplication_logs/*.txt") if path.stat().st_size]
    last = log.read_text().splitlines()[-1].split("\t")[1]
    shutil.rmtree(log.parent.parent / last)
    assert run_in_process(_INSERT, store, "a", "b").stdout.split() == ["20"]
    assert run_in_process(_INSERT, store, "a", "b", "c").stdout.split() == ["30"]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A table's directory; its store is `tmp_path`."""
    made = tmp_path / "store" / "0ab" / "0ab-cd"
    (made / "deduplication_logs").mkdir(parents=True)
    return made


def log(table: Path, *lines: str, number: int = 1) -> Path:
    path = table / "deduplication_logs" / f"deduplication_log_{number}.txt"
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


@pytest.mark.parametrize(
    ("part", "there", "kept"),
    [
        ("all_3_3_0", "all_3_3_0", True),
        ("all_3_3_1", "all_1_7_2", True),
        ("20260102_3_3_0", "20260102_1_3_1_9", True),
        ("all_3_3_0", "all_1_2_1", False),
        ("all_3_3_0", "all_4_9_1", False),
        ("20260102_3_3_0", "20260103_1_9_2", False),
        ("all_3_3_0", "tmp_insert_all_3_3_0", False),
        ("all_3_3_0", "delete_tmp_all_3_3_0", False),
        ("of another release", "all_1_1_0", True),
    ],
)
def test_a_token_is_kept_where_its_part_is_there_or_was_merged(
    tmp_path: Path, table: Path, part: str, there: str, kept: bool
) -> None:
    (table / there).mkdir()
    (table / "detached").mkdir()
    path = log(table, f"1\t{part}\tall_17_4")
    assert forget_torn_inserts(tmp_path) == (not kept)
    assert path.read_text() == (f"1\t{part}\tall_17_4\n" if kept else "")
    assert sorted(one.name for one in path.parent.iterdir()) == [path.name]


def test_only_what_was_under_way_is_looked_at(tmp_path: Path, table: Path) -> None:
    """Parts that retention took leave tokens too: those stand further back, and stay."""
    lines = [f"1\tall_{number}_{number}_0\tall_{number}" for number in range(TAIL + 10)]
    dropped = "2\tall_1_1_0\tall_1"
    old, new = log(table, *lines), log(table, *lines, dropped, "1\ttorn", number=2)
    assert forget_torn_inserts(tmp_path) == TAIL - 2
    assert old.read_text().splitlines() == lines
    assert new.read_text().splitlines() == [*lines[:12], dropped, "1\ttorn"]


def test_what_was_dropped_on_purpose_was_not_torn(tmp_path: Path, table: Path) -> None:
    log(table, "1\tall_1_1_0\tall_1", "1\tall_2_2_0\tall_2", "2\tall_1_1_0\tall_1")
    assert forget_torn_inserts(tmp_path) == 1


def test_a_note_that_was_torn_itself(tmp_path: Path, table: Path) -> None:
    (table / "all_1_1_0").mkdir()
    path = log(table, "1\tall_1_1_0\tall_1")
    with path.open("a") as file:
        file.write("1\tall_2_2")
    assert forget_torn_inserts(tmp_path) == 1
    assert path.read_text() == "1\tall_1_1_0\tall_1\n"


def test_a_directory_that_is_no_store_yet(tmp_path: Path) -> None:
    assert forget_torn_inserts(tmp_path) == 0
