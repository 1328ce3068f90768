"""Real data from elsewhere: the CRM of before, and knowledge under open licences."""

from api.importing.crm import import_crm
from api.importing.knowledge import import_knowledge
from api.importing.report import ImportedUser, ImportSummary, Progress, Tally, Warned

__all__ = ["ImportSummary", "ImportedUser", "Progress", "Tally", "Warned", "import_crm", "import_knowledge"]
