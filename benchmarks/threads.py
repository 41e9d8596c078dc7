"""CPU time of a running process by the names of its threads, from Linux's /proc: where a run spends its time."""

from __future__ import annotations

import os
import threading
from collections import defaultdict
from pathlib import Path
from types import TracebackType

PERIOD_S = 0.05
_TICKS = os.sysconf("SC_CLK_TCK")


class ThreadClock:
    """Reads the threads of process `pid` until the block ends; what a thread used after its last reading is not seen.

    with ThreadClock(child.pid) as clock:
        child.wait()
    clock.seconds  # {"eastwatch-prepa": 3.4, "MergeMutate": 2.1, ...}; the kernel keeps 15 letters of a name
    """

    def __init__(self, pid: int) -> None:
        self._tasks = Path(f"/proc/{pid}/task")
        self._found: dict[str, tuple[str, float]] = {}
        self._stop = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)

    def __enter__(self) -> ThreadClock:
        self._reader.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._reader.join()

    @property
    def seconds(self) -> dict[str, float]:
        """CPU seconds by name, the largest first."""
        sums: dict[str, float] = defaultdict(float)
        for name, used in self._found.values():
            sums[name] += used
        return dict(sorted(sums.items(), key=lambda item: -item[1]))

    def _read(self) -> None:
        while not self._stop.wait(PERIOD_S):
            try:
                for task in self._tasks.iterdir():
                    self._note(task)
            except (FileNotFoundError, ProcessLookupError):
                return

    def _note(self, task: Path) -> None:
        try:
            head, _, rest = (task / "stat").read_text().rpartition(")")
        except (FileNotFoundError, ProcessLookupError):
            return
        fields = rest.split()
        # The engine's threads take the name of what they do at the moment: each name gets what was used under it.
        used = (int(fields[11]) + int(fields[12])) / _TICKS
        name = head.partition("(")[2]
        key = f"{task.name}/{name}"
        before = sum(
            seconds for other, (_, seconds) in self._found.items() if other.startswith(f"{task.name}/") and other != key
        )
        self._found[key] = (name, used - before)
