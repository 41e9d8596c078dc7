"""Istio's PeerAuthentications, RequestAuthentications and the mesh's own settings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from analyzers.policy.documents import Value, read_documents
from analyzers.policy.errors import BadPolicy
from analyzers.policy.istio.model import AuthorizationPolicy, Mesh, RequestAuthentication
from analyzers.policy.istio.peer_authentication import Mode, PeerAuthentication
from analyzers.policy.lint.istio_fields import of_policy
from analyzers.policy.lint.model import Check, Remark, Subject, found_at

WEAK_MTLS = Check("weak-mtls", "warning", "mTLS that is PERMISSIVE or DISABLE")
ROOT_SELECTOR = Check("root-selector", "error", "a PeerAuthentication with a selector in the root namespace")
SECOND_PEERS = Check("second-peers", "warning", "two PeerAuthentications of the same workloads")
TOKEN_UNCHECKED = Check("token-unchecked", "warning", "a condition on tokens where no RequestAuthentication is")
TOKEN_NOT_NEEDED = Check(
    "token-not-needed", "warning", "a RequestAuthentication beside which no policy asks for tokens"
)
PATHS_AS_SENT = Check("paths-as-sent", "warning", "a mesh that does not normalise paths")
CHECKS = (WEAK_MTLS, ROOT_SELECTOR, SECOND_PEERS, TOKEN_UNCHECKED, TOKEN_NOT_NEEDED, PATHS_AS_SENT)
_WEAK = frozenset({"PERMISSIVE", "DISABLE"})


class Modes:
    """What PeerAuthentications require, by namespace."""

    def __init__(self, documents: Sequence[PeerAuthentication], mesh: Mesh) -> None:
        self._root = mesh.root_namespace
        ordered = sorted(documents, key=lambda one: (one.created or "9", one.namespace, one.name))
        self._whole: dict[str, PeerAuthentication] = {}
        self._some: dict[str, list[PeerAuthentication]] = {}
        for one in ordered:
            if not one.selector:
                self._whole.setdefault(one.namespace, one)
            elif one.namespace != self._root:
                self._some.setdefault(one.namespace, []).append(one)

    def of(self, namespace: str) -> tuple[Mode, str]:
        """The mode of a namespace's workloads but for those that a selector names, and the document that says so."""
        for one in (self._whole.get(namespace), self._whole.get(self._root)):
            if one is not None and one.mode != "UNSET":
                return one.mode, one.id
        return "PERMISSIVE", ""

    def exceptions(self, namespace: str) -> Sequence[PeerAuthentication]:
        """Documents that say something else of some of its workloads."""
        return self._some.get(namespace, [])

    def strict_for(self, policy: AuthorizationPolicy) -> bool:
        """Whether every workload that the policy can apply to takes callers with a certificate only."""
        if policy.namespace == self._root:
            weak = [*self._whole.values(), *(one for some in self._some.values() for one in some)]
        else:
            weak = self._some.get(policy.namespace, [])
        modes = [mode for one in weak for mode in (one.mode, *one.ports.values())]
        return self.of(policy.namespace)[0] == "STRICT" and not _WEAK & set(modes)


def remarks(subjects: Sequence[Subject], mesh: Mesh) -> Iterator[Remark]:
    """What is to be said of these documents, of which others may be among `subjects`."""
    yield from _peers([one for one in subjects if isinstance(one.model, PeerAuthentication)], mesh)
    yield from _tokens(subjects, mesh)
    for subject in subjects:
        said = _setting(subject, "pathNormalization")
        if said is not None and said.is_map and (mode := said.get("normalization")) and mode.plain() == "NONE":
            yield subject.remark(
                PATHS_AS_SENT,
                "data.mesh",
                "paths are compared as they were sent, so /x/../admin passes a DENY of /admin: "
                "write normalization: MERGE_SLASHES",
            )


def _peers(subjects: Sequence[Subject], mesh: Mesh) -> Iterator[Remark]:
    first: dict[tuple[str, frozenset[tuple[str, str]]], str] = {}
    for subject in sorted(subjects, key=lambda one: (one.model.created or "9", one.model.id)):
        one: PeerAuthentication = subject.model
        if one.selector and one.namespace == mesh.root_namespace:
            yield subject.remark(
                ROOT_SELECTOR,
                "spec.selector",
                f"a selector in namespace {mesh.root_namespace} is not looked at, so it says nothing: "
                "move it to the namespace of the workloads",
            )
            continue
        key = one.namespace, frozenset(one.selector.items())
        if key in first:
            yield subject.remark(
                SECOND_PEERS,
                "",
                f"{first[key][:120]} is about the same workloads and the oldest one counts alone: keep one of both",
            )
            continue
        first[key] = one.id
        if one.mode in _WEAK:
            yield subject.remark(WEAK_MTLS, "spec.mtls.mode", _weak(one.mode, "its workloads"))
        for port, mode in one.ports.items():
            if mode in _WEAK:
                yield subject.remark(WEAK_MTLS, f"spec.portLevelMtls.{port}", _weak(mode, f"port {port}"))


def _weak(mode: str, what: str) -> str:
    return f"{mode}: {what} take callers without a certificate, who have no principal: write STRICT"


def _tokens(subjects: Sequence[Subject], mesh: Mesh) -> Iterator[Remark]:
    checking = [one for one in subjects if isinstance(one.model, RequestAuthentication) and one.model.rules]
    asking = [one for one in subjects if isinstance(one.model, AuthorizationPolicy)]
    asked: set[str] = set()
    checked = {one.model.namespace for one in checking}
    for subject in asking:
        policy: AuthorizationPolicy = subject.model
        token = next((given for given in of_policy(policy) if given.is_token), None)
        if token is None:
            continue
        asked.add(policy.namespace)
        if policy.namespace != mesh.root_namespace and not {policy.namespace, mesh.root_namespace} & checked:
            where = "in these documents" if not checked else f"in {policy.namespace[:60]} or {mesh.root_namespace[:60]}"
            yield subject.remark(
                TOKEN_UNCHECKED,
                token.path,
                f"no RequestAuthentication {where} looks at tokens, and without one no request has a principal or "
                "claims: add one for these workloads",
                severity="warning" if checked else "note",
            )
    for subject in checking:
        own: RequestAuthentication = subject.model
        if not {own.namespace, mesh.root_namespace} & asked and not (own.namespace == mesh.root_namespace and asked):
            yield subject.remark(
                TOKEN_NOT_NEEDED,
                "",
                "requests without any token still pass, as no AuthorizationPolicy asks for one: "
                "add a DENY rule with notRequestPrincipals: ['*']",
            )


def extension_providers(subjects: Sequence[Subject]) -> frozenset[str] | None:
    """Names of the mesh's providers; None where no document says them."""
    for subject in subjects:
        said = _setting(subject, "extensionProviders")
        if said is not None:
            names = [item.plain() for item in said.items()] if said.plain().__class__ is list else []
            return frozenset(str(one.get("name")) for one in names if isinstance(one, dict))
    return None


def _setting(subject: Subject, name: str) -> Value | None:
    """One of the mesh's settings, of a document that holds them."""
    if not isinstance(subject.model, Mesh):
        return None
    text = found_at(subject.root, "data.mesh")
    if text is None or not text.is_text:
        return None
    try:
        root = next(iter(read_documents(subject.document.file, text.text().encode())), None)
        return found_at(root, name)
    except BadPolicy:
        return None
