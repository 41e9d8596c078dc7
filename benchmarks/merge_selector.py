"""How often a row is merged, by the settings of ClickHouse's merge selector: `python -m benchmarks.merge_selector`.

Parts of one size come in one after the other, and whatever the selector would pick is merged at once. The rule is that
of ClickHouse 26 (`SimpleMergeSelector.cpp`): of all runs of parts that it allows it takes the one with the least bytes
a part. A run is allowed when its bytes are at least `base` times those of its largest part, each with 5 MB on top;
the base falls to 2 with the age of the parts and between 10 and 50 of them. Heuristics that end large merges early
and forget small parts at the right are left out.

Prints a Markdown table. It is a model: what merging costs is measured by `benchmarks.merges` and `benchmarks.steady`.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass

MB = float(1 << 20)
FIXED = 5 * MB
MOST_AT_ONCE = 100
LEAST_BASE = 2.0
PARTS_LOWER_BASE = (10, 50)
SIZE_LOWERS_BASE = (1 * MB, 100 * 1024 * MB)
LEAST_AGE_S, MOST_AGE_S = 10.0, (3600.0, 30 * 86400.0)
"""The base falls between these ages; the latter for the smallest and for the largest runs."""

FLOWS = {"30,000 spans/s, 3 MB a part": (3 * MB, 1.0), "13,000 lines/s, 3.7 MB a part": (3.7 * MB, 1.9)}
SETTINGS = ((5, 2), (5, 10), (5, 20), (10, 20), (20, 20), (40, 20), (20, 10))


@dataclass(frozen=True, slots=True)
class Part:
    """Its bytes, and when it was made."""

    size: float
    at_s: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """How often a byte was merged on average, and how many parts there were at most."""

    merges: float
    most_parts: int


def _share(value: float, low: float, high: float) -> float:
    return min(1.0, max(0.0, (value - low) / (high - low)))


def allowed(size: float, largest: float, count: int, age_s: float, parts: int, base: float) -> bool:
    """Whether a run of `count` parts may be merged: its bytes, its largest part's, its youngest part's age."""
    large = _share(math.log1p(size), *(math.log1p(end) for end in SIZE_LOWERS_BASE))
    most_age_s = MOST_AGE_S[0] + (MOST_AGE_S[1] - MOST_AGE_S[0]) * large
    old = _share(math.log1p(age_s), math.log1p(LEAST_AGE_S), math.log1p(most_age_s))
    lowered = base + (LEAST_BASE - base) * min(1.0, old + _share(parts, *PARTS_LOWER_BASE))
    return (size + count * FIXED) / (largest + FIXED) >= lowered


def chosen(parts: list[Part], now_s: float, base: float, least: int) -> tuple[int, int] | None:
    """The run that is merged next, as [first, last], or None."""
    best: tuple[float, int, int] | None = None
    for first in range(len(parts)):
        size, largest, age_s = 0.0, 0.0, math.inf
        for last in range(first, min(len(parts), first + MOST_AT_ONCE)):
            size += parts[last].size
            largest = max(largest, parts[last].size)
            age_s = min(age_s, now_s - parts[last].at_s)
            count = last - first + 1
            if count < max(least, 2) or not allowed(size, largest, count, age_s, len(parts), base):
                continue
            score = (size + FIXED * count) / (count - 1.9)
            if best is None or score < best[0]:
                best = score, first, last
    return best and (best[1], best[2])


def simulate(size: float, every_s: float, seconds: float, base: float, least: int) -> Outcome:
    """Parts of `size` bytes every `every_s` seconds, merged at once wherever the selector says so."""
    parts: list[Part] = []
    merged = inserted = now_s = 0.0
    most = 0
    while now_s < seconds:
        now_s += every_s
        inserted += size
        parts.append(Part(size, now_s))
        while run := chosen(parts, now_s, base, least):
            first, last = run
            whole = sum(part.size for part in parts[first : last + 1])
            merged += whole
            parts[first : last + 1] = [Part(whole, now_s)]
        most = max(most, len(parts))
    return Outcome(merged / inserted, most)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--hours", type=float, default=2.0, help="how long parts come in (default: %(default)s)")
    seconds = parser.parse_args().hours * 3600
    print("| parts | merge_selector_base | min_parts_to_merge_at_once | times a row is merged | parts at most |")
    print("|---|---:|---:|---:|---:|")
    for flow, (size, every_s) in FLOWS.items():
        for base, least in SETTINGS:
            outcome = simulate(size, every_s, seconds, base, least)
            print(f"| {flow} | {base} | {least} | {outcome.merges:.2f} | {outcome.most_parts} |")


if __name__ == "__main__":
    main()
