"""Qualified deals: pipelines of stages, opportunities that move through them, and the people who decide."""

from domain.deals.committee import (
    add_contact_role,
    remove_contact_role,
    set_contact_role,
    update_contact_role,
)
from domain.deals.model import (
    SELLERS,
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
from domain.deals.pipelines import (
    LABEL_LENGTH,
    add_stage,
    create_pipeline,
    ensure_competitor,
    ensure_pipeline,
    reorder_stages,
    retire_stage,
    stage_in_use,
    stage_to_open,
    stages_of,
    update_pipeline,
    update_stage,
)
from domain.deals.policy import (
    NEEDED_ROLES,
    CommitteeCoverage,
    CommitteeSeat,
    StagePlan,
    category_fits,
    committee_coverage,
    is_whole,
)
from domain.deals.service import (
    WRITERS,
    ImportedDeal,
    create_opportunity,
    deal_to_change,
    follow_account,
    imported_rows,
    move_opportunity,
    open_opportunity,
    update_opportunity,
)

__all__ = [
    "LABEL_LENGTH", "NEEDED_ROLES", "SELLERS", "WRITERS", "CommitteeCoverage", "CommitteeSeat", "Competitor", "ForecastCategory", "ImportedDeal", "Influence", "Opportunity",
    "OpportunityContactRole", "Pipeline", "Stage", "StagePlan", "StageTransition", "Stance", "add_contact_role", "add_stage", "category_fits", "committee_coverage",
    "create_opportunity", "create_pipeline", "deal_to_change", "ensure_competitor", "ensure_pipeline", "follow_account", "imported_rows", "is_whole", "move_opportunity", "open_opportunity",
    "remove_contact_role", "reorder_stages", "retire_stage", "set_contact_role", "stage_in_use", "stage_to_open", "stages_of", "update_contact_role", "update_opportunity",
    "update_pipeline", "update_stage",
]  # fmt: skip
