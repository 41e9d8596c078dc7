"""What counts as a regression: `regressions` in the settings tree, and `analyzers.latency.limits` made of it."""

from __future__ import annotations

from dataclasses import replace

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
    persist_s: int = Field(
        default=60 * LIMITS.persist_min,
        ge=120,
        le=1200,
        multiple_of=60,
        description="seconds that a rise must last, whole minutes; what goes away sooner is an anomaly",
    )
    before_calls: int = Field(
        default=LIMITS.min_calls_before, ge=10, le=1_000_000, description="calls in the hour before, at least"
    )
    after_calls: int = Field(default=LIMITS.min_calls_after, ge=10, le=1_000_000, description="calls since, at least")
    false_share: float = Field(
        default=LIMITS.alpha,
        gt=0,
        lt=1,
        description="share of false ones among what one look tells (false discovery rate)",
    )

    def limits(self) -> Limits:
        """The limits as analyzers take them."""
        return replace(
            LIMITS,
            min_ratio=self.min_ratio,
            min_ms=self.min_ms,
            tail_ratio=self.tail_ratio,
            tail_ms=self.tail_ms,
            error_share=self.error_share,
            persist_min=self.persist_s // 60,
            min_calls_before=self.before_calls,
            min_calls_after=self.after_calls,
            alpha=self.false_share,
        )
