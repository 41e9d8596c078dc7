"""SOURCE strings of the command line, parsed into what each source needs.

    kafka://host:9092[,host2:9092]/TOPIC[,TOPIC2]?format=F&group=G&...     topics, or one ^regex
    file:PATH?format=F&follow=1                                            PATH may be a glob; .gz and .zst are read
    otlp://HOST:PORT                                                       OTLP/HTTP receiver
    -   or stdin:?format=F                                                 standard input

`group` defaults to `eastwatch`, `format` to `auto`. Kafka further takes `security` (plaintext, ssl, sasl_plaintext,
sasl_ssl), `mechanism` (PLAIN, SCRAM-SHA-256, SCRAM-SHA-512), `ca`, `cert`, `key` (files), `verify=0` and
`password_file`; user and password stand before the host as in any URL. Passwords never appear in `label`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from collector.errors import BadSource

DEFAULT_FORMAT = "auto"
DEFAULT_GROUP = "eastwatch"
_TOPIC = re.compile(r"[A-Za-z0-9._-]{1,249}")
_SECURITY = {"plaintext": "PLAINTEXT", "ssl": "SSL", "sasl_plaintext": "SASL_PLAINTEXT", "sasl_ssl": "SASL_SSL"}
_MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
_SHAPES = "kafka://HOST:PORT/TOPIC?format=F, file:PATH?format=F, otlp://HOST:PORT, or -"


@dataclass(frozen=True, slots=True)
class KafkaUrl:
    """Topics of one Kafka cluster, read by a consumer group."""

    bootstrap: tuple[str, ...]
    topics: tuple[str, ...]
    """Topic names; a single one beginning with ^ is a regular expression."""
    format: str = DEFAULT_FORMAT
    group: str = DEFAULT_GROUP
    security: str = "PLAINTEXT"
    mechanism: str = ""
    user: str = ""
    password: str = field(default="", repr=False)
    ca: str = ""
    cert: str = ""
    key: str = ""
    verify: bool = True

    @property
    def label(self) -> str:
        """The source for people, without credentials."""
        return f"kafka://{','.join(self.bootstrap)}/{','.join(self.topics)}"


@dataclass(frozen=True, slots=True)
class FileUrl:
    """Files whose path matches a glob."""

    path: str
    format: str = DEFAULT_FORMAT
    follow: bool = False

    @property
    def label(self) -> str:
        """The source for people."""
        return f"file:{self.path}"


@dataclass(frozen=True, slots=True)
class OtlpUrl:
    """An address on which OTLP/HTTP is accepted."""

    host: str
    port: int

    @property
    def label(self) -> str:
        """The source for people."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"otlp://{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class StdinUrl:
    """Standard input."""

    format: str = DEFAULT_FORMAT

    @property
    def label(self) -> str:
        """The source for people."""
        return "-"


SourceUrl = KafkaUrl | FileUrl | OtlpUrl | StdinUrl


def parse_source(text: str) -> SourceUrl:
    """Read one SOURCE.

    Raises:
        BadSource: one line saying what is wrong and what was expected.
    """
    if text == "-" or text == "stdin:" or text.startswith(("-?", "stdin:?")):
        query = _query(text, text.partition("?")[2], {"format"})
        return StdinUrl(query.get("format", DEFAULT_FORMAT))
    if text.startswith("file:"):
        return _file(text)
    if text.startswith("kafka://"):
        return _kafka(text)
    if text.startswith("otlp://"):
        return _otlp(text)
    raise BadSource(f"source {_safe(text)!r}: expected {_SHAPES}")


def _safe(text: str) -> str:
    return re.sub(r"//[^/@]*@", "//", text)


def _split(text: str) -> SplitResult:
    try:
        return urlsplit(text)
    except ValueError as error:
        raise BadSource(f"source {_safe(text)!r}: {error}, expected {_SHAPES}") from None


def _query(text: str, query: str, known: set[str]) -> dict[str, str]:
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query))
    except ValueError:
        raise BadSource(f"source {_safe(text)!r}: cannot read the part after '?', expected key=value&...") from None
    found: dict[str, str] = {}
    for key, value in pairs:
        if key not in known:
            raise BadSource(f"source {_safe(text)!r}: unknown option {key!r}, expected {', '.join(sorted(known))}")
        if key in found:
            raise BadSource(f"source {_safe(text)!r}: option {key!r} is given twice")
        if not value:
            raise BadSource(f"source {_safe(text)!r}: option {key!r} is empty")
        found[key] = value
    return found


