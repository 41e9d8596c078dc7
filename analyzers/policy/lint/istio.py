"""Istio's AuthorizationPolicies: where they apply, what they do as a whole, and what rules let in by mistake.

Single values are looked at in istio_values.py, PeerAuthentications and tokens in istio_peers.py, what ztunnels make of
all this in istio_ztunnel.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from analyzers.policy.formula import FALSE, TRUE
from analyzers.policy.istio.compile import rule_formula
from analyzers.policy.istio.model import GATEWAY, AuthorizationPolicy, Mesh, Rule
from analyzers.policy.istio.read import DRY_RUN
from analyzers.policy.lint import istio_peers, istio_values, istio_ztunnel
from analyzers.policy.lint.istio_fields import IDENTITIES, Given, may_meet, of_rule
from analyzers.policy.lint.istio_peers import Modes
from analyzers.policy.lint.model import Check, Remark, Subject, found_at, shown

ALLOW_NOBODY = Check("allow-nobody", "note", "an ALLOW policy of some workloads that has no rules")
ALLOW_EVERYBODY = Check("allow-everybody", "warning", "an ALLOW rule without any condition")
DENY_EVERYBODY = Check("deny-everybody", "warning", "a DENY rule without any condition")
ANY_PEER = Check("any-peer", "warning", "an ALLOW rule for everybody with a certificate")
DENY_ALL_TCP = Check("deny-all-tcp", "warning", "a DENY or CUSTOM rule of nothing but HTTP fields")
DENY_MORE_TCP = Check("deny-more-tcp", "note", "a DENY or CUSTOM rule with HTTP fields and others")
ALLOW_NO_TCP = Check("allow-no-tcp", "note", "an ALLOW policy whose rules all have HTTP fields")
PLAINTEXT_ADMITTED = Check("plaintext-admitted", "warning", "an ALLOW rule that only says who the caller is not")
NO_TOKEN_ADMITTED = Check("tokenless-admitted", "warning", "an ALLOW rule that only says whose token it is not")
NO_HEADER_ADMITTED = Check("headerless-admitted", "note", "an ALLOW rule that only says what a header is not")
DECIDES_NOTHING = Check("decides-nothing", "note", "a policy with action AUDIT, or under dry-run")
DRY_RUN_VALUE = Check("dry-run-value", "warning", "a value of the dry-run annotation that is no boolean")
DRY_RUN_CUSTOM = Check("dry-run-custom", "warning", "a CUSTOM policy under dry-run")
TARGET_IGNORED = Check("target-ignored", "error", "a targetRef that no proxy looks at")
WAYPOINT_ONLY = Check("waypoint-only", "note", "a policy for a waypoint")
GATEWAY_SELECTOR = Check("gateway-selector", "warning", "a selector of a gateway's pods")
ALL_NAMESPACES = Check("all-namespaces", "note", "a selector in the root namespace")
ROOT_ACCOUNT = Check("root-account", "warning", "a service account without namespace, in the root namespace")
UNKNOWN_PROVIDER = Check("unknown-provider", "error", "a CUSTOM policy whose provider the mesh does not have")
TWO_PROVIDERS = Check("two-providers", "warning", "CUSTOM policies of one workload with different providers")
CHECKS = (
    *(ALLOW_NOBODY, ALLOW_EVERYBODY, DENY_EVERYBODY, ANY_PEER, DENY_ALL_TCP, DENY_MORE_TCP, ALLOW_NO_TCP),
    *(PLAINTEXT_ADMITTED, NO_TOKEN_ADMITTED, NO_HEADER_ADMITTED, DECIDES_NOTHING, DRY_RUN_VALUE, DRY_RUN_CUSTOM),
    *(TARGET_IGNORED, WAYPOINT_ONLY, GATEWAY_SELECTOR, ALL_NAMESPACES, ROOT_ACCOUNT, UNKNOWN_PROVIDER, TWO_PROVIDERS),
    *istio_values.CHECKS,
    *istio_peers.CHECKS,
    *istio_ztunnel.CHECKS,
)

MAX_CUSTOM = 100
"""CUSTOM policies that each one is held against."""
_BOOLEANS = ("1", "t", "T", "true", "TRUE", "True", "0", "f", "F", "false", "FALSE", "False")
_GROUPS = {"Gateway": "gateway.networking.k8s.io", "GatewayClass": "gateway.networking.k8s.io"}
_WAYPOINT_CLASS = "istio-waypoint"
_WAYPOINT_KINDS = frozenset({"Service", "ServiceEntry", "GatewayClass"})


def remarks(subjects: Sequence[Subject], ambient: bool | None = None) -> Iterator[Remark]:
    """What is to be said of Istio's documents, of which others may be among `subjects`.

    Args:
        ambient: whether ztunnels judge too; None = where a policy is for a waypoint, they do.
    """
    mesh = next((one.model for one in subjects if isinstance(one.model, Mesh)), Mesh())
    policies = [one for one in subjects if isinstance(one.model, AuthorizationPolicy)]
    modes = Modes([one.model for one in subjects if isinstance(one.model, istio_peers.PeerAuthentication)], mesh)
    if ambient is None:
        ambient = any(ref.kind in _WAYPOINT_KINDS for one in policies for ref in one.model.targets)
    for subject in policies:
        yield from _whole(subject)
        yield from _where(subject, mesh)
        for number, rule in enumerate(subject.model.rules):
            yield from _rule(subject, number, rule, mesh)
            yield from _admitted(subject, number, rule, modes)
        yield from _root_accounts(subject, mesh)
        yield from istio_values.remarks(subject)
        if ambient:
            yield from istio_ztunnel.remarks(subject, mesh)
    yield from _providers(subjects, policies, mesh)
    yield from istio_peers.remarks(subjects, mesh)


def _whole(subject: Subject) -> Iterator[Remark]:
    policy: AuthorizationPolicy = subject.model
    annotation = f"metadata.annotations.{DRY_RUN}"
    raw = subject.root
    notes = found_at(raw, "metadata.annotations") if raw else None
    said = notes.get(DRY_RUN) if notes is not None and notes.is_map else None
    if said is not None and said.is_text and said.text() not in _BOOLEANS:
        yield subject.remark(
            DRY_RUN_VALUE,
            "metadata.annotations",
            f"{DRY_RUN}: {shown(said.text())} is no boolean, so the policy is enforced: write 'true' or leave it out",
        )
    if policy.dry_run and policy.action == "CUSTOM":
        yield subject.remark(
            DRY_RUN_CUSTOM, annotation, "the provider is asked although the policy is under dry-run: remove the policy"
        )
    elif policy.dry_run:
        more = ", and it does not count as an ALLOW policy" if policy.action == "ALLOW" else ""
        yield subject.remark(
            DECIDES_NOTHING,
            annotation,
            f"under dry-run it refuses nobody{more}: remove the annotation when it is to hold",
        )
    elif policy.action == "AUDIT":
        yield subject.remark(
            DECIDES_NOTHING, "spec.action", "AUDIT marks calls for the log and refuses nobody: write DENY to refuse"
        )
    if policy.action != "ALLOW" or policy.dry_run:
        return
    if not policy.rules and policy.selector:
        yield subject.remark(
            ALLOW_NOBODY, "spec", "without rules nobody is let in to what it selects: write rules: [{}] to let all in"
        )
    http_only = [any(given.is_http_only for given in of_rule(rule, 0)) for rule in policy.rules]
    if policy.rules and all(http_only):
        yield subject.remark(
            ALLOW_NO_TCP,
            "spec.rules",
            "every rule has HTTP fields, and TCP ports drop such rules, so they let nobody in: "
            "write a rule with ports and principals for them",
        )


def _where(subject: Subject, mesh: Mesh) -> Iterator[Remark]:
    policy: AuthorizationPolicy = subject.model
    at_waypoint = False
    for number, ref in enumerate(policy.targets):
        field = f"spec.targetRefs[{number}]"
        at_waypoint |= ref.kind in _WAYPOINT_KINDS
        if ref.kind not in ("Gateway", *_WAYPOINT_KINDS):
            yield subject.remark(
                TARGET_IGNORED,
                field,
                f"no proxy looks at policies of a {ref.kind[:60]}, so this one never applies: "
                "write a Gateway, Service or ServiceEntry, or a selector",
            )
        elif ref.kind == "GatewayClass" and (ref.name != _WAYPOINT_CLASS or policy.namespace != mesh.root_namespace):
            yield subject.remark(
                TARGET_IGNORED,
                field,
                f"of classes only {_WAYPOINT_CLASS} counts, and only in namespace {mesh.root_namespace}, so this one "
                "never applies: name the Gateway",
            )
        elif _GROUPS.get(ref.kind, ref.group) != ref.group:
            yield subject.remark(
                TARGET_IGNORED,
                field,
                f"{ref.kind} of group {shown(ref.group)} does not exist, so this never applies: "
                f"write group: {_GROUPS[ref.kind]}",
            )
    if at_waypoint:
        yield subject.remark(
            WAYPOINT_ONLY,
            "spec.targetRefs",
            "only the waypoint looks at it, so calls that reach pods past the waypoint are not judged: "
            "add a policy with a selector that lets in the waypoint's identity only",
        )
    if GATEWAY in policy.selector:
        yield subject.remark(
            GATEWAY_SELECTOR,
            "spec.selector",
            "gateways look at selectors only while a feature flag says so, and waypoints never do: "
            "write targetRefs with the Gateway's name",
        )
    elif policy.selector and policy.namespace == mesh.root_namespace and "istio" not in policy.selector:
        yield subject.remark(
            ALL_NAMESPACES,
            "spec.selector",
            f"in namespace {mesh.root_namespace} it applies to pods with these labels in all namespaces: "
            "move it to the namespace that is meant",
        )


def _rule(subject: Subject, number: int, rule: Rule, mesh: Mesh) -> Iterator[Remark]:
    policy: AuthorizationPolicy = subject.model
    if policy.action == "AUDIT":
        return
    at = f"spec.rules[{number}]"
    given = list(of_rule(rule, number))
    if not given:
        if policy.action == "ALLOW":
            yield subject.remark(
                ALLOW_EVERYBODY,
                at,
                "everybody is let in, also callers without a certificate: write from with the principals that may call",
            )
        else:
            done = "denied" if policy.action == "DENY" else "put before the provider"
            yield subject.remark(
                DENY_EVERYBODY, at, f"every call is {done}: write from, to or when if some of them are meant"
            )
        return
    if policy.action == "ALLOW":
        if all(one.wanted and one.name in IDENTITIES and "*" in one.texts for one in given):
            yield subject.remark(
                ANY_PEER,
                given[0].path,
                "every caller with a certificate is let in, whoever it is: write the principals that may call",
            )
        return
    http = [one for one in given if one.is_http_only]
    if http:
        tcp = rule_formula(rule, policy, mesh, "tcp")
        done = "denies" if policy.action == "DENY" else "asks the provider about"
        if tcp == TRUE:
            yield subject.remark(
                DENY_ALL_TCP,
                http[0].path,
                f"TCP ports have no {_names(http)} and leave them out, so the rule {done} every connection there: "
                "add ports to the operation",
            )
        elif tcp != FALSE and not any(one.name == "ports" for one in given):
            yield subject.remark(
                DENY_MORE_TCP,
                http[0].path,
                f"TCP ports have no {_names(http)} and leave them out, so the rule {done} more there than it says: "
                "add ports to the operation",
            )


def _names(given: Sequence[Given]) -> str:
    return ", ".join(dict.fromkeys(one.name[:60] for one in given))


def _admitted(subject: Subject, number: int, rule: Rule, modes: Modes) -> Iterator[Remark]:
    """An ALLOW rule's negatives hold of what is not there. Each source stands for itself, `when` for all of them."""
    policy: AuthorizationPolicy = subject.model
    if policy.action != "ALLOW" or policy.dry_run:
        return
    given = list(of_rule(rule, number))
    shared = [one for one in given if ".when[" in one.path]
    sources = [
        [one for one in given if one.path.startswith(f"spec.rules[{number}].from[{place}].")]
        for place in range(len(rule.sources))
    ]
    told: set[str] = set()
    for source in sources or [[]]:
        whole = [*source, *shared]
        for one in whole:
            if one.wanted or one.path in told:
                continue
            told.add(one.path)
            if one.name in IDENTITIES:
                if modes.strict_for(policy) or any(each.wanted and each.name in IDENTITIES for each in whole):
                    continue
                yield subject.remark(
                    PLAINTEXT_ADMITTED,
                    one.path,
                    f"{one.shown} also holds of callers without a certificate, so they are let in: "
                    "add principals: ['*'] beside it, or require mTLS (PeerAuthentication STRICT)",
                )
            elif one.is_token and not any(each.wanted and each.is_token for each in whole):
                yield subject.remark(
                    NO_TOKEN_ADMITTED,
                    one.path,
                    f"{one.shown} also holds of requests without a token, so they are let in: "
                    "add requestPrincipals: ['*'] beside it",
                )
            elif one.name.startswith("request.headers") and not any(
                each.wanted and each.name == one.name for each in whole
            ):
                yield subject.remark(
                    NO_HEADER_ADMITTED,
                    one.path,
                    "it also holds of requests without the header, so they are let in: add values: ['*'] beside it",
                )


