"""`eastwatch compare` on the demo world: two versions of a service, from access logs to the verdict."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from analyzers.latency.versions.read import compare_versions
from collector.clock import SystemClock
from eastwatch.demo import run
from eastwatch.settings import load_settings
from eastwatch.world import START, World
from eastwatch.world.model import Version
from eastwatch.world.shop import REVIEWS, SHOP
from eastwatch.world.slowdown import Slowdown
from eastwatch.world.world import ACCESS_LOGS
from storage.engine import Engine
from tests.support.cli import Ended, eastwatch_each

TOPOLOGY = replace(SHOP, journeys=tuple(one for one in SHOP.journeys if one.name == "product"))
LENGTH = timedelta(minutes=15)


def fill(engine: Engine, factor: float, seed: int = 7, share: float = 0.2) -> None:
    """v2 of the reviews takes `factor` times as long."""
    slow = (Slowdown(START, "version", f"{REVIEWS}:list", factor, version="v2"),)
    services = tuple(
        replace(one, versions=(Version("v1", 1 - share), Version("v2", share, 1))) if one.id == REVIEWS else one
        for one in TOPOLOGY.services
    )
    world = World(seed, START, LENGTH, 2.0, topology=replace(TOPOLOGY, services=services), incidents=slow)
    messages = (message for message in world.messages() if message.topic == ACCESS_LOGS)
    run(engine, world, messages, load_settings(), SystemClock())


def test_a_slower_version_is_slower(engine: Engine) -> None:
    fill(engine, 1.3)
    found = compare_versions(engine, "reviews")
    assert (found.service, found.baseline, found.canary) == (REVIEWS, "v1", "v2")
    overall = found.verdict.overall
    assert overall.latency.verdict == "slower" and overall.errors.verdict != "more errors"
    # It also waits for others, who are as quick as ever.
    assert overall.latency.ratio is not None and 1.1 < overall.latency.ratio.low < overall.latency.ratio.high < 1.35
    assert 0.15 < overall.canary.calls / (overall.canary.calls + overall.baseline.calls) < 0.25
    back = compare_versions(engine, REVIEWS, baseline="v2", canary="v1").verdict.overall
    assert back.latency.verdict == "faster" and back.canary.calls == overall.baseline.calls


def test_versions_that_are_alike_are_the_same(engine: Engine) -> None:
    fill(engine, 1.0, seed=8)
    overall = compare_versions(engine, "reviews").verdict.overall
    assert overall.latency.verdict == "same" and overall.latency.needed is None
    early = compare_versions(engine, "reviews", until=START + timedelta(minutes=1)).verdict.overall.latency
    assert early.verdict == "unsure" and early.needed is not None
    assert early.needed.more_s is not None and 60 < early.needed.more_s < LENGTH.total_seconds()


def line(version: str, second: int, duration_us: int, status: int) -> str:
    return json.dumps(
        {
            "ts": f"2026-03-02T10:{second // 60:02}:{second % 60:02}Z",
            "source_namespace": "shop",
            "source_service": "web",
        }
        | {"destination_namespace": "shop", "destination_service": "stock", "destination_version": version}
        | {"reporter": "destination", "method": "GET", "path": "/stock", "status": status, "duration_us": duration_us}
    )


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Ended]:
    place: Path = tmp_path_factory.mktemp("compare")
    lines = [line("v1", second, 10_000 + 100 * (second % 37), 200) for second in range(900)]
    lines += [
        line("v2", second, 20_000 + 100 * (second % 37), 503 if second % 3 else 200) for second in range(0, 900, 4)
    ]
    lines += [line("v3", second, 10_000, 200) for second in range(20)]
    (place / "calls.jsonl").write_text("\n".join(lines) + "\n")
    both = ("compare", "stock", "--baseline", "v1", "--canary", "v2")
    commands = {
        "ingest": ("ingest", f"file:{place / 'calls.jsonl'}?format=calls_json", "--until-idle"),
        "told": both,
        "json": (*both, "--json"),
        "guarded": (*both, "--fail-on", "any"),
        "guarded for errors": (*both, "--fail-on", "errors", "--json"),
        "faster": ("compare", "stock", "--baseline", "v2", "--canary", "v1", "--fail-on", "any"),
        "wide": (*both, "--margin", "100", "--fail-on", "slower"),
        "few": ("compare", "stock", "--baseline", "v1", "--canary", "v3", "--fail-on", "any"),
        "three": ("compare", "stock"),
        "unknown version": ("compare", "stock", "--canary", "v9"),
        "unknown service": ("compare", "shop/stocks"),
        "margin": (*both, "--margin", "0"),
    }
    store = ("--store", f"chdb:{place / 'store'}")
    return dict(zip(commands, eastwatch_each(*((*one, *store) for one in commands.values())), strict=True))


def test_the_command_tells_the_verdict(ended: dict[str, Ended]) -> None:
    told = ended["told"]
    assert (told.code, told.stderr) == (0, "")
    assert "shop/stock: v2 (canary) against v1 (baseline)" in told.stdout
    assert "durations: slower: 1.8" in told.stdout and "failures: more errors: +66.67" in told.stdout
    document = json.loads(ended["json"].stdout)
    assert document["overall"]["latency"]["verdict"] == "slower" and document["compared_s"] == 900
    assert document["overall"]["canary"] == document["operations"][0]["canary"]


def test_a_guard_fails_on_what_it_was_told_to(ended: dict[str, Ended]) -> None:
    guarded = ended["guarded"]
    assert guarded.code == 1 and guarded.stdout == ended["told"].stdout
    assert "failed: v2 of shop/stock is slower than v1" in guarded.stderr
    assert "failed: v2 of shop/stock has more errors than v1" in guarded.stderr
    only = ended["guarded for errors"]
    assert only.code == 1 and "slower" not in only.stderr and json.loads(only.stdout)
    assert ended["faster"].code == 0 and "durations: faster" in ended["faster"].stdout
    assert ended["wide"].code == 0 and "which is within 100%" in ended["wide"].stdout


def test_too_little_is_no_verdict(ended: dict[str, Ended]) -> None:
    assert ended["few"].code == 0
    told = "unsure; not enough data: has 20 calls of v3, needs 30: about 1 more minute at 0.33 calls/s of v3"
    assert ended["few"].stdout.count(told) == 2


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("three", "shop/stock has calls of v1 (900 calls), v2 (225 calls), v3 (20 calls): expected --baseline"),
        ("unknown version", "shop/stock has no version 'v9': expected one of v1 (900 calls), v2 (225 calls), v3 (20"),
        ("unknown service", "'shop/stocks': no service that is called, known are shop/stock"),
        ("margin", "--margin"),
    ],
)
def test_bad_input(ended: dict[str, Ended], name: str, says: str) -> None:
    assert ended[name].code == 2 and ended[name].stdout == ""
    assert says in ended[name].stderr and ended[name].stderr.count("\n") == 1
