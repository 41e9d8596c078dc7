"""The plot of a regression: how it looks (snapshot), what its lines and axes say, and that no text can break it."""

from __future__ import annotations

import os
import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analyzers.dependencies.histograms import bucket_of
from analyzers.latency.picture import Picture
from analyzers.latency.render.plot_axes import duration_text
from analyzers.latency.render.plot_series import runs
from analyzers.latency.render.plot_svg import HEIGHT, WIDTH, to_plot_svg
from analyzers.latency.stack import Stack, empty, scattered

SNAPSHOT = Path(__file__).parent.parent / "snapshots" / "regression.svg"
SVG = "{http://www.w3.org/2000/svg}"
START = int(datetime(2026, 11, 24, 13, 0, tzinfo=UTC).timestamp())


def stack_of(durations_us: Any) -> Stack:
    buckets = bucket_of(np.asarray(durations_us, np.uint64))
    return scattered(np.zeros(len(buckets)), buckets, np.ones(len(buckets)), 1)


def picture(minutes: int = 60, cut: int = 30, factor: float = 2.0, gaps: tuple[int, ...] = (), **more: Any) -> Picture:
    """Durations without chance: a smooth wave around 10 ms, `factor` times as long from minute `cut` on."""
    index = np.array([minute for minute in range(minutes) if minute not in gaps], np.int64)
    p50 = 10_000 * (1 + 0.1 * np.sin(index / 4)) * np.where(index >= cut, factor, 1.0)
    plain = 10_000 * np.exp(np.linspace(-1.2, 1.2, 400))
    facts: dict[str, Any] = {
        "source": "shop/frontend",
        "destination": "shop/checkout",
        "operation": "POST /api/checkout",
        "reporter": "source",
        "since": datetime.fromtimestamp(START + 60 * cut, UTC),
        "minutes": START + 60 * index,
        "calls": 50.0 + index % 7,
        "p50_us": p50,
        "p95_us": p50 * 2.4,
        "p99_us": p50 * 3.1,
        "error_share": np.where(index >= cut, 0.08, 0.0),
        "before": stack_of(plain),
        "after": stack_of(plain * factor),
        "ratio": factor,
        "ratio_low": factor * 0.9,
        "ratio_high": factor * 1.1,
        "cause": "shop/checkout itself is slower: 91 % of the slow-down is its own time",
    }
    return Picture(**{**facts, **more})


def nothing() -> Picture:
    none = np.zeros(0)
    series = dict.fromkeys(("calls", "p50_us", "p95_us", "p99_us", "error_share"), none)
    return replace(picture(2), minutes=np.zeros(0, np.int64), before=empty(1), after=empty(1), **series)


def texts(svg: str) -> list[str]:
    return ["".join(each.itertext()) for each in ET.fromstring(svg).iter(f"{SVG}text")]


def paths(svg: str, *classes: str) -> list[str]:
    found = ET.fromstring(svg).iter(f"{SVG}path")
    return [each.get("d", "") for each in found if set(classes) <= set(each.get("class", "").split())]


def points(path: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in re.findall(r"[ML](-?[\d.]+) (-?[\d.]+)", path)]


def test_a_regression_looks_as_it_did() -> None:
    """To accept a change: EASTWATCH_UPDATE_SNAPSHOTS=1, and look at the difference."""
    shown = to_plot_svg(picture(gaps=(10, 11)))
    if os.environ.get("EASTWATCH_UPDATE_SNAPSHOTS"):
        SNAPSHOT.write_text(shown)
    assert shown == SNAPSHOT.read_text()


def test_the_heading_says_who_when_how_much_and_why() -> None:
    words = texts(to_plot_svg(picture()))
    assert "shop/frontend → shop/checkout" in words
    assert "POST /api/checkout · seen by source · since 2026-11-24 13:30 UTC" in words
    assert "2.00×" in words
    assert "95 % interval 1.80× to 2.20×" in words
    assert "shop/checkout itself is slower: 91 % of the slow-down is its own time" in words
    medians = [stack.quantiles_us([0.5])[0, 0] for stack in (picture().before, picture().after)]
    before, after = (duration_text(median) for median in medians)
    assert {"since 13:30 UTC", f"before p50 {before}", f"after p50 {after}"} <= set(words)


def test_times_are_utc_wherever_the_change_was_told() -> None:
    there = picture().since.astimezone(timezone(timedelta(hours=5)))
    assert to_plot_svg(picture(since=there)) == to_plot_svg(picture())


def test_lines_turn_from_before_to_after_at_the_change() -> None:
    svg = to_plot_svg(picture())
    (before,), (after,) = paths(svg, "line", "main", "before")[:1], paths(svg, "line", "main", "after")[:1]
    mark = float(re.findall(r"M([\d.]+)", paths(svg, "change")[0])[0])
    assert points(before)[-1] == points(after)[0]
    assert points(before)[-1][0] == pytest.approx(mark, abs=0.11)
    assert max(x for x, _ in points(before)) <= mark + 0.11
    assert min(y for _, y in points(before)) > max(y for _, y in points(after)[1:]), "upward is slower"


