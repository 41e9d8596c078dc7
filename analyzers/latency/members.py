"""Which series a row of the grid stands for.

series (one version of an operation of an edge) | operations with several versions | edges with several operations

The rows of a grid are the series themselves, behind them the operations that several versions answer, and behind these
the edges that have several operations. Any of the three may become slower while the others hardly move.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from analyzers.latency.stack import Flags, Floats, Ints

SERIES, OPERATION, EDGE = 0, 1, 2
"""Kinds of rows."""


class Members:
    """Attributes:
    series: how many series there are: the first rows.
    families: the edge and reporter of each series.
    kinds: of every row.
    """

    def __init__(self, families: Ints, operations: Ints) -> None:
        """Args:
        families: by series, the number of its edge and reporter.
        operations: by series, the number of its operation (of one edge and reporter).
        """
        self.series = len(families)
        self.families = families
        self.operations = operations
        versions = [group for group in _groups(operations) if len(group) > 1]
        edges = [group for group in _groups(families) if len(np.unique(operations[group])) > 1]
        self._groups: Sequence[Ints] = [*versions, *edges]
        kinds = [SERIES] * self.series + [OPERATION] * len(versions) + [EDGE] * len(edges)
        self.kinds: Ints = np.array(kinds, np.int64)
        self._joined = np.concatenate(self._groups) if self._groups else np.zeros(0, np.int64)
        self._starts = np.cumsum([0, *(len(group) for group in self._groups)])[:-1].astype(np.int64)
        self.alone: Flags = np.ones(len(self.kinds), np.bool_)
        """Rows that are not one of several versions, and no edge as a whole: one for each operation."""
        if versions:
            self.alone[np.concatenate(versions)] = False
        self.alone[self.kinds == EDGE] = False

    def __len__(self) -> int:
        return len(self.kinds)

    def of(self, row: int) -> Ints:
        """The series of a row."""
        return np.array([row], np.int64) if row < self.series else self._groups[row - self.series]

    def total(self, row: int) -> bool:
        """Whether a row is a whole edge."""
        return int(self.kinds[row]) == EDGE

    def family(self, row: int) -> int:
        """The edge and reporter of a row."""
        return int(self.families[self.of(row)[0]])

    def places(self, rows: Ints) -> Ints:
        """By number of the series, the place of its row among `rows` (of one kind); -1 = in none."""
        found = np.full(self.series, -1, np.int64)
        for place, row in enumerate(rows.tolist()):
            found[self.of(row)] = place
        return found

    def summed(self, values: Floats) -> Floats:
        """Values by series (first axis) with those of the other rows behind them."""
        if not self._groups:
            return values
        return np.concatenate([values, np.add.reduceat(values[self._joined], self._starts, axis=0)])


def _groups(numbers: Ints) -> Sequence[Ints]:
    """Series by number, in the order of the numbers."""
    order = np.argsort(numbers, kind="stable").astype(np.int64)
    cuts = np.flatnonzero(np.diff(numbers[order])) + 1
    return np.split(order, cuts) if len(order) else []
