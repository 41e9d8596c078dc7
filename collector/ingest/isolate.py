"""The last defence: a message on which decoding itself breaks becomes a dead letter, its neighbours are kept.

Decoders promise not to raise. Where one does all the same, that is a defect of eastwatch, told as such; ingestion goes
on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import numpy as np
import pyarrow as pa

from collector.contract import Batch, DeadLetter

R = TypeVar("R")

MAX_BROKEN = 1000
"""Broken messages that are singled out of one batch; beyond that the batch's last part is dead as a whole."""


def whole(batch: Batch) -> Batch:
    """`batch` with its bounds written out, so that a part of it keeps them."""
    return Batch(
        batch.cluster_id,
        batch.topic,
        batch.topic_id,
        batch.partition,
        batch.values,
        batch.offsets,
        (batch.first, batch.last),
    )


def isolate(batch: Batch, attempt: Callable[[Batch], object]) -> tuple[Batch, list[DeadLetter]]:
    """Split off the messages on which `attempt` raises.

    Returns:
        The batch without them (its bounds unchanged), and a dead letter for each, whose index is that in `batch`.
    """
    batch = whole(batch)
    broken: dict[int, str] = {}
    parts = [(0, len(batch.values))]
    while parts:
        start, stop = parts.pop()
        try:
            attempt(_part(batch, start, stop))
        except Exception as error:  # noqa: BLE001 - whatever it is, the neighbours are kept
            reason = f"{type(error).__name__}: {error}"
        else:
            continue
        if stop - start == 1 or len(broken) >= MAX_BROKEN:
            broken.update(dict.fromkeys(range(start, stop), reason))
        else:
            middle = (start + stop) // 2
            parts += [(middle, stop), (start, middle)]
    keep = np.ones(len(batch.values), bool)
    keep[list(broken)] = False
    letters = [
        DeadLetter(index, 0, batch.values[index].as_py(), f"eastwatch could not take it: {reason[:300]}", "")
        for index, reason in sorted(broken.items())
    ]
    return _kept(batch, pa.array(keep)), letters


def _part(batch: Batch, start: int, stop: int) -> Batch:
    values, offsets = batch.values[start:stop], batch.offsets[start:stop]
    return Batch(batch.cluster_id, batch.topic, batch.topic_id, batch.partition, values, offsets, batch.covers)


def _kept(batch: Batch, keep: pa.BooleanArray) -> Batch:
    values, offsets = batch.values.filter(keep), batch.offsets.filter(keep)
    return Batch(batch.cluster_id, batch.topic, batch.topic_id, batch.partition, values, offsets, batch.covers)
