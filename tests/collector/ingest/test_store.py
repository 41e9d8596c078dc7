"""What the last link remembers of the edge ids that it announced."""

from __future__ import annotations

from datetime import date, timedelta

import pyarrow as pa
import pytest

from collector.ingest import store
from collector.ingest.store import Announced
from storage.tables import EDGE_KEYS

DAY = date(2026, 5, 1)


def keys(*ids: int) -> pa.RecordBatch:
    """Rows of `edge_keys`, as far as it matters here."""
    return pa.record_batch({EDGE_KEYS.names[0]: pa.array(ids, pa.uint64()), "operation": [f"/{one}" for one in ids]})


def missing(announced: Announced, ids: range, day: date = DAY) -> list[int]:
    return announced.missing(keys(*ids), day).column(0).to_pylist()


def test_each_id_is_announced_once_a_day() -> None:
    announced = Announced()
    assert missing(announced, range(3)) == [0, 1, 2]
    announced.add(keys(0, 1, 1), DAY)
    assert missing(announced, range(3)) == [2]
    assert missing(announced, range(2)) == []
    assert missing(announced, range(3), DAY + timedelta(days=1)) == [0, 1, 2]
    announced.add(keys(2), DAY + timedelta(days=1))
    assert missing(announced, range(3), DAY + timedelta(days=1)) == [0, 1]


def test_names_without_an_end_take_no_memory_without_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sender that varies its names makes new ids all the time; the forgotten ones are announced again."""
    monkeypatch.setattr(store, "MOST_ANNOUNCED", 1000)
    announced, most = Announced(), 0
    for first in range(0, 10_000, 70):
        fresh = announced.missing(keys(*range(first, first + 70)), DAY)
        assert fresh.num_rows == 70
        announced.add(fresh, DAY)
        assert missing(announced, range(first, first + 70)) == []
        most = max(most, 10_000 - len(missing(announced, range(10_000))))
    assert 1000 <= most < 1000 + 70
    assert missing(announced, range(70)) == list(range(70))
