"""Three-valued logic on True, False and None (unknown), as Kleene has it."""

from __future__ import annotations

from collections.abc import Iterable

Truth = bool | None


def all_of(parts: Iterable[Truth]) -> Truth:
    """False where any part is; else unknown where any part is; else true."""
    found: list[Truth] = [*parts]
    return False if False in found else None if None in found else True


def any_of(parts: Iterable[Truth]) -> Truth:
    """True where any part is; else unknown where any part is; else false."""
    found: list[Truth] = [*parts]
    return True if True in found else None if None in found else False


def opposite(part: Truth) -> Truth:
    """What is unknown stays so."""
    return None if part is None else not part
