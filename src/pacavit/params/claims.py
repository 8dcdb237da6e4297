"""``params/<scale>/claims.yaml``: when a measured number agrees with a published one."""

from __future__ import annotations

from pydantic import Field

from pacavit.params.base import Count, NonNegative, Page


class Agreement(Page):
    """Agreement on a metric that depends on data and seed."""

    tolerance: NonNegative = Field(
        description="largest difference of the mean from the published value, in points"
    )
    seeds: Count = Field(description="trainings that a verdict takes; fewer leave the number open")


class MetricAgreements(Page):
    """One agreement a kind of metric."""

    top1: Agreement
    ap: Agreement = Field(description="all box and mask APs")
    miou: Agreement


class ClaimsPage(Page):
    """Agreement on counts and on metrics."""

    last_places: NonNegative = Field(
        description="largest difference of parameters and multiply-adds, in units of the last printed place"
    )
    metrics: MetricAgreements
