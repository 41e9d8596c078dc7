"""What it would take to be sure: calls, and the time in which they come.

An interval decides when it is too narrow to hold both "no difference" and the margin that people care about: whatever
it holds then, the verdict is one of slower, faster and the same. With ranks that is Noether's formula for the margin.

Sources: G. Noether (1987), for the calls of a rank test.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from scipy.special import ndtri

from analyzers.latency.versions.shares import Shares, difference_of
from analyzers.latency.versions.strata import Ranks, superiority_at

FACTOR = 1e6
"""More than so many times the calls that there are is never waited for."""


@dataclass(frozen=True, slots=True)
class Needed:
    """What would decide, at the present spread and share of calls.

    Attributes:
        calls: of (baseline, canary), those there are included.
        more_s: seconds until they are there, at the present rate; None where no rate is known.
        calls_per_s: the canary's present rate; None likewise.
    """

    calls: tuple[int, int]
    more_s: float | None
    calls_per_s: float | None


def noether_calls(superiority: float, canary_share: float, alpha: float, power: float) -> float:
    """Calls of both sides together that a one-sided rank test needs (Noether 1987, equation 3).

    Args:
        superiority: what is to be found (0.5 = no difference).
        canary_share: of all calls, between 0 and 1.
        alpha: of the test, one-sided.
        power: the chance to find it.
    """
    apart = abs(superiority - 0.5)
    spread = 12 * canary_share * (1 - canary_share) * apart**2
    return (float(ndtri(1 - alpha)) + float(ndtri(power))) ** 2 / spread if spread > 0 else math.inf


def latency_factor(of: Ranks, margin: float, level: float, tests: int = 1) -> float:
    """How many times the calls there are would decide whether durations differ by the ratio 1 + `margin`.

    Args:
        tests: among which the one is judged (Holm: the first of them meets a level so many times as strict).
    """
    n, m = of.calls
    tail = (1 - level) / 2
    needed = noether_calls(superiority_at(of, 1 + margin), m / (n + m), tail / max(tests, 1), 1 - tail)
    return needed * of.design / (n + m)


def errors_factor(of: Shares, margin: float, level: float, tests: int = 1) -> float:
    """The same for shares of failed calls that differ by `margin`: calls are added until the interval decides."""
    strict = 1 - (1 - level) / max(tests, 1)

    def decides(factor: float) -> bool:
        more = of.scaled(factor)
        wide, narrow = difference_of(more, strict), difference_of(more, level)
        return (wide.high - wide.low + narrow.high - narrow.low) / 2 <= margin

    low, high = 1 / FACTOR, FACTOR
    if not decides(high):
        return math.inf
    while high / low > 1.001:
        middle = math.sqrt(low * high)
        low, high = (low, middle) if decides(middle) else (middle, high)
    return high


def needed(factor: float, calls: tuple[float, float], seconds: float) -> Needed | None:
    """What `factor` times the calls of (baseline, canary) are; None where that is more than anybody waits for."""
    if not math.isfinite(factor) or factor > FACTOR:
        return None
    rate = calls[1] / seconds if seconds > 0 else None
    wanted = math.ceil(factor * calls[0]), math.ceil(factor * calls[1])
    return Needed(wanted, max(factor - 1, 0.0) * seconds if rate else None, rate)


def needed_at_least(least: int, calls: tuple[float, float], seconds: float) -> Needed:
    """What is missing until each side has `least` calls."""
    rates = [each / seconds if seconds > 0 else 0.0 for each in calls]
    missing = [max(least - each, 0.0) for each in calls]
    known = all(rate > 0 or lack == 0 for rate, lack in zip(rates, missing, strict=True))
    more = max((lack / rate for lack, rate in zip(missing, rates, strict=True) if rate > 0), default=0.0)
    wanted = max(least, round(calls[0])), max(least, round(calls[1]))
    return Needed(wanted, more if known else None, rates[1] or None)
