"""Hosts, ports and paths of URLs and addresses, by whole columns where each record has another one."""

from __future__ import annotations

from urllib.parse import SplitResult, urlsplit

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from collector.decode.otlp.text import map_distinct
from collector.decode.spans import as_text, bounds, gather

_SLASH, _HASH = ord("/"), ord("#")


def split_urls(urls: pa.StringArray) -> tuple[pa.StringArray, pa.StringArray]:
    """(scheme and authority, path with query) of each URL; '' where it is none. The fragment is dropped."""
    content, starts, ends = bounds(urls)
    if not len(content):
        nothing = pa.array([""] * len(urls), pa.string())
        return nothing, nothing
    slashes = np.append(np.flatnonzero(content == _SLASH), [len(content)] * 3)
    first = np.searchsorted(slashes, starts)
    absolute = (slashes[first + 1] == slashes[first] + 1) & (slashes[first + 1] < ends)
    middle = np.where(absolute, np.minimum(slashes[first + 2], ends), ends)
    stop = ends
    if (hashes := np.flatnonzero(content == _HASH)).size:
        hashes = np.append(hashes, len(content))
        stop = np.clip(hashes[np.searchsorted(hashes, starts)], middle, ends)
    origin = as_text(gather(content, starts, np.where(absolute, middle, starts)))
    path = as_text(gather(content, middle, stop))
    # `http://host` and `http://host?query` have no third slash.
    odd = absolute & (middle == ends)
    if odd.any():
        mask = pa.array(odd)
        path = pc.if_else(mask, map_distinct(pc.if_else(mask, urls, None), _path_of, pa.string()), path)
    return origin, path


def _split(url: str) -> SplitResult | None:
    try:
        return urlsplit(url)
    except ValueError:
        return None


def _path_of(url: str) -> str:
    split = _split(url)
    if split is None or not split.netloc:
        return ""
    return (split.path or "/") + (f"?{split.query}" if split.query else "")


def host_of(address: str) -> str:
    """The host of `host`, `host:port`, `[v6]:port`, an address or a URL; lower case."""
    if "://" in address:
        split = _split(address)
        address = split.netloc.rpartition("@")[2] if split is not None else ""
    address = address.strip().lower()
    if address.startswith("["):
        return address[1:].partition("]")[0]
    if address.count(":") == 1:
        address = address.partition(":")[0]
    return address.rstrip(".")


def port_of(address: str) -> int | None:
    """The port of `host:port`, `[v6]:port` or a URL (by its scheme where it names none)."""
    scheme = ""
    if "://" in address:
        split = _split(address)
        if split is None:
            return None
        scheme, address = split.scheme, split.netloc.rpartition("@")[2]
    port = address.rpartition(":")[2] if address.startswith("[") or address.count(":") == 1 else ""
    if port.isascii() and port.isdigit() and 0 < int(port[:6]) < 65536:
        return int(port[:6])
    return {"http": 80, "https": 443}.get(scheme.lower())
