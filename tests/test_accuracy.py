"""The table of docs/accuracy.md: its rows, and that the map of whole telemetry is exact."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from benchmarks.map_accuracy import TELEMETRY, Outcome, run, scenarios, table
from storage.engine import Engine

PAGE = Path(__file__).parent.parent / "docs" / "accuracy.md"
SHORT, SMALL = timedelta(minutes=2), 0.15


def test_nothing_befell_and_nothing_is_wrong(engine: Engine) -> None:
    found = run(engine, scenarios()[0], SHORT, SMALL)
    assert found == Outcome(1.0, 1.0, 0.0, 0.0, [], [])


def test_a_message_that_is_sent_twice_counts_twice(engine: Engine) -> None:
    often = next(each for each in scenarios() if each.telemetry == "logs" and "5% of its messages twice" in each.what)
    found = run(engine, often, SHORT, SMALL)
    assert (found.edge_precision, found.unexpected) == (1.0, [])
    assert 0.0 < found.found_error < 0.2


def test_the_page_has_every_row() -> None:
    assert scenarios()[0].telemetry == "all"
    assert {scenario.telemetry for scenario in scenarios()} == set(TELEMETRY)
    made = list(table((scenario, Outcome(1.0, 0.5, 0.25, 0.125, [], [])) for scenario in scenarios()))
    assert made[2] == "| all | nothing | 1.000 | 0.500 | 25.00% | 12.50% |"
    assert {line.count("|") for line in made} == {made[0].count("|")}
    of_the_map, _, _ = PAGE.read_text().partition("\n## ")
    lines = [line for line in of_the_map.splitlines() if line.startswith("|")]
    assert [line.split("|")[:3] for line in lines] == [line.split("|")[:3] for line in made]
