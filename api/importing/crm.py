"""Bring the export of another CRM in: all of it or nothing, the same twice, and every oddity told."""

from pathlib import Path

from api.importing.accounts import find_accounts, load_accounts
from api.importing.contacts import load_activities, load_contacts, load_leads
from api.importing.load import Load
from api.importing.mapping import MAVEN, Mapping, load_mapping
from api.importing.records import Known, load_deals, load_products, referring
from api.importing.rejects import RejectFiles
from api.importing.report import Findings, ImportedUser, ImportSummary, Progress, Tally, no_progress
from api.importing.rows import Export, read_export
from api.importing.trial import DryRunError, rehearsed
from api.importing.users import load_users, other_names
from domain.kernel import Actor, ActorKind, Database


async def import_crm(
    database: Database,
    directory: Path,
    *,
    mapping: Path | None = None,
    dry_run: bool = False,
    progress: Progress = no_progress,
    rejects_to: Path | None = None,
) -> ImportSummary:
    """Import the CSV files of a directory by a mapping, Maven's when none is given, in one unit of work.

    Records that are here already stay as they are. Rows that cannot be taken are kept with their reasons in files in
    `rejects_to`, or in the directory itself; a dry run writes no file. Raises Invalid for what cannot be read at all, and
    Unavailable when the database is locked or full or the rejected rows cannot be kept: nothing is changed then.
    """
    plan = load_mapping(mapping or MAVEN)
    export = read_export(directory, plan, database.clock().date())
    files = RejectFiles(rejects_to or directory)
    users: list[ImportedUser] = []
    tallies: dict[str, Tally] = {}
    try:
        async with database.open_uow(Actor(ActorKind.IMPORT, display_name=plan.source)) as uow:
            load = Load(uow, plan, export, progress, tallies)
            users = await _load_all(load)
            await uow.session.flush()
            rehearsed(dry_run)
            files.prepare((sheet.file, sheet.rejected_csv() if sheet.rejects else None) for sheet in export.sheets())
    except DryRunError:
        pass
    except BaseException:
        files.discard()
        raise
    kept = files.publish()
    return _summary(plan, export, tallies, users, kept, dry_run=dry_run)


async def _load_all(load: Load) -> list[ImportedUser]:
    export = load.export
    for name, part in export.parts().items():
        load.tally(name, part.sheet.file).read = len(part.sheet.table.lines)
    if export.deals is not None:
        load.tally("orders", export.deals.sheet.file)
    await load.read_custom()
    agents, users = await load_users(load)
    others = {word: agent for word, agent in (await other_names(load, agents)).items() if word not in agents}
    known = Known(agents | others, frozenset(others))
    await load_products(load, known)
    await find_accounts(load, known)
    found = referring(load, known)
    await load_accounts(load, known, found)
    await load_contacts(load, known)
    await load_deals(load, known, found)
    await load_leads(load, known)
    await load_activities(load, known)
    for name, part in export.parts().items():
        load.tallies[name].rejected = len(part.sheet.rejects)
    return users


def _summary(
    plan: Mapping,
    export: Export,
    tallies: dict[str, Tally],
    users: list[ImportedUser],
    kept: list[Path],
    *,
    dry_run: bool,
) -> ImportSummary:
    reasons, by_kind = Findings(), {stage.text: 0 for stage in (plan.pipeline.stages if plan.pipeline else ())}
    for sheet in export.sheets():
        for line, reason in sheet.rejects:
            reasons.add(reason, f"{sheet.file}:{line.number}")
    refused = {line.number for line, _ in export.deals.sheet.rejects} if export.deals else set()
    for cells, row in export.deals.rows if export.deals else ():
        by_kind[row.stage.text] += cells.line.number not in refused
    return ImportSummary(plan.source, dry_run, tallies, by_kind, export.findings.all(), reasons.all(), users, kept)
