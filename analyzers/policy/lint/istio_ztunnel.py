"""What ztunnels make of Istio's AuthorizationPolicies: they know addresses, ports and certificates, nothing else."""

from __future__ import annotations

from collections.abc import Iterator

from analyzers.policy.istio.model import AuthorizationPolicy, Mesh
from analyzers.policy.istio.ztunnel import program
from analyzers.policy.lint.istio_fields import of_policy, of_rule
from analyzers.policy.lint.model import Check, Remark, Subject, shown
from analyzers.policy.workloads import Workload

ZTUNNEL_REFUSES = Check("ztunnel-refuses", "warning", "a policy of an action that ztunnels do not know")
ZTUNNEL_DROPS = Check("ztunnel-drops", "warning", "a rule of which a ztunnel keeps nothing")
ZTUNNEL_STAR = Check("ztunnel-star", "warning", "a * inside of a namespace, where ztunnels read it as a letter")
ZTUNNEL_WIDENS = Check("ztunnel-widens", "warning", "a DENY rule of which a ztunnel keeps a part")
CHECKS = (ZTUNNEL_REFUSES, ZTUNNEL_DROPS, ZTUNNEL_WIDENS, ZTUNNEL_STAR)
_KNOWN = frozenset({"principals", "namespaces", "serviceAccounts", "ipBlocks", "ports"})
"""Fields of sources and operations that ztunnels compare."""


def remarks(subject: Subject, mesh: Mesh) -> Iterator[Remark]:
    """What is to be said of one policy where ztunnels judge; those of waypoints never reach them."""
    policy: AuthorizationPolicy = subject.model
    if policy.targets or policy.dry_run:
        return
    if policy.action in ("CUSTOM", "AUDIT"):
        yield subject.remark(
            ZTUNNEL_REFUSES,
            "spec.action",
            f"ztunnels do not know {policy.action} and leave the policy out: attach it to a waypoint with targetRefs",
        )
        return
    kept = {step.rule for step in program([policy], _selected(policy), mesh).steps if step.policy == policy.id}
    for number, rule in enumerate(policy.rules):
        clauses = [given for given in of_rule(rule, number) if ".when[" not in given.path]
        left_out = next((given for given in clauses if given.name not in _KNOWN), None)
        if str(number) not in kept:
            done = "lets nobody in" if policy.action == "ALLOW" else "refuses nobody"
            yield subject.remark(
                ZTUNNEL_DROPS,
                f"spec.rules[{number}]",
                f"a ztunnel knows addresses, ports and principals only and drops the rule, which {done} there: "
                "attach it to a waypoint with targetRefs",
            )
        elif policy.action == "DENY" and left_out is not None:
            yield subject.remark(
                ZTUNNEL_WIDENS,
                left_out.path,
                f"a ztunnel leaves {left_out.shown} out and refuses whatever meets the rest: "
                "attach the policy to a waypoint with targetRefs",
            )
    for given in of_policy(policy):
        for place, text in enumerate(given.texts):
            if given.name == "namespaces" and "*" in text[1:-1]:
                yield subject.remark(
                    ZTUNNEL_STAR,
                    f"{given.path}[{place}]",
                    f"a ztunnel reads the inner star of {shown(text)} as a letter: write it at one end only",
                )


def _selected(policy: AuthorizationPolicy) -> Workload:
    """A workload that the policy applies to."""
    return Workload(policy.namespace, labels=(policy.selector,))
