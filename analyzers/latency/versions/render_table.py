"""A comparison of two versions as a table and a few sentences."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Console

from analyzers.columns import aligned, many, write
from analyzers.dependencies.render.text import UNKNOWN, duration, printable, share
from analyzers.latency.versions.outcome import Compared, Errors, Latency, Side, VersionComparison
from analyzers.latency.versions.power import Needed
from analyzers.latency.versions.strata import Estimate

_OPERATION = 44
_VERSION = 24
_DAY_S = 86_400


def print_comparison(found: VersionComparison, console: Console | None = None) -> None:
    """Operations as a table, then the verdict on all of them and what it would take to be sure."""
    write(list(_lines(found)), console)


def _lines(found: VersionComparison) -> Iterator[str]:
    one, two = (printable(version, _VERSION) for version in (found.baseline, found.canary))
    verdict = found.verdict
    yield f"{printable(found.service)}: {two} (canary) against {one} (baseline)"
    yield (
        f"{found.since:%Y-%m-%d %H:%M} to {found.until:%Y-%m-%d %H:%M} UTC; "
        f"both had calls in {span(verdict.seconds)} of it"
    )
    yield ""
    heading = ("operation", *(f"{what} {of}" for what in ("calls", "p50", "p95") for of in (one, two)))
    heading = (*heading, "times", "durations", f"failed {one}", f"failed {two}", "failures")
    rows = [_row(each) for each in verdict.operations]
    if len(rows) > 1:
        rows.append(_row(verdict.overall))
    yield from aligned(heading, rows, [name for name in heading if name not in ("operation", "durations", "failures")])
    yield from ([""] if rows else [])
    yield f"durations: {_latency(verdict.overall.latency, found)}"
    yield f"failures: {_errors(verdict.overall.errors, found)}"
    mix = verdict.mix
    if mix.differs:
        yield (
            f"The versions got other operations: {share(mix.apart)} of {two}'s calls would have to be others. "
            "So they are compared operation by operation, weighed as the baseline's are mixed."
        )
    for version, only in ((one, mix.only_baseline), (two, mix.only_canary)):
        if only:
            yield f"only {version} got: {_listed(only)}"
    if mix.left_out >= 0.005:
        yield f"{share(mix.left_out)} of {one}'s calls are of operations with too few calls for a verdict."


def _row(of: Compared) -> Sequence[str]:
    ratio = of.latency.ratio
    sides = of.baseline, of.canary
    return (
        printable(of.operation or UNKNOWN, _OPERATION) if of.operation is not None else "all, mixed as the baseline",
        *(f"{side.calls:,}" for side in sides),
        *(duration(side.p50_ms) for side in sides),
        *(duration(side.p95_ms) for side in sides),
        UNKNOWN if ratio is None else _interval(ratio),
        of.latency.verdict + (" (p95)" if of.latency.shape == "p95" else ""),
        *(share(_failed(side)) for side in sides),
        of.errors.verdict,
    )


def _failed(side: Side) -> float | None:
    return side.errors / side.calls if side.calls else None


def _interval(of: Estimate) -> str:
    return f"{of.value:.2f} ({of.low:.2f} to {of.high:.2f})"


def _latency(of: Latency, found: VersionComparison) -> str:
    told = of.verdict
    if of.shape == "p95" and of.tail is not None and not of.note:
        told += f": the slowest twentieth of the calls, p95 {_interval(of.tail)} times"
    elif of.ratio is not None:
        told += f": {_interval(of.ratio)} times"
    margins = found.verdict.margins
    if of.verdict == "same":
        told += f", which is within {margins.ratio:.0%}"
    return told + _rest(of.note, of.needed, of.verdict == "unsure", found)


def _errors(of: Errors, found: VersionComparison) -> str:
    told = of.verdict
    if of.difference is not None:
        value, low, high = (100 * each for each in (of.difference.value, of.difference.low, of.difference.high))
        told += f": {value:+.2f} ({low:+.2f} to {high:+.2f}) percentage points"
    if of.verdict == "same":
        told += f", which is within {100 * found.verdict.margins.error_share:g}"
    return told + _rest(of.note, of.needed, of.verdict == "unsure", found)


def _rest(note: str | None, of: Needed | None, unsure: bool, found: VersionComparison) -> str:
    told = f"; {printable(note, 300)}" if note else ""
    if not unsure or of is None:
        return told
    one, two = (printable(version, _VERSION) for version in (found.baseline, found.canary))
    wait = f"about {span(of.more_s, 'more ')}" if of.more_s is not None else ""
    if wait and of.calls_per_s is not None:
        wait += f" at {of.calls_per_s:.2g} calls/s of {two}"
    # The least there must be for any verdict is not what decides.
    if note:
        return f"{told}: {wait}" if wait else told
    overall = found.verdict.overall
    there = f"(there are {overall.baseline.calls:,} and {overall.canary.calls:,})"
    decides = f"{many(of.calls[0], 'call')} of {one} and {of.calls[1]:,} of {two} would decide {there}"
    return f"{told}; {decides}" + (f": {wait}" if wait else "")


def span(seconds: float, more: str = "") -> str:
    """A length of time for people: minutes up to three hours, then hours, then days; `more` stands before the unit."""
    if seconds < 3 * 3600:
        return many(max(round(seconds / 60), 1 if seconds > 0 else 0), f"{more}minute")
    if seconds < 3 * _DAY_S:
        return many(round(seconds / 3600), f"{more}hour")
    return many(round(seconds / _DAY_S), f"{more}day")


def _listed(names: Sequence[str], most: int = 5) -> str:
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(printable(name or UNKNOWN, _OPERATION) for name in names[:most]) + rest