@pytest.mark.parametrize("gaps", [(), (5,), (5, 6, 7, 40), (1, 29, 30, 31, 58)])
def test_gaps_are_gaps(gaps: tuple[int, ...]) -> None:
    shown = picture(gaps=gaps)
    svg = to_plot_svg(shown)
    lines = [part for path in paths(svg, "line", "aside") for part in re.findall(r"M[^M]+", path)]
    width = 520 / 60
    for line in lines:
        steps = np.diff([x for x, _ in points(line)])
        assert (steps <= width + 0.11).all(), "a line never crosses a minute that is missing"
    drawn = {round((x - 80) / width - 0.5, 1) for line in lines for x, _ in points(line)}
    assert {float(minute) for minute in range(60)} - drawn == {float(gap) for gap in gaps}
    assert ("gaps: minutes without data" in svg) == bool(gaps)


def test_minutes_that_are_not_known_are_gaps_too() -> None:
    shown = picture()
    p50 = shown.p50_us.copy()
    p50[[3, 4, 50]] = np.nan, np.inf, np.nan
    known = np.isfinite(p50)
    found = [(first, end) for _, first, end, _ in runs(shown, known)]
    assert found == [(0, 3), (5, 30), (30, 50), (51, 60)]
    svg = to_plot_svg(replace(shown, p50_us=p50))
    assert "nan" not in svg
    assert "inf" not in svg


