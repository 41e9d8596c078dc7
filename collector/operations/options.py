"""Settings of operations. The composition root puts this model into its settings tree as `operations`."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, model_validator

from collector.operations.names import MAX_TEMPLATES, MAX_VALUES
from collector.operations.rules import Rule, problem


class OperationRule(BaseModel):
    """One rule: paths of a service that fit a template are called by it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    service: str = Field(description="namespace/service, a service in any namespace, or *")
    template: str = Field(description="path with {name} for one segment and ** at its end for the rest")

    @model_validator(mode="after")
    def _sound(self) -> OperationRule:
        if wrong := problem(self.rule):
            raise ValueError(wrong)
        return self

    @property
    def rule(self) -> Rule:
        """The rule as the rest of the collector knows it."""
        return Rule(self.service, self.template)


class OperationOptions(BaseModel):
    """How many operations a service may have, and how people want them named."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_values: int = Field(
        default=MAX_VALUES,
        ge=1,
        le=10_000,
        description="distinct words in one place of a service's paths; where there are more, the place is {id}",
    )
    max_templates: int = Field(
        default=MAX_TEMPLATES, ge=20, le=10_000, description="path templates of one service, whatever its paths are"
    )
    rules: list[OperationRule] = Field(
        default_factory=list[OperationRule],
        max_length=200,
        description="templates that outrank all others, first match wins: "
        '[{service = "shop/cart", template = "/cart/{id}/items"}]',
    )
