"""All checks over one set of policies.

PolicySet (and its files, for the lines of fields) ──► a module for each engine, shadows, coverage ──► remarks
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from analyzers.policy.lint import consul, istio, kubernetes, linkerd, shadows, smi
from analyzers.policy.lint import coverage as covered
from analyzers.policy.lint.coverage import Coverage
from analyzers.policy.lint.model import SEVERITIES, Check, Remark, Severity, subjects
from analyzers.policy.policy_set import PolicySet
from storage.engine import Engine

CHECKS: Sequence[Check] = (
    *istio.CHECKS,
    *shadows.CHECKS,
    *linkerd.CHECKS,
    *consul.CHECKS,
    *smi.CHECKS,
    *kubernetes.CHECKS,
    *covered.CHECKS,
)
"""Everything that is looked for. Checks of different engines may share an id where they find the same."""


@dataclass(frozen=True, slots=True)
class Lint:
    """What the checks found.

    Attributes:
        documents: how many were looked at.
        remarks: the worst first, then by file and line.
        coverage: None where no store was asked.
    """

    documents: int
    remarks: Sequence[Remark]
    coverage: Coverage | None = None

    def count(self, severity: Severity) -> int:
        """Remarks of this severity."""
        return sum(one.severity == severity for one in self.remarks)

    def has(self, severity: Severity) -> bool:
        """Whether there is a remark of this severity, or of a worse one."""
        worse = SEVERITIES[: SEVERITIES.index(severity) + 1]
        return any(one.severity in worse for one in self.remarks)

    def to_document(self) -> dict[str, Any]:
        """The document of `policy lint --json`, without what was skipped."""
        return {
            "documents": self.documents,
            **{f"{severity}s": self.count(severity) for severity in SEVERITIES},
            "remarks": [one.to_document() for one in self.remarks],
            "coverage": self.coverage.to_document() if self.coverage else None,
        }


def lint(
    policies: PolicySet,
    engine: Engine | None = None,
    contents: Mapping[str, bytes] | None = None,
    ambient: bool | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> Lint:
    """Look at policies as they are written; with an engine, also at what they leave out.

    Args:
        policies: of all engines.
        engine: a store with an inventory and calls; None = only the documents count.
        contents: the policies' files by name; without one, fields of its documents have their document's line.
        ambient: whether Istio's ztunnels judge too; None = where a policy is for a waypoint, they do.
        since, until: of the calls that count for the coverage; None = all.

    Raises:
        analyzers.policy.errors.BadPolicy: a file that the policies cannot come from.
        storage.errors.StorageError: the engine cannot answer.
    """
    looked_at = subjects(policies.documents, contents or {})
    found = [*istio.remarks(looked_at, ambient), *shadows.remarks(looked_at)]
    for one in (linkerd, consul, smi, kubernetes):
        found.extend(one.remarks(looked_at))
    told = covered.coverage(looked_at, engine, since, until) if engine else None
    if told:
        found.extend(told.remarks)
    order = sorted(found, key=lambda one: (SEVERITIES.index(one.severity), one.file, one.line, one.field, one.check))
    return Lint(len(policies.documents), order, told)
