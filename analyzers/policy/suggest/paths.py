"""Paths that policies are made of: templates of operations, and paths of which only one is meant."""

from __future__ import annotations

from dataclasses import dataclass

REST = "**"
MAX_LENGTH = 1000
"""Of a path, in characters; a longer one is no path of an interface."""
MAX_SEGMENTS = 32


@dataclass(frozen=True, slots=True)
class Path:
    """Segments between slashes, None where any one will do; nothing is between the slashes of an empty one."""

    segments: tuple[str | None, ...]
    rest: bool = False
    """Whatever follows, at least a slash."""

    @property
    def exact(self) -> str | None:
        """The path where only one is meant."""
        if self.rest or None in self.segments:
            return None
        return "/" + "/".join(str(one) for one in self.segments)

    @property
    def order(self) -> tuple[tuple[bool, str], ...]:
        """To sort by: one that means fewer comes first where they begin alike."""
        return *((one is None, one or "") for one in self.segments), (self.rest, "")


def of_template(template: str, slash_behind: bool) -> Path:
    """The paths of an operation's template, such as `/orders/{id}`; a segment that varies in part is any one."""
    segments = template.split("/")[1:]
    rest = segments[-1] == REST
    kept = [None if "{" in one else one for one in (segments[:-1] if rest else segments)]
    return Path((*kept, *([""] if slash_behind else [])), rest)


def of_path(path: str) -> Path | None:
    """One path and no other; None where it is too long, or no path at all."""
    if not path.startswith("/") or len(path) > MAX_LENGTH or path.count("/") > MAX_SEGMENTS:
        return None
    return Path(tuple(path.split("/")[1:]))