def _providers(subjects: Sequence[Subject], policies: Sequence[Subject], mesh: Mesh) -> Iterator[Remark]:
    custom = [one for one in policies if one.model.action == "CUSTOM"]
    known = istio_peers.extension_providers(subjects)
    for at, subject in enumerate(custom):
        policy: AuthorizationPolicy = subject.model
        if known is not None and policy.provider not in known:
            yield subject.remark(
                UNKNOWN_PROVIDER,
                "spec.provider.name",
                f"the mesh has no provider {shown(policy.provider)}, so whatever matches is denied: "
                "write one of meshConfig.extensionProviders",
            )
        for earlier in custom[: min(at, MAX_CUSTOM)]:
            if earlier.model.provider != policy.provider and may_meet(earlier.model, policy, mesh):
                yield subject.remark(
                    TWO_PROVIDERS,
                    "spec.provider.name",
                    f"{earlier.model.id[:120]} names another provider for the same workloads, "
                    "which denies what matches unless a feature flag is on: name one provider",
                )
                break


def _root_accounts(subject: Subject, mesh: Mesh) -> Iterator[Remark]:
    """Short names of service accounts, which are the policy's own namespace's."""
    policy: AuthorizationPolicy = subject.model
    if policy.namespace != mesh.root_namespace:
        return
    for number, rule in enumerate(policy.rules):
        for given in of_rule(rule, number):
            for place, text in enumerate(given.texts):
                if given.name == "serviceAccounts" and "/" not in text:
                    yield subject.remark(
                        ROOT_ACCOUNT,
                        f"{given.path}[{place}]",
                        f"{shown(text)} is the account of namespace {mesh.root_namespace}: write namespace/{text[:60]}",
                    )
