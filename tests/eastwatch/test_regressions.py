"""A mesh in which something becomes slower, bytes in: one regression out, with its edge, begin and cause."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from xml.etree import ElementTree

import pytest

from analyzers.findings.store import findings
from analyzers.latency.analysis import analyze_latency
from analyzers.latency.limits import LIMITS
from analyzers.latency.read_picture import read_picture
from analyzers.latency.regression import Regression
from analyzers.latency.render.plot_svg import to_plot_svg
from analyzers.latency.render.table import print_explained, print_regression, print_regressions
from analyzers.latency.run import run_latency
from analyzers.latency.store import most_tested, regressions
from analyzers.latency.stored_rollups import StoredRollups
from collector.clock import SystemClock
from eastwatch.cli import run as eastwatch_run
from eastwatch.demo import run
from eastwatch.regression_job import look_latency
from eastwatch.settings import load_settings
from eastwatch.world import START, World
from eastwatch.world.model import Topology, Version
from eastwatch.world.shop import CATALOG, REVIEWS, SHOP, WEB
from eastwatch.world.slowdown import Slowdown
from eastwatch.world.world import ACCESS_LOGS
from storage.embedded import EmbeddedEngine
from storage.engine import Engine
from storage.sql import load
from tests.conftest import empty

CALM, AFTER = timedelta(minutes=26), timedelta(minutes=13)
BEGIN = START + CALM
NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
TOPOLOGY = replace(SHOP, journeys=tuple(one for one in SHOP.journeys if one.name == "product"))


def fill(engine: Engine, slow: Slowdown, topology: Topology = TOPOLOGY) -> Engine:
    empty(engine)
    world = World(7, START, CALM + AFTER, 2.0, topology=topology, incidents=(slow,))
    messages = (message for message in world.messages() if message.topic == ACCESS_LOGS)
    run(engine, world, messages, load_settings(), SystemClock())
    return engine


@pytest.fixture(scope="module")
def slower(shared_store: EmbeddedEngine) -> Engine:
    """Reading a product takes twice as long."""
    engine = fill(shared_store, Slowdown(BEGIN, "step", f"{CATALOG}:get", 2.0))
    run_latency(engine, None, None, NOW)
    return engine


def root_of(found: Sequence[Regression]) -> Regression:
    (root,) = [one for one in found if one.verdict == "regression" and one.explained_by is None]
    return root


def test_one_regression_with_its_edge_begin_and_cause(slower: Engine) -> None:
    told = regressions(slower)
    root = root_of(told)
    assert root.place == (WEB, CATALOG, "GET /products/{id}", "latency")
    assert abs(root.since - BEGIN) <= timedelta(minutes=2)
    assert root.told_at - BEGIN <= timedelta(minutes=10)
    assert [(one.kind, one.service) for one in root.causes] == [("self", CATALOG)]
    assert root.reporters == ("destination", "source")
    # The caller waits for the way as well.
    assert 1.4 <= root.ratio_low <= root.ratio <= root.ratio_high <= 2.1
    assert root.slow_ids and not set(root.slow_ids) & set(root.typical_ids)
    assert sorted(one.id for one in told if one.explained_by == root.id) == sorted(root.explains)
    tested, survivors = most_tested(slower, None, None)
    assert tested >= survivors["screen"] >= survivors["discovery"] >= 1


def test_only_the_cause_is_a_finding(slower: Engine) -> None:
    (one,) = findings(slower, kinds=["latency_regression"])
    assert one.subject.destination == CATALOG and one.id == root_of(regressions(slower)).id
    assert one.details["cause"] == "self" and one.evidence.trace_ids
    times = {name: datetime.fromisoformat(f"{one.evidence.parameters[name]}+00:00") for name in ("since", "until")}
    rows = slower.query(one.evidence.sql, {**one.evidence.parameters, **times}).to_pylist()
    assert len(rows) >= 35
    early, late = [row["p50_ms"] for row in rows[:20]], [row["p50_ms"] for row in rows[-8:]]
    assert sum(late) / len(late) > 1.4 * sum(early) / len(early)


def test_looking_again_makes_no_second_one(slower: Engine) -> None:
    before = {one.id: one for one in regressions(slower)}
    run_latency(slower, BEGIN - timedelta(minutes=5), BEGIN + timedelta(minutes=9), NOW)
    kept = run_latency(slower, None, None, NOW + timedelta(minutes=1))
    after = {one.id: one for one in regressions(slower)}
    assert kept.new == frozenset()
    assert after.keys() == before.keys()
    assert [one.ratio for one in after.values()] == pytest.approx([one.ratio for one in before.values()])


def test_a_process_that_runs_on_tells_it_within_ten_minutes(slower: Engine) -> None:
    for table in ("regressions", "findings"):
        slower.execute(f"TRUNCATE TABLE {table}")
    last, told = None, []
    for minute in range(13):
        found = look_latency(slower, last, BEGIN + timedelta(minutes=minute, seconds=20), LIMITS)
        last = found.until
        told += [minute] if found.new else []
    assert len(told) == 1 and 5 <= told[0] <= 11
    assert root_of(regressions(slower)).causes[0].service == CATALOG
    run_latency(slower, None, None, NOW)


def test_a_window_judges_what_began_in_it(slower: Engine) -> None:
    before = analyze_latency(slower, None, BEGIN - timedelta(minutes=1))
    assert list(before.regressions) == [] and before.tested > 5 and before.note is None
    early = analyze_latency(slower, None, START + timedelta(minutes=8))
    assert early.note is not None and early.note.startswith("not enough data: ")


def test_series_have_the_base_edges_of_the_rollups(slower: Engine) -> None:
    known = slower.query("SELECT DISTINCT edge_id, base_edge_id FROM edges_1m").to_pylist()
    rows = slower.query(load("latency/edge_series").text, {"row_limit": 100_000}).to_pylist()
    told = {row["edge_id"]: row["base_edge_id"] for row in rows}
    both = [row for row in known if row["edge_id"] in told]
    assert both and all(told[row["edge_id"]] == row["base_edge_id"] for row in both)
    assert (WEB, CATALOG) in {(one.source, one.destination) for one in StoredRollups(slower).keys.series}


def test_it_is_listed_shown_explained_and_drawn(slower: Engine, capsys: pytest.CaptureFixture[str]) -> None:
    found = regressions(slower)
    root = root_of(found)
    tested, survivors = most_tested(slower, None, None)

    def printed(told: None) -> str:
        del told
        return capsys.readouterr().out

    listed = printed(print_regressions(found, tested))
    assert all(word in listed for word in ("shop/web -> shop/catalog", "p50", "self shop/catalog 100%", "tests;"))
    shown = printed(print_regression(root))
    assert all(word in shown for word in ("likely cause", "is in shop/catalog itself", "slow requests"))
    explained = printed(print_explained(root, tested, survivors))
    assert all(word in explained for word in ("lasting", "discovery", "went on: calls"))
    text = " ".join(ElementTree.fromstring(to_plot_svg(read_picture(slower, root))).itertext())
    assert "shop/catalog" in text and f"since {root.since:%H:%M} UTC" in text


def test_the_way_is_blamed_where_only_the_caller_waits(engine: Engine) -> None:
    fill(engine, Slowdown(BEGIN, "network", f"{CATALOG}:get", 6.0, caller=WEB))
    root = root_of(analyze_latency(engine).regressions)
    assert (root.source, root.destination, root.reporters) == (WEB, CATALOG, ["source"])
    assert (root.causes[0].kind, root.causes[0].service) == ("network", CATALOG)


def test_a_version_that_came_and_is_slower_is_a_deploy(engine: Engine) -> None:
    services = tuple(
        replace(one, versions=(*one.versions, Version("v3", 0.5, 1))) if one.id == REVIEWS else one
        for one in TOPOLOGY.services
    )
    slow = Slowdown(BEGIN, "version", f"{REVIEWS}:list", 4.0, version="v3")
    fill(engine, slow, replace(TOPOLOGY, services=services))
    # Before the change nobody had heard of v3: its minutes are taken away.
    engine.execute(
        f"ALTER TABLE edges_1m DELETE WHERE minute < toDateTime('{BEGIN:%Y-%m-%d %H:%M:%S}', 'UTC') AND edge_id IN "
        "(SELECT edge_id FROM edge_keys WHERE destination_version = 'v3') SETTINGS mutations_sync = 1"
    )
    root = root_of(analyze_latency(engine).regressions)
    assert (root.causes[0].kind, root.causes[0].service) == ("deploy", REVIEWS)
    assert "version v3 came" in root.causes[0].why


@pytest.mark.parametrize(
    ("text", "code", "says"),
    [
        ("timestamp,value\n", 0, "not enough data: has 0 points, needs 20"),
        ("when\n1\n", 2, "expected a header `timestamp,value`"),
        ("", 2, "empty, expected a header"),
    ],
)
def test_a_series_that_is_none(
    text: str, code: int, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "x.csv").write_text(text)
    assert eastwatch_run(["regressions", "--csv", str(tmp_path / "x.csv"), "--json"]) == code
    out, err = capsys.readouterr()
    assert says in err
    if code == 0:
        assert json.loads(out) == {"change_points": [], "anomalies": []}


def test_a_file_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert eastwatch_run(["regressions", "--csv", "/nowhere/x.csv"]) == 2
    assert "expected a file that can be read" in capsys.readouterr().err
    assert eastwatch_run(["regressions", "--csv", "x", "--since", "-1h"]) == 2
