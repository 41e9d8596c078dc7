"""Canary against baseline, operation by operation and as a whole: verdicts, and what it would take to be sure.

Cells ──► parts.py (strata, ranks, shares) ──► Holm's correction ──► Verdict

"Same" is a finding of its own (equivalence: the interval lies within the margin), not the failure to find a difference.
The published practice is Kayenta's judge (Netflix and Google, 2018): Mann-Whitney on series of a metric. Here the calls
themselves are ranked, within strata of the same operation, caller and time.

Sources: D. Schuirmann (1987) for equivalence; S. Holm (1979) for many tests.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from scipy.special import ndtr, ndtri, stdtrit

from analyzers.latency.comparison import quantile_ratio
from analyzers.latency.versions.outcome import Compared, Errors, Latency, Margins, Verdict
from analyzers.latency.versions.parts import Cells, Part, mix_of, parts_of, whole
from analyzers.latency.versions.power import Needed, errors_factor, latency_factor, needed, needed_at_least
from analyzers.latency.versions.shares import difference_of
from analyzers.latency.versions.strata import Estimate, ratio_of

_TAIL = 0.95


def compare(
    cells: Cells, margins: Margins | None = None, versions: tuple[str, str] = ("baseline", "canary")
) -> Verdict:
    """Judge the canary.

    Args:
        versions: names of (baseline, canary), for notes.
    """
    of = margins or Margins()
    parts = parts_of(cells)
    chosen = [part for part in parts if min(part.calls) >= of.min_operation_calls]
    total = whole(parts, chosen)
    enough = bool(chosen) and min(total.calls) >= of.min_calls
    # Of one operation the whole would be the same test once more.
    tested = [*chosen, *([total] if len(chosen) > 1 else [])] if enough else []
    latencies = dict(zip(tested, _latencies(tested, cells.seconds, of), strict=True))
    failures = dict(zip(tested, _failures(tested, cells.seconds, of), strict=True))
    operations: list[Compared] = []
    for part in parts:
        note, more = _too_few(part, of.min_operation_calls, cells.seconds, versions)
        if note is None and not enough:
            note, more = _too_few(total, of.min_calls, cells.seconds, versions)
        latency = latencies.get(part) or Latency("unsure", needed=more, note=note)
        error = failures.get(part) or Errors("unsure", needed=more, note=note)
        operations.append(Compared(part.operation, part.side(0), part.side(1), latency, error))
    operations.sort(key=lambda one: (-one.baseline.calls - one.canary.calls, one.operation or ""))
    if enough:
        latency = _overall_latency(latencies, chosen, latencies.get(total) or latencies[chosen[0]])
        error = _overall_errors(failures, chosen, failures.get(total) or failures[chosen[0]])
    else:
        note, more = _too_few(total, of.min_calls, cells.seconds, versions)
        if note is None:
            note = f"not enough data: no operation has {of.min_operation_calls} calls of both versions"
        latency, error = Latency("unsure", needed=more, note=note), Errors("unsure", needed=more, note=note)
    overall = Compared(None, total.side(0), total.side(1), latency, error)
    return Verdict(overall, operations, mix_of(parts, chosen), cells.seconds, of)


def _latencies(parts: Sequence[Part], seconds: float, of: Margins) -> Sequence[Latency]:
    typical = [None if part.ranked is None else part.ranked.two_sided_p for part in parts]
    tails = [_tail(part, of) for part in parts]
    adjusted = holm([*typical, *(p for _, p in tails)])
    tests = sum(part.ranked is not None for part in parts) + sum(tail is not None for tail, _ in tails)
    found: list[Latency] = []
    for place, (part, (tail, _)) in enumerate(zip(parts, tails, strict=True)):
        if part.ranked is None:
            note = "not enough data: has no duration of both versions from the same caller, needs some"
            found.append(Latency("unsure", note=note))
            continue
        ratio = ratio_of(part.ranked, of.level)
        same = 1 / (1 + of.ratio) <= ratio.low and ratio.high <= 1 + of.ratio
        p, tail_p = adjusted[place], adjusted[len(parts) + place]
        slow_tail = tail is not None and tail_p < 1 - of.level
        more: Needed | None = None
        shape = None
        if not same and p < 1 - of.level:
            verdict, shape = ("slower" if part.ranked.superiority > 0.5 else "faster"), "typical"
        elif slow_tail:
            verdict, shape, p = "slower", "p95", tail_p
        elif same:
            verdict = "same"
        else:
            verdict = "unsure"
            more = needed(latency_factor(part.ranked, of.ratio, of.level, tests), part.calls, seconds)
        found.append(Latency(verdict, shape, ratio, tail, part.ranked.superiority, p, more))
    return found


def _tail(part: Part, of: Margins) -> tuple[Estimate | None, float | None]:
    """The ratio of the 95th percentiles, and the p-value of "not slower": 1 where nobody would care, None untested."""
    if part.ranked is None or min(side.calls[0] for side in part.sides) < of.min_tail_calls:
        return None, None
    quantile = 0.5 + of.level / 2
    student = float(stdtrit(part.ranked.freedom, quantile) / ndtri(quantile)) ** 2
    found = quantile_ratio(*part.sides, _TAIL, part.ranked.dispersion * student, of.level)
    tail = Estimate(*(float(each[0]) for each in (found.ratio, found.low, found.high)))
    before, after = (float(side.quantiles_us([_TAIL])[0, 0]) / 1000 for side in part.sides)
    if tail.value < max(of.tail_ratio, 1 + of.ratio) or after - before < of.tail_ms:
        return tail, 1.0
    error = np.log(tail.high / tail.low) / 2 / float(ndtri(0.5 + of.level / 2))
    return tail, float(ndtr(-np.log(tail.value) / error)) if error > 0 else 0.0


def _failures(parts: Sequence[Part], seconds: float, of: Margins) -> Sequence[Errors]:
    adjusted = holm([None if part.failing is None else part.failing.two_sided_p for part in parts])
    tests = sum(part.failing is not None for part in parts)
    found: list[Errors] = []
    for part, p in zip(parts, adjusted, strict=True):
        if part.failing is None:
            note = "not enough data: has no calls of both versions from the same caller, needs some"
            found.append(Errors("unsure", note=note))
            continue
        apart = difference_of(part.failing, of.level)
        if -of.error_share <= apart.low and apart.high <= of.error_share:
            found.append(Errors("same", apart, p))
        elif p < 1 - of.level:
            found.append(Errors("more errors" if apart.value > 0 else "fewer errors", apart, p))
        else:
            factor = errors_factor(part.failing, of.error_share, of.level, tests)
            found.append(Errors("unsure", apart, p, needed(factor, part.calls, seconds)))
    return found


def _overall_latency(found: Mapping[Part, Latency], parts: Sequence[Part], all_: Latency) -> Latency:
    """One operation that is slower makes the canary slower; one that is faster does not make up for it."""
    slower = [part.operation or "" for part in parts if found[part].verdict == "slower"]
    if all_.verdict == "slower" or not slower:
        return all_
    note = f"as a whole {all_.verdict}, but slower: {_named(slower)}"
    worst = min((found[part] for part in parts if found[part].verdict == "slower"), key=lambda one: one.p_value or 0.0)
    return Latency("slower", worst.shape, all_.ratio, all_.tail, all_.superiority, worst.p_value, note=note)


def _overall_errors(found: Mapping[Part, Errors], parts: Sequence[Part], all_: Errors) -> Errors:
    more = [part.operation or "" for part in parts if found[part].verdict == "more errors"]
    if all_.verdict == "more errors" or not more:
        return all_
    p = min(found[part].p_value or 0.0 for part in parts if found[part].verdict == "more errors")
    return Errors("more errors", all_.difference, p, note=f"as a whole {all_.verdict}, but more errors: {_named(more)}")


def _named(operations: Sequence[str], most: int = 3) -> str:
    rest = f" and {len(operations) - most} more" if len(operations) > most else ""
    return ", ".join(each or "(no operation)" for each in operations[:most]) + rest


def _too_few(part: Part, least: int, seconds: float, versions: tuple[str, str]) -> tuple[str | None, Needed | None]:
    """What is missing of the side that has fewer calls; nothing where both have `least`."""
    if min(part.calls) >= least:
        return None, None
    side = int(part.calls[1] <= part.calls[0])
    many = part.calls[side]
    note = f"not enough data: has {many} call{'' if many == 1 else 's'} of {versions[side]}, needs {least}"
    return note, needed_at_least(least, part.calls, seconds)


def holm(p_values: Sequence[float | None]) -> list[float]:
    """p-values adjusted for their number: the chance of any wrong one is kept (S. Holm, 1979).

    None stands for what was not tested: 1, and it does not count.
    """
    tested = [place for place, p in enumerate(p_values) if p is not None]
    p = np.array([each for each in p_values if each is not None], np.float64)
    order = np.argsort(p, kind="stable")
    raised = np.minimum(np.maximum.accumulate(p[order] * (len(p) - np.arange(len(p)))), 1.0)
    found = [1.0] * len(p_values)
    for place, value in zip(order.tolist(), raised.tolist(), strict=True):
        found[tested[place]] = value
    return found