def _flag(text: str, query: dict[str, str], key: str, default: bool) -> bool:
    value = query.get(key, "1" if default else "0").lower()
    if value not in ("0", "1", "true", "false"):
        raise BadSource(f"source {_safe(text)!r}: {key}={value}, expected 0 or 1")
    return value in ("1", "true")


def _file(text: str) -> FileUrl:
    # A '?' can be a glob's: only what looks like options after the last one is read as options.
    path, mark, query = text[len("file:") :].rpartition("?")
    if not mark or "=" not in query:
        path, query = text[len("file:") :], ""
    if path.startswith("//"):
        path = path[2:] if path[2:3] == "/" else path
    if not path:
        raise BadSource(f"source {text!r}: no path, expected file:PATH?format=F")
    options = _query(text, query, {"format", "follow"})
    return FileUrl(path, options.get("format", DEFAULT_FORMAT), _flag(text, options, "follow", False))


def _host_port(text: str, place: str, default_port: int | None) -> tuple[str, int]:
    match = re.fullmatch(r"(\[[0-9A-Fa-f:.%]+\]|[^\[\]:/@\s]+)(?::(\d{1,5}))?", place)
    port = int(match[2]) if match and match[2] else default_port
    if match is None or port is None or port > 65535:
        raise BadSource(f"source {_safe(text)!r}: {_safe(place)!r} is no address, expected HOST:PORT")
    return match[1].strip("[]"), port


def _kafka(text: str) -> KafkaUrl:
    parts = _split(text)
    credentials, _, places = parts.netloc.rpartition("@")
    user, _, password = credentials.partition(":")
    known = {"format", "group", "security", "mechanism", "ca", "cert", "key", "verify", "password_file"}
    options = _query(text, parts.query, known)
    bootstrap: list[str] = []
    for place in places.split(","):
        host, port = _host_port(text, place, 9092)
        bootstrap.append(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
    path = unquote(parts.path).lstrip("/")
    topics = (path,) if path.startswith("^") else tuple(path.split(","))
    if topics == ("",):
        raise BadSource(f"source {_safe(text)!r}: no topic, expected kafka://HOST:PORT/TOPIC")
    _check_topics(text, topics)
    if (path := options.get("password_file")) is not None:
        try:
            password = Path(path).read_text().strip()
        except OSError as error:
            raise BadSource(f"source {_safe(text)!r}: password_file {path}: {error.strerror}") from None
    security = options.get("security", "sasl_plaintext" if user else "plaintext").lower()
    if security not in _SECURITY:
        raise BadSource(f"source {_safe(text)!r}: security={security}, expected {', '.join(_SECURITY)}")
    mechanism = options.get("mechanism", "PLAIN" if security.startswith("sasl") else "").upper()
    if mechanism and mechanism not in _MECHANISMS:
        raise BadSource(f"source {_safe(text)!r}: mechanism={mechanism}, expected {', '.join(_MECHANISMS)}")
    if security.startswith("sasl") and not user:
        raise BadSource(
            f"source {_safe(text)!r}: security={security} needs a user: kafka://USER:PASSWORD@HOST:PORT/TOPIC"
        )
    return KafkaUrl(
        bootstrap=tuple(bootstrap),
        topics=topics,
        format=options.get("format", DEFAULT_FORMAT),
        group=options.get("group", DEFAULT_GROUP),
        security=_SECURITY[security],
        mechanism=mechanism,
        user=unquote(user),
        password=unquote(password) if "password_file" not in options else password,
        ca=options.get("ca", ""),
        cert=options.get("cert", ""),
        key=options.get("key", ""),
        verify=_flag(text, options, "verify", True),
    )


def _check_topics(text: str, topics: tuple[str, ...]) -> None:
    if topics[0].startswith("^"):
        pattern = ",".join(topics)
        try:
            re.compile(pattern)
        except re.error as error:
            raise BadSource(f"source {_safe(text)!r}: topic pattern {pattern!r}: {error}") from None
        return
    for topic in topics:
        if not _TOPIC.fullmatch(topic) or topic in (".", ".."):
            raise BadSource(
                f"source {_safe(text)!r}: {topic!r} is no topic name, expected letters, digits, '.', '_', '-'"
            )


def _otlp(text: str) -> OtlpUrl:
    parts = _split(text)
    if parts.query or parts.path not in ("", "/"):
        raise BadSource(f"source {text!r}: expected otlp://HOST:PORT and nothing behind it")
    host, port = _host_port(text, parts.netloc, 4318)
    return OtlpUrl(host, port)
