"""Values in Istio's AuthorizationPolicies that no call has, or that mean something else than they look like."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator, Mapping, Sequence

from analyzers.policy.istio.model import AuthorizationPolicy
from analyzers.policy.lint.addresses import HOST_BITS, MAPPED, address_remarks, every_address
from analyzers.policy.lint.istio_fields import Given, of_policy
from analyzers.policy.lint.model import Check, Remark, Subject, shown

SPIFFE_SCHEME = Check("spiffe-scheme", "error", "a principal written with spiffe://")
PRINCIPAL_FORM = Check("principal-form", "warning", "a principal that is no TRUST-DOMAIN/ns/NAMESPACE/sa/ACCOUNT")
LITERAL_STAR = Check("literal-star", "error", "a * that is not at one end of the value")
STAR_IN_TEMPLATE = Check("star-in-template", "warning", "a bare * in a path template")
HOST_WITHOUT_PORT = Check("host-without-port", "warning", "a host without the form that has a port")
HOST_FORM = Check("host-form", "error", "a host with a scheme or a path")
METHOD_CASE = Check("method-case", "error", "a method in small letters")
PATH_WITH_QUERY = Check("path-with-query", "error", "a path with ? or #")
PATH_WITHOUT_SLASH = Check("path-without-slash", "error", "a path that does not begin with /")
PATH_NOT_NORMAL = Check("path-not-normal", "warning", "a path in a form that requests do not have once normalised")
PATH_EDGE = Check("path-edge", "note", "a path that leaves out the one at its edge")
REQUEST_PRINCIPAL_FORM = Check("request-principal-form", "error", "a request principal without issuer")
CLAIM_TYPE = Check("claim-type", "note", "a claim compared with what looks like a number or a boolean")
EXCLUDES_ALL = Check("excludes-all", "error", "a not-field that leaves no request")
ANY_VALUE = Check("any-value", "note", "a field that any request meets")
HEADER_PRESENCE = Check("header-presence", "note", "an ALLOW rule for whoever sends a header")
ANY_ADDRESS = Check("any-address", "warning", "an ALLOW rule for all addresses")
FORWARDED_ADDRESS = Check("forwarded-address", "note", "an ALLOW rule by the forwarded address")
GATEWAY_ADDRESS = Check("gateway-address", "note", "ipBlocks at a gateway")
PORT_ZERO = Check("port-zero", "error", "port 0")
CHECKS = (
    *(SPIFFE_SCHEME, PRINCIPAL_FORM, LITERAL_STAR, STAR_IN_TEMPLATE, HOST_WITHOUT_PORT, HOST_FORM, METHOD_CASE),
    *(PATH_WITH_QUERY, PATH_WITHOUT_SLASH, PATH_NOT_NORMAL, PATH_EDGE, REQUEST_PRINCIPAL_FORM, CLAIM_TYPE),
    *(EXCLUDES_ALL, ANY_VALUE, HEADER_PRESENCE, ANY_ADDRESS, FORWARDED_ADDRESS, GATEWAY_ADDRESS, PORT_ZERO),
    *(HOST_BITS, MAPPED),
)

_PRINCIPAL = re.compile(r"[^/]+/ns/[^/]+/sa/[^/]+")
_NEEDLESS_ESCAPE = re.compile(r"%(?:2[DdEe]|3[0-9]|4[1-9A-Fa-f]|5[0-9AaFf]|6[1-9A-Fa-f]|7[0-9AaEe])")
"""A percent sign for a letter, a digit or one of -._~, which are shown as themselves."""
_NOT_TEXTS = frozenset({"ipBlocks", "remoteIpBlocks", "destination.ip", "ports", "namespaces", "trustDomains"})
"""Fields whose values are no texts with a star at one end, or whose stars are read otherwise."""
_NO_STARS = frozenset({"serviceAccounts"})


def remarks(subject: Subject) -> Iterator[Remark]:
    """What is to be said of the values of one policy."""
    policy: AuthorizationPolicy = subject.model
    for given in of_policy(policy):
        for place, text in enumerate(given.texts):
            at = f"{given.path}[{place}]"
            for check, message in _of_text(given, text):
                yield subject.remark(check, at, message)
        yield from _of_all(subject, policy, given)


def _of_text(given: Given, text: str) -> Iterator[tuple[Check, str]]:
    if given.name not in _NOT_TEXTS | _NO_STARS and not (given.name == "paths" and "{" in text):
        yield from _star(given, text)
    named = _OF_NAME.get(given.name)
    if named is not None:
        yield from named(given, text)
    elif given.name.startswith("request.auth.claims[") and re.fullmatch(r"true|false|-?\d+(?:\.\d+)?", text):
        yield (
            CLAIM_TYPE,
            f"a token that has it as a number or a boolean never matches {shown(text)}: let the issuer write a text",
        )


def _star(given: Given, text: str) -> Iterator[tuple[Check, str]]:
    rest = text[1:] if text.startswith("*") else text[:-1] if text.endswith("*") else text
    if "*" not in rest:
        return
    instead = "write {*} for one segment or {**} for several" if given.name == "paths" else "write it at one end only"
    if given.name == "requestPrincipals" and text == "*/*":
        instead = "write '*'"
    start = "ends with" if text.startswith("*") else "begins with" if text.endswith("*") else ""
    meant = f"of what {start} that" if start else "of exactly that"
    yield LITERAL_STAR, f"the star in {shown(rest)} is a letter, so it only holds {meant}: {instead}"


def _principal(given: Given, text: str) -> Iterator[tuple[Check, str]]:
    effect = "no caller ever matches" if given.wanted else "it holds of every caller"
    if text.startswith("spiffe://"):
        yield SPIFFE_SCHEME, f"principals are compared without the scheme, so {effect}: write {shown(text[9:])}"
    elif "*" not in text and not _PRINCIPAL.fullmatch(text):
        yield (
            PRINCIPAL_FORM,
            f"{shown(text)} is no identity that Istio gives, so {effect}: "
            "write trust-domain/ns/namespace/sa/account, or serviceAccounts",
        )


def _request_principal(given: Given, text: str) -> Iterator[tuple[Check, str]]:
    if "/" not in text and "*" not in text:
        effect = "no token ever matches" if given.wanted else "it holds of every request"
        yield REQUEST_PRINCIPAL_FORM, f"{shown(text)} has no issuer, so {effect}: write issuer/subject"


def _host(given: Given, text: str) -> Iterator[tuple[Check, str]]:
    if "/" in text:
        effect = "no request ever matches" if given.wanted else "it holds of every request"
        bare = text.partition("://")[2] or text
        yield HOST_FORM, f"a host has no scheme and no path, so {effect}: write {shown(bare.partition('/')[0])}"


def _method(given: Given, text: str) -> Iterator[tuple[Check, str]]:
    if text != text.upper():
        effect = "no common method matches" if given.wanted else "it leaves out none"
        yield METHOD_CASE, f"methods are compared with their capitals, so {effect}: write {shown(text.upper())}"


def _path(given: Given, text: str) -> Iterator[tuple[Check, str]]:
    effect = "no request ever matches" if given.wanted else "it holds of every request"
    if "?" in text or "#" in text:
        bare = re.split(r"[?#]", text)[0]
        yield PATH_WITH_QUERY, f"paths are compared without their query, so {effect}: write {shown(bare)}"
        return
    if not text.startswith(("/", "*")):
        yield PATH_WITHOUT_SLASH, f"every path begins with /, so {effect}: write {shown(f'/{text}')}"
        return
    if "{" in text:
        if "*" in re.sub(r"\{\*\*?\}", "", text):
            yield STAR_IN_TEMPLATE, "in a template a bare * stands for any letters of a segment: write {*} or drop it"
        if "/{**}/" in text:
            yield (
                PATH_EDGE,
                f"{shown(text)} does not hold of {shown(text.replace('/{**}/', '/', 1))}: add that path beside it",
            )
        return
    segments = text.split("/")
    if "\\" in text or _NEEDLESS_ESCAPE.search(text) or {".", ".."} & set(segments[1:]):
        yield (
            PATH_NOT_NORMAL,
            f"requests are normalised before (dots resolved, \\ made /, %41 made A), so {effect}: "
            "write the path as it is after that",
        )


def _port(given: Given, text: str) -> Iterator[tuple[Check, str]]:
    if int(text) == 0:
        effect = "no call ever matches" if given.wanted else "it holds of every call"
        yield PORT_ZERO, f"nothing arrives at port 0, so {effect}: write the port of the container"


_OF_NAME: Mapping[str, Callable[[Given, str], Iterator[tuple[Check, str]]]] = {
    "principals": _principal,
    "requestPrincipals": _request_principal,
    "hosts": _host,
    "methods": _method,
    "paths": _path,
    "ports": _port,
    "ipBlocks": address_remarks,
    "remoteIpBlocks": address_remarks,
    "destination.ip": address_remarks,
}


def _of_all(subject: Subject, policy: AuthorizationPolicy, given: Given) -> Iterator[Remark]:
    """What the values of a field mean together."""
    allows = policy.action == "ALLOW"
    if given.name in ("hosts", "methods", "paths") and "*" in given.texts:
        if given.wanted:
            yield subject.remark(
                ANY_VALUE,
                given.path,
                f"every request meets {given.shown}: ['*'], though no connection does: leave it out",
            )
        else:
            yield subject.remark(
                EXCLUDES_ALL,
                given.path,
                f"{given.shown}: ['*'] leaves no request, so the rule never matches one: write what is to be left out",
            )
    if given.name == "hosts":
        yield from _ports_of_hosts(subject, given, allows)
    if given.name == "paths" and policy.action == "DENY" and given.wanted:
        yield from _edges(subject, given)
    if given.name.startswith("request.headers[") and allows and given.wanted and "*" in given.texts:
        yield subject.remark(
            HEADER_PRESENCE,
            given.path,
            "any caller can send the header, with any value or none: ask for an identity as well",
        )
    if given.name in ("ipBlocks", "remoteIpBlocks"):
        yield from _addresses(subject, policy, given, allows)


def _ports_of_hosts(subject: Subject, given: Given, allows: bool) -> Iterator[Remark]:
    told = [text.lower() for text in given.texts]
    beginnings = tuple(text[:-1] for text in told if text.endswith("*"))
    with_port = {text.rpartition(":")[0] for text in told if re.search(r":(?:\d+|\*)$", text)}
    for place, text in enumerate(told):
        if text.endswith("*") or "/" in text or re.search(r":\d+$", text) or text.startswith(":"):
            continue
        if text in with_port or text.startswith(beginnings):
            continue
        opens = allows != given.wanted
        done = "let in" if opens else "left out"
        instead = f"{text}:8080 (or whichever port)" if text.startswith("*") else f"{text}:*"
        yield subject.remark(
            HOST_WITHOUT_PORT,
            f"{given.path}[{place}]",
            f"hosts are compared with their port, so a request for {shown(f'{text}:8080')} is {done}: "
            f"add {shown(instead)} beside it",
            severity="warning" if opens else "note",
        )


def _edges(subject: Subject, given: Given) -> Iterator[Remark]:
    """DENY of what is below a path says nothing of the path itself."""
    exact = set(given.texts)
    beginnings = tuple(text[:-1] for text in given.texts if text.endswith("*") and "{" not in text)
    for place, text in enumerate(given.texts):
        below = next((text.removesuffix(end) for end in ("/*", "/{**}") if text.endswith(end)), "")
        if below and "{" not in below and below not in exact and not below.startswith(beginnings):
            yield subject.remark(
                PATH_EDGE,
                f"{given.path}[{place}]",
                f"{shown(text)} does not hold of {shown(below)} itself, which stays open: add that path beside it",
            )


def _addresses(subject: Subject, policy: AuthorizationPolicy, given: Given, allows: bool) -> Iterator[Remark]:
    if allows and given.wanted and _all(given.texts):
        yield subject.remark(
            ANY_ADDRESS, given.path, "every address is let in: write the networks that may call, or leave it out"
        )
    if given.name == "remoteIpBlocks" and allows and given.wanted:
        yield subject.remark(
            FORWARDED_ADDRESS,
            given.path,
            "the address is taken from X-Forwarded-For, which callers can write: "
            "set the number of trusted proxies, or ask for an identity as well",
        )
    at_gateway = policy.selector.get("istio", "").endswith("gateway") or any(
        ref.kind == "Gateway" for ref in policy.targets
    )
    if given.name == "ipBlocks" and at_gateway:
        yield subject.remark(
            GATEWAY_ADDRESS,
            given.path,
            "at a gateway it is the address of the load balancer before it, where there is one: "
            "write remoteIpBlocks for the client's own",
        )


def _all(texts: Sequence[str]) -> bool:
    return every_address(ipaddress.ip_network(text, strict=False) for text in texts)