@given(st.sets(st.integers(0, 40), min_size=1), st.sets(st.integers(0, 40)), st.integers(0, 41))
def test_runs_hold_each_known_minute_once_and_nothing_else(has: set[int], lost: set[int], cut: int) -> None:
    gaps = tuple(set(range(41)) - has)
    shown = picture(41, cut, gaps=gaps)
    known = np.array([minute not in lost for minute in sorted(has)])
    covered: list[int] = []
    for side, first, end, joined in runs(shown, known):
        minutes = ((shown.minutes[first:end] - START) // 60).tolist()
        assert minutes == list(range(minutes[0], minutes[0] + len(minutes)))
        assert {minute >= cut for minute in minutes} == {side == "after"}
        assert joined == (minutes[0] == cut and cut - 1 in has - lost)
        covered += minutes
    assert covered == sorted(has - lost)


def test_a_minute_between_gaps_is_a_dot() -> None:
    svg = to_plot_svg(picture(gaps=(10, 12)))
    (dots,) = paths(svg, "main", "lone", "before")
    assert len(points(dots)) == 1
    assert dots.endswith("h0")


def test_an_ended_change_leaves_the_level_before() -> None:
    shown = picture(60, 20, ended=datetime.fromtimestamp(START + 60 * 40, UTC))
    assert np.flatnonzero(shown.is_after).tolist() == list(range(20, 40))
    svg = to_plot_svg(shown)
    assert {"since 13:20 UTC", "until 13:40 UTC"} <= set(texts(svg))
    x, end = re.findall(r"M([\d.]+) [\d.]+H([\d.]+)", paths(svg, "level", "after")[0])[0]
    assert (float(x), float(end)) == (pytest.approx(80 + 520 / 3, abs=0.1), pytest.approx(80 + 520 * 2 / 3, abs=0.1))


def test_short_episodes_keep_their_times_apart() -> None:
    for cut in (0, 5, 700, 1436):
        shown = picture(1440, cut, ended=datetime.fromtimestamp(START + 60 * (cut + 3), UTC))
        pills = [each for each in ET.fromstring(to_plot_svg(shown)).iter(f"{SVG}rect") if each.get("class") == "pill"]
        (one, other) = (float(each.get("x", "0")) for each in pills)
        assert other - one >= 94
        assert one >= 80
        assert other + 94 <= 600


def test_the_quantile_that_grew_stands_in_front() -> None:
    svg = to_plot_svg(picture(shape="p99"))
    words = texts(svg)
    assert "p99 latency" in words
    assert any(line.startswith("after p99 ") for line in words)
    main = points(paths(svg, "line", "main", "before")[0])
    aside = points(paths(svg, "line", "aside", "before")[-1])
    assert main[0][1] < aside[0][1]


def test_errors_show_shares_and_their_levels() -> None:
    svg = to_plot_svg(picture(what="errors", shape="errors", ratio=np.inf, ratio_low=8.0, ratio_high=np.inf))
    words = texts(svg)
    assert {"Failed calls by minute", "failed calls", "before failed 0%", "after failed 8.0%", "∞×"} <= set(words)
    assert "p95" in words, "of the percentiles"
    assert "5%" in words or "4%" in words
    assert "inf" not in svg.replace("info", "")


def test_levels_of_errors_weigh_minutes_by_their_calls() -> None:
    shown = picture(
        4, 2, calls=np.array([10.0, 90.0, 0.0, 50.0]), error_share=np.array([0.5, 0.0, np.nan, 0.2]), what="errors"
    )
    assert shown.failed_share(after=False) == pytest.approx(0.05)
    assert shown.failed_share(after=True) == pytest.approx(0.2)
    assert picture(4, 9).failed_share(after=True) is None


@pytest.mark.parametrize("what", ["latency", "errors"])
def test_too_little_is_said_not_drawn(what: Any) -> None:
    kind = "calls" if what == "errors" else "timed calls"
    words = texts(to_plot_svg(replace(nothing(), what=what, ratio=np.nan, ratio_low=np.nan, ratio_high=np.nan)))
    assert f"not enough data: has 0 minutes with {kind}, needs 2" in words
    assert "not enough data: has 0 timed calls, needs 1" in words
    assert "95 % interval not known" in words
    one = to_plot_svg(picture(1, 0, what=what))
    assert f"not enough data: has 1 minute with {kind}, needs 2" in texts(one)
    assert not paths(one, "line", "aside")


@pytest.mark.parametrize("minutes", [2, 3, 10, 61, 360, 361, 1440])
@pytest.mark.parametrize("what", ["latency", "errors"])
def test_any_length_stays_inside_the_drawing(minutes: int, what: Any) -> None:
    svg = to_plot_svg(picture(minutes, minutes // 2, what=what))
    for path in paths(svg):
        for x, y in points(path):
            assert 0 <= x <= WIDTH
            assert 0 <= y <= HEIGHT
    for each in ET.fromstring(svg).iter(f"{SVG}text"):
        assert 0 <= float(each.get("x", "-1")) <= WIDTH
        assert 0 <= float(each.get("y", "-1")) <= HEIGHT
    assert len(svg) < 400_000


def skeleton(svg: str) -> str:
    """The drawing without its text, without the size of the heading and without the lines of the cause."""
    bare = re.sub(r">[^<]*<", "><", svg.replace("\n", ""))
    return re.sub(r'style="font-size:\d+px"|<text class="cause"[^>]*></text>', "", bare)


HOSTILE = st.text(max_size=300) | st.sampled_from(
    [
        "</text><script>alert(1)</script>",
        "]]>",
        "\x00\x1b[31m",
        "\u202eevil",
        "\ud800",
        "&#x0;",
        '" onload="x',
        "%s{}",
        "",
    ]
)


@settings(max_examples=60, deadline=None)
@given(st.lists(HOSTILE, min_size=5, max_size=5))
def test_svg_holds_names_as_text_only(names: list[str]) -> None:
    source, destination, operation, reporter, cause = names
    svg = to_plot_svg(
        picture(5, 2, source=source, destination=destination, operation=operation, reporter=reporter, cause="x" + cause)
    )
    ET.fromstring(svg.encode())
    assert 1 <= svg.count('class="cause"') <= 2
    assert skeleton(svg) == skeleton(to_plot_svg(picture(5, 2)))


@pytest.mark.parametrize("forbidden", ["<script", "href", "url(", "@import", "onload"])
def test_nothing_is_fetched_and_nothing_runs(forbidden: str) -> None:
    assert forbidden not in to_plot_svg(picture())


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.sampled_from([0.0, 1.0, 999.0, 1e6, 3.6e9, 1e11, -5.0, np.nan, np.inf, 1e300, 1e-300]),
        min_size=6,
        max_size=6,
    ),
    st.lists(st.sampled_from([0.0, 0.5, 1.0, np.nan, 2.0, 1e-9]), min_size=6, max_size=6),
    st.sampled_from(["latency", "errors"]),
)
def test_any_numbers_give_a_drawing(durations: list[float], shares: list[float], what: Any) -> None:
    values = np.array(durations)
    svg = to_plot_svg(
        picture(6, 3, p50_us=values, p95_us=values, p99_us=values[::-1], error_share=np.array(shares), what=what)
    )
    for path in paths(svg):
        assert "nan" not in path
        assert "inf" not in path


def test_the_table_says_how_many_times_as_long() -> None:
    words = texts(to_plot_svg(picture(factor=3.0)))
    assert words.count("3.00×") >= 1
    assert {"before", "after", "times", "400"} <= set(words)


# --- pictures


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"calls": np.zeros(3)}, "calls has 3 minutes, expected 60"),
        ({"minutes": np.zeros(60, np.int64)}, "do not ascend"),
        ({"minutes": np.arange(60) * 60 + 1}, "no whole ones"),
        ({"minutes": np.arange(60) * 60 - 60}, "outside of the years"),
        ({"before": empty(2)}, "histogram before has 2 rows"),
        ({"since": datetime(2026, 1, 1)}, "since has no time zone"),
        ({"ended": datetime(2026, 1, 1)}, "ended has no time zone"),
    ],
)
def test_pictures_that_make_no_sense_are_refused(change: dict[str, Any], error: str) -> None:
    with pytest.raises(ValueError, match=error):
        replace(picture(), **change)
