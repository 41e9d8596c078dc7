"""Whether the engine answers: asked every few seconds from a thread of its own, so that nobody who asks us waits."""

from __future__ import annotations

import threading

from collector.clock import Clock
from storage.engine import Engine
from storage.errors import StorageError

PROBE_S = 5.0
SILENCE_S = 30.0
"""An engine that is asked and says nothing for so long is away; a large insert may hold it up for some seconds."""


class EngineProbe:
    """Asks `engine` the simplest question again and again until `close`.

    Args:
        every_s: seconds between questions.
    """

    def __init__(self, engine: Engine, clock: Clock, every_s: float = PROBE_S) -> None:
        self._engine = engine
        self._clock = clock
        self._every_s = every_s
        self._ended = threading.Event()
        self._trouble = "not asked yet"
        self._asked_at: float | None = None
        self._thread = threading.Thread(target=self._run, name="engine probe", daemon=True)
        self._thread.start()

    @property
    def trouble(self) -> str:
        """Empty while the engine answers, else what it said, or for how long it has said nothing."""
        asked_at = self._asked_at
        if asked_at is not None and (silent_s := self._clock.monotonic() - asked_at) > SILENCE_S:
            return f"has not answered for {silent_s:.0f} s"
        return self._trouble

    def close(self, within_s: float = 1.0) -> None:
        """Ask no more; a question that hangs is left alone."""
        self._ended.set()
        self._thread.join(within_s)

    def _run(self) -> None:
        while True:
            self._asked_at = self._clock.monotonic()
            self._trouble = _asked(self._engine)
            self._asked_at = None
            if self._ended.wait(self._every_s):
                return


def _asked(engine: Engine) -> str:
    try:
        engine.query("SELECT 1 AS one")
    except StorageError as error:
        return str(error)
    return ""
