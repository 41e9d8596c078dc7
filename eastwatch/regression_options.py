"""What counts as a regression: `regressions` in the settings tree, and `analyzers.latency.limits` made of it."""

from __future__ import annotations

from dataclasses import fields

from pydantic import BaseModel, ConfigDict, Field

from analyzers.latency.limits import LIMITS, Limits


class RegressionOptions(BaseModel):
    """The limits that people may want to set; the same for every edge."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    interval_s: float = Field(
        default=60.0,
        ge=0,
        le=3600,
        description="seconds between two looks under `eastwatch up`; 0 = none, `eastwatch analyze` looks",
    )
    min_ratio: float = Field(
        default=LIMITS.min_ratio,
        gt=1,
        le=100,
        description="a typical call takes so many times as long as before, at least",
    )
    min_ms: float = Field(
        default=LIMITS.min_ms, ge=0, le=60_000, description="and so many milliseconds longer, at least"
    )
    tail_ratio: float = Field(
        default=LIMITS.tail_ratio,
        gt=1,
        le=100,
        description="or the 95th or 99th percentile is so many times what it was, at least",
    )
    tail_ms: float = Field(
        default=LIMITS.tail_ms, ge=0, le=60_000, description="and so many milliseconds more, at least"
    )
    error_share: float = Field(
        default=LIMITS.error_share,
        gt=0,
        le=1,
        description="the share of failed calls grew by so much, at least (0.01 = one percentage point)",
    )
    persist_min: int = Field(
        default=LIMITS.persist_min,
        ge=2,
        le=20,
        description="minutes that a rise must last; what goes away sooner is an anomaly",
    )
    min_calls_before: int = Field(
        default=LIMITS.min_calls_before, ge=10, le=1_000_000, description="calls in the hour before, at least"
    )
    min_calls_after: int = Field(
        default=LIMITS.min_calls_after, ge=10, le=1_000_000, description="calls since, at least"
    )
    alpha: float = Field(
        default=LIMITS.alpha,
        gt=0,
        lt=1,
        description="share of false ones among what one look tells (false discovery rate)",
    )

    def limits(self) -> Limits:
        """The limits as analyzers take them."""
        known = {field.name for field in fields(Limits)}
        return Limits(**{name: value for name, value in self.model_dump().items() if name in known})
