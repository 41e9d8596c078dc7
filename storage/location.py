"""`--store` URLs: `chdb:PATH`, `clickhouse://user:password@host:9000/database?secure=1&verify=0&ca=FILE`.

With `cluster=NAME` the host is one server of a ClickHouse cluster (`storage.cluster_engine`); `quorum` then says on how
many replicas an insert must be before it is done: `auto` (the default: most), 0 (the one that took it) or a number.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from storage.errors import BadLocation

EXPECTED = "chdb:PATH or clickhouse://user:password@host:9000/database expected"
_OPTIONS = {"secure", "verify", "ca", "compression", "connect_timeout_s", "timeout_s", "cluster", "quorum"}
_CLUSTER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}", re.ASCII)
_DATABASE = re.compile(r"[A-Za-z_]\w{0,63}", re.ASCII)


@dataclass(frozen=True, slots=True)
class ChdbLocation:
    """An embedded store's directory."""

    path: Path


@dataclass(frozen=True, slots=True)
class ServerLocation:
    """A ClickHouse server. The password is left out of `repr` and of `str`."""

    host: str
    port: int
    database: str
    user: str
    password: str = field(repr=False)
    secure: bool = False
    verify: bool = True
    ca: str | None = None
    compression: bool = True
    connect_timeout_s: float = 10.0
    timeout_s: float = 300.0
    cluster: str = ""
    """Name of a cluster in the server's configuration; empty = the server alone."""
    quorum: str | int = "auto"

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"clickhouse://{host}:{self.port}/{self.database}" + (f"?cluster={self.cluster}" if self.cluster else "")


def parse(url: str) -> ChdbLocation | ServerLocation:
    """What a `--store` URL names.

    Raises:
        BadLocation: it cannot be read; the message never repeats a password.
    """
    scheme, separator, rest = url.partition(":")
    if separator and scheme == "chdb":
        path = rest.removeprefix("//")
        if not path or "\0" in path:
            raise BadLocation(f"store {url!r}: a path after chdb: expected")
        try:
            return ChdbLocation(Path(path).expanduser())
        except RuntimeError:
            raise BadLocation(f"store {url!r}: this machine knows no home directory of that user") from None
    if separator and scheme in ("clickhouse", "clickhouses"):
        return _server(url, secure=scheme == "clickhouses")
    raise BadLocation(f"store {_without_password(url)!r}: {EXPECTED}")


def _server(url: str, *, secure: bool) -> ServerLocation:
    shown = _without_password(url)
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
        options = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
    except ValueError as error:
        raise BadLocation(f"store {shown!r}: {error}") from None
    if not host:
        raise BadLocation(f"store {shown!r}: no host; {EXPECTED}")
    if strangers := sorted(options.keys() - _OPTIONS):
        raise BadLocation(
            f"store {shown!r}: unknown option {', '.join(strangers)}; known are {', '.join(sorted(_OPTIONS))}"
        )
    database = parts.path.removeprefix("/") or "eastwatch"
    if not _DATABASE.fullmatch(database):
        raise BadLocation(f"store {shown!r}: {database!r} is no database name")
    secure = _switch(shown, options, "secure", secure)
    return ServerLocation(
        host=host,
        port=port or (9440 if secure else 9000),
        database=database,
        user=unquote(parts.username or "default"),
        password=unquote(parts.password or ""),
        secure=secure,
        verify=_switch(shown, options, "verify", True),
        ca=options.get("ca"),
        compression=_switch(shown, options, "compression", True),
        connect_timeout_s=_seconds(shown, options, "connect_timeout_s", 10.0),
        timeout_s=_seconds(shown, options, "timeout_s", 300.0),
        **_cluster(shown, options),
    )


def _cluster(shown: str, options: dict[str, str]) -> dict[str, Any]:
    if "cluster" not in options:
        if "quorum" in options:
            raise BadLocation(f"store {shown!r}: quorum is an option of a cluster; cluster=NAME expected beside it")
        return {}
    cluster, quorum = options["cluster"], options.get("quorum", "auto")
    if not _CLUSTER.fullmatch(cluster):
        raise BadLocation(f"store {shown!r}: {cluster!r} is no name of a cluster")
    if quorum != "auto" and not re.fullmatch(r"[0-9]{1,3}", quorum):
        raise BadLocation(f"store {shown!r}: quorum={quorum!r}: auto or a number of replicas expected")
    return {"cluster": cluster, "quorum": quorum if quorum == "auto" else int(quorum)}


def _switch(shown: str, options: dict[str, str], name: str, default: bool) -> bool:
    text = options.get(name, "1" if default else "0").lower()
    if text not in ("0", "1", "true", "false"):
        raise BadLocation(f"store {shown!r}: {name}={text!r}: 0 or 1 expected")
    return text in ("1", "true")


def _seconds(shown: str, options: dict[str, str], name: str, default: float) -> float:
    try:
        value = float(options.get(name, default))
    except ValueError:
        value = 0.0
    if not 0 < value < 1e6:
        raise BadLocation(f"store {shown!r}: {name}: seconds above 0 expected")
    return value


def _without_password(url: str) -> str:
    return re.sub(r"//([^/@:]*):[^/]*@", r"//\1:***@", url)
