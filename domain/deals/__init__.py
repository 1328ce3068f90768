"""Qualified deals: pipelines of stages, opportunities that move through them, and the people who decide."""

from domain.deals.model import (
    Competitor,
    ForecastCategory,
    Influence,
    Opportunity,
    OpportunityContactRole,
    Pipeline,
    Stage,
    StageTransition,
    Stance,
)
from domain.deals.policy import NEEDED_ROLES, CommitteeCoverage, CommitteeSeat, committee_coverage
from domain.deals.service import (
    ImportedDeal,
    StagePlan,
    ensure_competitor,
    ensure_pipeline,
    imported_rows,
    move_opportunity,
    open_opportunity,
    set_contact_role,
)

__all__ = [
    "NEEDED_ROLES", "CommitteeCoverage", "CommitteeSeat", "Competitor", "ForecastCategory", "ImportedDeal", "Influence", "Opportunity", "OpportunityContactRole", "Pipeline", "Stage", "StagePlan",
    "StageTransition", "Stance", "committee_coverage", "ensure_competitor", "ensure_pipeline", "imported_rows", "move_opportunity", "open_opportunity", "set_contact_role",
]  # fmt: skip
