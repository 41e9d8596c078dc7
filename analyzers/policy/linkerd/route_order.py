"""Routes of one Server → their matches as formulas, in the order in which the proxy prefers them.

The proxy takes the route whose match is best for the request: by host, by how much of the path it covers, then by
method, headers and parameters, then the oldest. An exact path and an expression cover all of it, and so does a prefix
that is all there is of the path. So a prefix stands twice where any of those could tie with it: as the whole path, and
as its beginning. The order is then the same for all requests.

Source: linkerd2-proxy, linkerd/http/route (lib.rs, http/match, grpc/match); linkerd2,
policy-controller/grpc/src/inbound/{http,grpc}.rs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from analyzers.policy.formula import (
    TRUE,
    Attribute,
    Equals,
    Field,
    Formula,
    Matches,
    Prefix,
    Unknown,
    both,
    either,
)
from analyzers.policy.linkerd.model import GrpcMatch, HttpMatch, Match, Pair, Route, age
from analyzers.policy.regexes import quoted

_Key = tuple[int, ...]
_ANY = "(?s:.*)"


@dataclass(frozen=True, slots=True)
class Candidate:
    """One way in which a request may come to a route."""

    when: Formula
    route: Route


def candidates(routes: Sequence[Route]) -> Sequence[Candidate]:
    """The best first: the first one that matches decides."""
    ordered = sorted(routes, key=lambda one: (age(one), one.group, one.kind, one.name))
    matches = [match for route in ordered for rule in route.rules for match in rule]
    exact = {one.path for one in matches if isinstance(one, HttpMatch) and one.path_type == "Exact"}
    regex = any(isinstance(one, HttpMatch) and one.path_type == "RegularExpression" for one in matches)
    found: list[tuple[_Key, Candidate]] = []
    for route in ordered:
        hosts = [(_host_key(one), _host(one)) for one in route.hostnames] or [((0, 0), TRUE)]
        for rule in route.rules:
            for key, when in _ways(rule, exact, regex):
                found.extend((host + key, Candidate(both([is_host, when]), route)) for host, is_host in hosts)
    # Sorting keeps the order of equals, which is that of routes and their rules.
    found.sort(key=lambda one: tuple(-part for part in one[0]))
    return [one for _, one in found]


def _ways(rule: Sequence[Match], exact: set[str], regex: bool) -> Iterator[tuple[_Key, Formula]]:
    if not rule:
        yield (0, 0, 0), TRUE
    for match in rule:
        headers = [_header(one) for one in match.headers]
        if isinstance(match, GrpcMatch):
            key = (len(match.service.encode()), len(match.method.encode()), len(headers))
            yield key, both([Equals(Field.METHOD, ("POST",)), _rpc(match), *headers])
            continue
        method = [Equals(Field.METHOD, (match.method,))] if match.method else []
        others = both([*method, *headers, *(_parameter(one) for one in match.parameters)])
        rank = (len(method), len(headers), len(match.parameters))
        for covers, path in _paths(match, exact, regex):
            yield covers + rank, both([path, others])


def _paths(match: HttpMatch, exact: set[str], regex: bool) -> Sequence[tuple[_Key, Formula]]:
    """Whether all of the path is covered, else how much of it."""
    if match.path_type == "Exact":
        return [((1, 0), Equals(Field.PATH, (match.path,)))]
    if match.path_type == "RegularExpression":
        return [((1, 0), Matches(Field.PATH, match.path))]
    prefix = match.path if match.path == "/" else match.path.rstrip("/")
    whole = Equals(Field.PATH, (prefix,))
    below = TRUE if prefix == "/" else Prefix(Field.PATH, f"{prefix}/")
    covers = (0, len(prefix.encode()))
    if regex or prefix in exact:
        return [((1, 0), whole), (covers, below)]
    return [(covers, either([whole, below]))]


def _rpc(match: GrpcMatch) -> Formula:
    service = quoted(match.service) if match.service else "[^/]*"
    return Matches(
        Field.PATH, f"/{service}/{quoted(match.method)}(?:/{_ANY})?" if match.method else f"/{service}/{_ANY}"
    )


def _host_key(hostname: str) -> tuple[int, int]:
    return (1, len(hostname) - 1) if hostname.startswith("*.") else (2, len(hostname))


def _host(hostname: str) -> Formula:
    """Without the port, and without the dot that ends a full name."""
    name = f"{_ANY}{quoted(hostname[1:])}" if hostname.startswith("*.") else quoted(hostname)
    return Matches(Field.HOST, f"{name}\\.?(?::[0-9]*)?")


def _header(pair: Pair) -> Formula:
    subject = Attribute(f"request.headers.{pair.name}")
    return Matches(subject, pair.value) if pair.is_regex else Equals(subject, (pair.value,))


def _parameter(pair: Pair) -> Formula:
    """Names and values are decoded before they are compared; so each letter may stand in the query in several ways.

    What a percent sign stands for depends on what follows it, and an expression is about the decoded text: both are
    only known to fail, where there is no such parameter.
    """
    name = _encoded(pair.name, "=&+#")
    if "%" in pair.name:
        return Unknown(Field.QUERY)
    if pair.is_regex or "%" in pair.value:
        present = Matches(Field.QUERY, f"(?:{_ANY}&)?{name}(?:=[^&]*)?(?:&{_ANY})?")
        return both([present, Unknown(Field.QUERY)])
    value = f"={_encoded(pair.value, '&+#')}" if pair.value else "=?"
    return Matches(Field.QUERY, f"(?:{_ANY}&)?{name}{value}(?:&{_ANY})?")


def _encoded(text: str, never_plain: str) -> str:
    parts: list[str] = []
    for letter in text:
        ways = [] if letter in never_plain else [quoted(letter)]
        ways.append("".join(f"%{_hex(byte >> 4)}{_hex(byte & 15)}" for byte in letter.encode()))
        if letter == " ":
            ways.append("\\+")
        parts.append(f"(?:{'|'.join(ways)})")
    return "".join(parts)


def _hex(digit: int) -> str:
    upper = f"{digit:X}"
    return upper if upper.isdecimal() else f"[{upper}{upper.lower()}]"
