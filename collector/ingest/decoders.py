"""One decoder per format, made when it is first asked for and kept: what it has learnt about shapes stays warm."""

from __future__ import annotations

from collector.contract import Decoder
from collector.decode.limits import Limits
from collector.decode.registry import decoder


class DecoderCache:
    """Callable: format name -> decoder, the same one every time."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._known: dict[str, Decoder] = {}

    def __call__(self, format: str) -> Decoder:
        """The decoder of `format`.

        Raises:
            ValueError: no such format; the message lists those there are.
        """
        found = self._known.get(format)
        if found is None:
            found = self._known[format] = decoder(format, self._limits)
        return found
