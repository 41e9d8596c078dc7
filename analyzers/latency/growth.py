"""The stage of added calls: did calls become slower, or did slow ones come on top?

One name may stand for several things (`SELECT orders` of one order, and of all of them). Where more of the slow kind
come, the whole looks slower though nothing is. Then the fast calls are about as many per minute as before, and as fast:
what is new came on top. Where calls became slower, the fast ones are fewer, or those left are slower themselves; where
there are more of all kinds, the fast ones are more as well.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.special import ndtr

from analyzers.latency.comparison import rank_test
from analyzers.latency.grid import MINUTE_S
from analyzers.latency.judged import Judged
from analyzers.latency.members import Members
from analyzers.latency.stack import Stack

MORE = 1.1
"""Calls per minute grew: below this nothing came on top."""
ALSO_FAST = 0.25
"""Of more of all kinds half are no slower than the median before; of slow ones on top nearly none."""
CHANCE = 0.01
"""The fast calls are slower, or fewer, where this chance says so."""


def without_growth(judged: Sequence[Judged], members: Members) -> Sequence[Judged]:
    """With the stage `mix` where only slow calls came on top; whole edges are `mix.without_mix`'s."""
    return [
        _checked(one) if one.passed and one.what == "latency" and not members.total(one.row) else one for one in judged
    ]


def _checked(one: Judged) -> Judged:
    minutes = max(one.before_min, 1), (one.until - one.since) // MINUTE_S
    pace = [float(stack.calls[0]) / length for stack, length in zip((one.before, one.after), minutes, strict=True)]
    if pace[1] < MORE * pace[0]:
        return one.then("mix", True, f"{pace[1]:.1f} calls a minute, {pace[0]:.1f} before: none came on top")
    fast = _fast(one.before, one.after)
    many = [float(stack.calls[0]) for stack in fast]
    # Counts of two spans of time: given their sum, the part of the first is binomial.
    share = minutes[1] / sum(minutes)
    expected, error = share * sum(many), np.sqrt(sum(many) * share * (1 - share) * one.spread)
    fewer = float(ndtr((many[1] - expected) / max(error, 1e-9)))
    slower = float(np.nan_to_num(rank_test(*fast, one.spread).greater_p[0], nan=1.0))
    also_fast = many[1] / minutes[1] - many[0] / minutes[0] > ALSO_FAST * (pace[1] - pace[0])
    real = also_fast or min(fewer, slower) < CHANCE
    text = (
        f"{pace[1]:.1f} calls a minute, {pace[0]:.1f} before; of the fast ones {many[1] / minutes[1]:.1f}, "
        f"{many[0] / minutes[0]:.1f} before, slower with p = {slower:.2g}"
    )
    return one.then("mix", real, text)


def _fast(before: Stack, after: Stack) -> tuple[Stack, Stack]:
    """The calls of both that are no slower than the median before."""
    both = before + after
    column = int(np.argmax(np.cumsum(before.counts[0]) >= 0.5 * before.calls[0])) + before.first - both.first + 1
    first = both.first

    def cut(stack: Stack) -> Stack:
        wide = np.zeros((1, column))
        offset = stack.first - first
        kept = stack.counts[:, : max(column - offset, 0)]
        wide[:, offset : offset + kept.shape[1]] = kept
        return Stack(wide, first)

    return cut(before), cut(after)
