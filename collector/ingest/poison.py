"""The poison rule: when nearly everything is undecodable the format is wrong, and draining the topic helps nobody.

It is for sources that eastwatch reads. A sender that pushes is told what was wrong with its records instead, and never
ends the ingestion of the others.
"""

from __future__ import annotations

from collections.abc import Sequence

from collector.contract import DeadLetter
from collector.errors import Poisoned

_SHOWN_BYTES = 120


def _said(letter: DeadLetter) -> str:
    """The reason, and the record's beginning unless the reason shows it."""
    if "begins with" in letter.reason:
        return letter.reason
    shown = letter.payload[:_SHOWN_BYTES].decode("utf-8", "backslashreplace")
    return f"{letter.reason}; it begins {shown!r}"


class PoisonRule:
    """Judges stretches of at least `min_records` consecutive records of one source.

    Short inputs are never judged, so a handful of bad records in a small topic are dead letters and nothing else.
    """

    def __init__(self, share: float, min_records: int, source: str) -> None:
        self.share = share
        self.min_records = min_records
        self._source = source
        self._records = 0
        self._dead = 0

    def judge(self, where: str, format: str, records: int, dead: Sequence[DeadLetter]) -> None:
        """Count one batch: its records, and those among them that are dead.

        Raises:
            Poisoned: the stretch that ends with this batch is nearly all undecodable.
        """
        self._records += records
        self._dead += len(dead)
        if self._records < self.min_records:
            return
        share = self._dead / self._records
        counted, lost = self._records, self._dead
        self._records = self._dead = 0
        if share < self.share or not dead:
            return
        raise Poisoned(
            f"{where}: {lost} of the last {counted} records are not readable as format={format}; "
            f"nothing of this batch was committed. First: {_said(dead[0])}. "
            f"{self._hint(format)}, or raise ingest.poison_records to keep them as dead letters"
        )

    def _hint(self, format: str) -> str:
        if format == "auto":
            return "No format that eastwatch knows fits them: mend what is written there"
        return f"Name the right format, as in '{self._source}?format=auto'"
