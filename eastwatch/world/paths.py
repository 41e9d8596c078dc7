"""Request paths with real-looking values in the places of a template."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

PLACEHOLDER = re.compile(r"\{(product|user|order|word|page)\}")

_WORDS = (
    "shoes", "red%20shoes", "lamp", "desk+lamp", "caf%C3%A9", "mug", "usb-c", "%22usb-c%20cable%22", "tent", "kettle",
    "jacket", "rain+jacket", "socks", "notebook", "pen", "backpack", "%E9%9E%84", "bicycle", "helmet", "o%27neill",
)  # fmt: skip


def draw_paths(
    template: str, rng: np.random.Generator, product: NDArray[np.int64], user: NDArray[np.int64]
) -> list[str]:
    """One path per row: `{product}` and `{user}` from the rows, `{order}` a new UUID, the others drawn."""
    parts = PLACEHOLDER.split(template)
    n = len(product)
    if len(parts) == 1:
        return [template] * n
    columns = [_values(name, rng, n, product, user) for name in parts[1::2]]
    form = template.replace("%", "%%")
    form = PLACEHOLDER.sub("%s", form)
    return [form % values for values in zip(*columns, strict=True)]


def _values(
    name: str, rng: np.random.Generator, n: int, product: NDArray[np.int64], user: NDArray[np.int64]
) -> Sequence[object]:
    if name == "product":
        return product.tolist()
    if name == "user":
        return user.tolist()
    if name == "page":
        return rng.integers(1, 6, n).tolist()
    if name == "word":
        return [_WORDS[i] for i in rng.integers(0, len(_WORDS), n).tolist()]
    return uuids(rng.integers(0, 2**64, (n, 2), dtype=np.uint64))


def uuids(ids: NDArray[np.uint64]) -> list[str]:
    """UUIDs of version 4 from ids of shape (n, 2)."""
    digits = ids.astype(">u8").tobytes().hex()
    return [
        f"{digits[i : i + 8]}-{digits[i + 8 : i + 12]}-4{digits[i + 13 : i + 16]}-a{digits[i + 17 : i + 20]}"
        f"-{digits[i + 20 : i + 32]}"
        for i in range(0, len(digits), 32)
    ]
