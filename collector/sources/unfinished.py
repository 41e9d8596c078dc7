"""The last line of a file that has no line end: is it all there, or is somebody still writing it?

A JSON object that parses is complete, as no part of one does. Of any other line only time can tell: it is complete once
the file has not changed for a while.
"""

from __future__ import annotations

import msgspec

from collector.clock import Clock
from collector.sources.blocks import BlockReader

GIVEN_UP_AFTER = 12
"""A line that still grows after so many times `quiet_s` is left for another run."""

_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])


class Unfinished:
    """Watches one file. `quiet_s` is how long it must not have changed before its last line counts as complete."""

    def __init__(self, clock: Clock, quiet_s: float) -> None:
        self._clock = clock
        self._quiet_s = quiet_s
        self.awaited = False
        """Whether a line was not complete when it was asked about."""
        self._since: float | None = None
        self._unchanged_since = 0.0
        self._size = -1

    def is_complete(self, line: bytes, reader: BlockReader) -> bool:
        """Whether `line`, which stands at the end of the file, is whole."""
        now = self._clock.monotonic()
        if self._since is None:
            self._since = now
        size, modified_s = reader.size(), reader.modified_s()
        if size != self._size:
            self._size, self._unchanged_since = size, now
        quiet = now - self._unchanged_since >= self._quiet_s
        quiet = quiet or self._clock.now().timestamp() - modified_s >= self._quiet_s
        if quiet or _is_json_object(line):
            return True
        self.awaited = True
        return False

    @property
    def given_up(self) -> bool:
        """Whether it grew for so long that another run is to read it."""
        return self._since is not None and self._clock.monotonic() - self._since >= GIVEN_UP_AFTER * self._quiet_s


def _is_json_object(line: bytes) -> bool:
    try:
        _OBJECT.decode(line)
    except (msgspec.MsgspecError, RecursionError, UnicodeError):
        return False
    return True
