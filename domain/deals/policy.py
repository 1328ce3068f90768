"""What makes a pipeline whole, which forecast a stage allows, and which roles of a buying committee are covered."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from domain.accounts import BuyingRole
from domain.deals.model import ForecastCategory
from domain.kernel import Text


@dataclass(frozen=True, slots=True)
class StagePlan:
    """A stage as a pipeline is set up with it; an empty key stands for one to be made."""

    key: str
    label: Text
    is_closed: bool = False
    is_won: bool = False
    expected_days: int | None = None
    category: ForecastCategory = ForecastCategory.PIPELINE


CATEGORY_LABELS: Mapping[ForecastCategory, Text] = {
    ForecastCategory.PIPELINE: Text("管道", "pipeline"),
    ForecastCategory.BEST_CASE: Text("最好情况", "best case"),
    ForecastCategory.MOST_LIKELY: Text("最可能", "most likely"),
    ForecastCategory.COMMIT: Text("承诺", "commit"),
    ForecastCategory.CLOSED: Text("已成交", "closed"),
    ForecastCategory.OMITTED: Text("不计入", "omitted"),
}


def is_whole(stages: Collection[tuple[bool, bool]]) -> bool:
    """Whether deals can be open, won and lost in stages that are (closed, won)."""
    return {(False, False), (True, True), (True, False)} <= set(stages) and (False, True) not in stages


def category_fits(category: ForecastCategory, default: ForecastCategory, *, is_closed: bool) -> bool:
    """Whether a deal may count as a category: what is open never as closed, what is closed only as its stage says."""
    return category is default if is_closed else category is not ForecastCategory.CLOSED


NEEDED_ROLES = (
    BuyingRole.ECONOMIC_BUYER,
    BuyingRole.DECISION_MAKER,
    BuyingRole.TECHNICAL_EVALUATOR,
    BuyingRole.PURCHASING,
    BuyingRole.FINANCE,
)
"""The roles that a deal needs to have spoken to: the three parties of FEATURES P11 (purchasing, technical, finance) and who decides and pays."""


@dataclass(frozen=True, slots=True)
class CommitteeSeat:
    """One known member of a buying committee, as far as coverage is concerned."""

    role: BuyingRole
    covered: bool


@dataclass(frozen=True, slots=True)
class CommitteeCoverage:
    """Which needed roles are covered, known but not spoken to, and unknown."""

    covered: tuple[BuyingRole, ...]
    uncovered: tuple[BuyingRole, ...]
    unknown: tuple[BuyingRole, ...]

    @property
    def percent(self) -> int:
        """Covered needed roles over needed roles, 0–100, rounded half up."""
        needed = len(self.covered) + len(self.uncovered) + len(self.unknown)
        return (200 * len(self.covered) + needed) // (2 * needed) if needed else 0


def committee_coverage(seats: Iterable[CommitteeSeat]) -> CommitteeCoverage:
    """The share of needed roles that somebody has spoken to."""
    known = {seat.role for seat in seats}
    spoken = {seat.role for seat in seats if seat.covered}
    return CommitteeCoverage(
        covered=tuple(role for role in NEEDED_ROLES if role in spoken),
        uncovered=tuple(role for role in NEEDED_ROLES if role in known - spoken),
        unknown=tuple(role for role in NEEDED_ROLES if role not in known),
    )
