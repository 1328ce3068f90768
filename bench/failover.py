"""What is lost when parts of an installation are killed: two servers and two workers on one PostgreSQL, under load.

Writes, drafts, timers and live updates go on while one server, one worker with jobs in its hands and the database are killed by
SIGKILL. Exits with 1 where a write, a timer or a change was lost, made twice or heard too late, or the ledger is not sound.
"""

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from bench.listeners import Listener
from bench.load import Connection, Home, Server, Worker
from bench.peer import free_port
from bench.postgres import Cluster, cluster

SECONDS, TIMERS, WRITERS, DRAFTERS, LISTENERS = 90, 200, 6, 2, 2
"""Of the load; how many timers fall due together; clients that write and that ask for drafts; listeners at each server."""
REMINDER_SECONDS, TAKEN_OVER_SECONDS, HEARD_SECONDS, QUIET_SECONDS = 30.0, 30.0, 5.0, 120.0
"""When a timer fires; how late it may, and what a dead worker had begun; how late half of all changes may be heard; how long everything may take to settle."""
PAUSE_SECONDS, OUTAGE_SECONDS = 0.05, 2.0
SELLER, MANAGER = "lei.zhang@example.com", "min.wang@example.com"
LOG = "mutation($i: LogActivityInput!) { logActivity(input: $i) { activity { id } errors { code message } } }"
CAPTURE = "mutation($i: CaptureLeadInput!) { captureLead(input: $i) { lead { id } errors { code message } } }"
BRIEF = "mutation($i: DraftVisitBriefInput!) { draftVisitBrief(input: $i) { generation { id disposition } errors { code message } } }"
ACCOUNT = "{ accounts(first: 1) { edges { node { id } } } }"

log = Console(stderr=True)
Step = Callable[[str], None]


@dataclass
class Client:
    """Somebody who sends each request until it is answered, to the other server where one does not answer."""

    ports: list[int]
    token: str
    at: int
    refused: list[str] = field(default_factory=list)
    waited: float = 0.0

    async def ask(self, document: str, root: str, given: dict[str, Any]) -> dict[str, Any]:
        """The payload of the first answer; the same input again, key and all, after whatever is none.

        Raises RuntimeError for an input that is not taken, or when nobody answers.
        """
        began = time.monotonic()
        while time.monotonic() - began < QUIET_SECONDS:
            connection = Connection(self.ports[self.at % len(self.ports)], self.token)
            try:
                async with asyncio.timeout(20):
                    status, answer = await connection.ask(document, i=given)
            except (OSError, TimeoutError):
                self.at += 1
                await asyncio.sleep(PAUSE_SECONDS)
                continue
            finally:
                connection.close()
            payload = (answer.get("data") or {}).get(root)
            if status == 200 and payload is not None:
                codes = {error["code"] for error in payload["errors"]}
                if codes - {"UNAVAILABLE"}:
                    raise RuntimeError(str(payload["errors"])[:300])
                if not codes:
                    self.waited = max(self.waited, time.monotonic() - began)
                    return dict(payload)
            self.refused.append(f"{status} {answer}"[:200])
            self.at += 1
            await asyncio.sleep(PAUSE_SECONDS)
        raise RuntimeError(f"nobody answers: {self.refused[-1:]}")


@dataclass
class Load:
    """What was asked for and acknowledged: ids by key, and when each was."""

    activities: dict[str, str] = field(default_factory=dict)
    leads: dict[str, str] = field(default_factory=dict)
    drafts: dict[str, tuple[str, str]] = field(default_factory=dict)
    answered: dict[str, float] = field(default_factory=dict)
    clients: list[Client] = field(default_factory=list)

    async def write(self, client: Client, name: str, account: str, until: float) -> None:
        """Log activities and, every third time, capture a lead."""
        number = 0
        while time.monotonic() < until:
            number += 1
            key = f"切换-{name}-{number}"
            if number % 3:
                given = {"relatedToId": account, "kind": "CALL", "subject": f"回访 {key}", "clientKey": key}
                self.activities[key] = (await client.ask(LOG, "logActivity", given))["activity"]["id"]
            else:
                await self.capture(client, key)

    async def capture(self, client: Client, key: str) -> None:
        """Have a lead come in, which a timer waits for and every listener hears of."""
        given = {"source": "切换", "externalId": key, "name": f"线索 {key}"}
        found = (await client.ask(CAPTURE, "captureLead", given))["lead"]["id"]
        self.leads[key], self.answered[found] = found, time.monotonic()

    async def draft(self, client: Client, name: str, account: str, until: float) -> None:
        """Ask for visit briefs; one whose server died while it wrote is answered as it was left."""
        number = 0
        while time.monotonic() < until:
            number += 1
            given = {"accountId": account, "purpose": "交期与价格", "clientKey": f"简报-{name}-{number}"}
            found = (await client.ask(BRIEF, "draftVisitBrief", given))["generation"]
            self.drafts[given["clientKey"]] = (found["id"], found["disposition"])


@dataclass
class Installation:
    """Two servers, two workers and their database."""

    database: Cluster
    home: Home
    servers: list[Server]
    workers: list[Worker]

    @property
    def ports(self) -> list[int]:
        """Where the servers answer."""
        return [server.port for server in self.servers]

    async def start(self) -> None:
        """Start all, and wait until the servers answer."""
        for server in self.servers:
            server.start()
        for worker in self.workers:
            worker.start()
        for server in self.servers:
            await server.ready()

    def stop(self) -> None:
        """End all by SIGTERM."""
        for server in self.servers:
            server.stop()
        for worker in self.workers:
            worker.stop()


@dataclass
class Finding:
    """What one run found."""

    load: Load
    listeners: list[Listener]
    in_hand: int = 0
    taken_over_seconds: float = 0.0
    server_ready_seconds: float = 0.0
    database_back_seconds: float = 0.0
    counts: dict[str, int] = field(default_factory=dict)
    late_seconds: list[float] = field(default_factory=list)
    sound: bool = False
    wrong: list[str] = field(default_factory=list)


async def run(place: Installation, seconds: float, step: Step) -> Finding:
    """The load, and the kills among it; then everything that was begun comes to its end."""
    await place.start()
    token, manager = place.home.must("token", SELLER), place.home.must("token", MANAGER)
    first = Connection(place.ports[0], token)
    account = (await first.ask(ACCOUNT))[1]["data"]["accounts"]["edges"][0]["node"]["id"]
    first.close()
    load, until = Load(), time.monotonic() + seconds
    listeners = [Listener(f"{name}{number}", port, manager) for name, port in zip("AB", place.ports, strict=True) for number in range(LISTENERS)]  # fmt: skip
    finding = Finding(load, listeners)
    hearing = [asyncio.create_task(listener.run()) for listener in listeners]
    await asyncio.gather(*(listener.listening.wait() for listener in listeners))
    load.clients = [Client(place.ports, token, number) for number in range(WRITERS + DRAFTERS + 1)]
    work: list[Awaitable[None]] = [
        load.write(load.clients[number], str(number), account, until) for number in range(WRITERS)
    ]
    work += [load.draft(load.clients[WRITERS + number], str(number), account, until) for number in range(DRAFTERS)]
    step("load")
    await asyncio.gather(*work, kills(place, finding, load.clients[-1], step))
    step("settling")
    await settled(place, finding)
    for task in hearing:
        task.cancel()
    await asyncio.gather(*hearing, return_exceptions=True)
    return finding


async def kills(place: Installation, finding: Finding, client: Client, step: Step) -> None:
    """A server, a worker with jobs in its hands, the database; each begins anew, as who runs an installation has it begin."""
    await asyncio.sleep(8)
    step("SIGKILL: server A")
    place.servers[0].kill()
    await asyncio.sleep(OUTAGE_SECONDS)
    place.servers[0].start()
    finding.server_ready_seconds = await place.servers[0].ready()
    step("timers that fall due together")
    began = time.monotonic()
    await asyncio.gather(*(_several(finding.load, client, part) for part in range(8)))
    await asyncio.sleep(REMINDER_SECONDS - (time.monotonic() - began) - 1)
    finding.in_hand = await _kill_with_jobs(place, began + REMINDER_SECONDS + QUIET_SECONDS)
    step(f"SIGKILL: worker 1, with {finding.in_hand} jobs in its hands")
    killed = time.monotonic()
    while await _left(place):
        if time.monotonic() - killed > QUIET_SECONDS:
            break
        await asyncio.sleep(0.2)
    finding.taken_over_seconds = time.monotonic() - killed
    place.workers[0].start()
    await asyncio.sleep(5)
    step("SIGKILL: PostgreSQL")
    place.database.kill()
    await asyncio.sleep(OUTAGE_SECONDS)
    began = time.monotonic()
    await asyncio.to_thread(place.database.start)
    await place.servers[1].ready()
    finding.database_back_seconds = time.monotonic() - began
    step("load")


async def _several(load: Load, client: Client, part: int) -> None:
    own = Client(client.ports, client.token, part)
    load.clients.append(own)
    for number in range(part, TIMERS, 8):
        await load.capture(own, f"到期-{number}")


async def _kill_with_jobs(place: Installation, until: float) -> int:
    """Kill the first worker in a moment in which it has begun jobs; how many it leaves."""
    worker = place.workers[0]
    while time.monotonic() < until:
        # A process that stands still finishes nothing between the look and the kill.
        worker.pause()
        if await _left(place):
            worker.kill()
            return await _left(place)
        worker.go_on()
        await asyncio.sleep(0.05)
    worker.kill()
    return 0


async def _left(place: Installation) -> int:
    """How many jobs the first worker has begun and not ended."""
    rows = await place.database.rows(
        place.home.url, "SELECT count(*) FROM jobs.workflow_status WHERE status = 'PENDING' AND executor_id LIKE $1",
        f"%-{place.workers[0].pid}-%",
    )  # fmt: skip
    return int(rows[0][0])


async def settled(place: Installation, finding: Finding) -> None:
    """Wait until every timer has fired, every event was handed over and every listener knows every lead."""
    until = time.monotonic() + QUIET_SECONDS
    while time.monotonic() < until:
        open_timers, waiting = (await place.database.rows(place.home.url, OPEN))[0]
        deaf = sum(len(listener.missing(finding.load.leads.values())) for listener in finding.listeners)
        if not open_timers and not waiting and not deaf:
            return
        await asyncio.sleep(1)


OPEN = """SELECT (SELECT count(*) FROM leads WHERE source = '切换' AND reminded_at IS NULL),
    (SELECT count(*) FROM outbox_events WHERE handled_at IS NULL)"""
COUNTS = {
    "activities": "SELECT count(*) FROM activities WHERE client_key LIKE '切换-%'",
    "activities, keys": "SELECT count(DISTINCT client_key) FROM activities WHERE client_key LIKE '切换-%'",
    "activities, ledger": """SELECT count(*) FROM audit_events JOIN activities ON activities.id = audit_events.subject_id
        WHERE action = 'activity.logged' AND client_key LIKE '切换-%'""",
    "leads": "SELECT count(*) FROM leads WHERE source = '切换'",
    "leads, keys": "SELECT count(DISTINCT external_id) FROM leads WHERE source = '切换'",
    "leads, ledger": """SELECT count(*) FROM audit_events JOIN leads ON leads.id = audit_events.subject_id
        WHERE action = 'lead.captured' AND source = '切换'""",
    "timers, fired": "SELECT count(*) FROM leads WHERE source = '切换' AND reminded_at IS NOT NULL",
    "timers, ledger": """SELECT count(*) FROM audit_events JOIN leads ON leads.id = audit_events.subject_id
        WHERE action = 'lead.reminded' AND source = '切换'""",
    "jobs, ended otherwise than done": """SELECT count(*) FROM jobs.workflow_status
        WHERE status NOT IN ('SUCCESS', 'DELAYED', 'ENQUEUED', 'PENDING')""",
    "drafts": "SELECT count(*) FROM generations WHERE client_key LIKE '简报-%'",
    "drafts, keys": "SELECT count(DISTINCT client_key) FROM generations WHERE client_key LIKE '简报-%'",
    "drafts, left open": "SELECT count(*) FROM generations WHERE client_key LIKE '简报-%' AND disposition = 'REQUESTED'",
    "drafts, ledger": """SELECT count(DISTINCT generations.id) FROM audit_events JOIN generations ON generations.id = audit_events.subject_id
        WHERE client_key LIKE '简报-%' AND action = 'generation.requested'""",
}
LATE = """SELECT extract(epoch FROM reminded_at - captured_at) - $1 FROM leads WHERE source = '切换' AND reminded_at IS NOT NULL"""


def _miscounted(load: Load, counts: dict[str, int]) -> list[str]:
    """What was acknowledged and is not there, or more than once."""
    wrong = []
    for name, count in (("activities", len(load.activities)), ("leads", len(load.leads)), ("drafts", len(load.drafts))):
        found = [counts[name], counts[f"{name}, keys"], counts[f"{name}, ledger"]]
        if found != [count] * 3:
            wrong.append(f"{name}: {count} acknowledged; rows, keys and notes are {found}")
    fired = [counts["timers, fired"], counts["timers, ledger"]]
    if fired != [len(load.leads)] * 2:
        wrong.append(f"timers: {len(load.leads)} leads; timers fired and noted are {fired}")
    if counts["jobs, ended otherwise than done"]:
        wrong.append(f"jobs: {counts['jobs, ended otherwise than done']} failed")
    left = sum(disposition == "REQUESTED" for _, disposition in load.drafts.values())
    if left != counts["drafts, left open"]:
        wrong.append(f"drafts: {left} answered as left open, {counts['drafts, left open']} are")
    return wrong


async def check(place: Installation, finding: Finding) -> None:
    """Compare what was acknowledged with what is there, and have the ledger verified."""
    load = finding.load
    for name, statement in COUNTS.items():
        finding.counts[name] = (await place.database.rows(place.home.url, statement))[0][0]
    rows = await place.database.rows(place.home.url, LATE, REMINDER_SECONDS)
    finding.late_seconds = sorted(float(row[0]) for row in rows)
    finding.sound = place.home.run("audit", "verify").returncode == 0
    finding.wrong += _miscounted(load, finding.counts)
    for listener in finding.listeners:
        if missing := listener.missing(load.leads.values()):
            finding.wrong.append(f"listener {listener.name}: {len(missing)} leads never heard of nor read again")
        heard = listener.heard_late(load.answered)
        if len(heard) < len(load.leads) / 2 or statistics.median(heard) > HEARD_SECONDS:
            finding.wrong.append(f"listener {listener.name}: told of {len(heard)} leads, or late")
    if finding.in_hand == 0:
        finding.wrong.append("the worker had no jobs in its hands")
    if finding.taken_over_seconds > TAKEN_OVER_SECONDS:
        finding.wrong.append(f"the dead worker's jobs were taken over after {finding.taken_over_seconds:.1f} s")
    if finding.late_seconds[-1] > TAKEN_OVER_SECONDS:
        finding.wrong.append(f"a timer was {finding.late_seconds[-1]:.1f} s late")
    if not finding.sound:
        finding.wrong.append("the ledger is not sound")


def shown(finding: Finding) -> Table:
    """What was found, as a table."""
    load, counts, late = finding.load, finding.counts, finding.late_seconds
    table = Table("", "", title="make failover", show_header=False)
    refused = sum(len(client.refused) for client in load.clients)
    table.add_row(
        "activities: acknowledged / rows / in the ledger",
        f"{len(load.activities)} / {counts['activities']} / {counts['activities, ledger']}",
    )
    table.add_row(
        "leads: acknowledged / rows / in the ledger",
        f"{len(load.leads)} / {counts['leads']} / {counts['leads, ledger']}",
    )
    table.add_row(
        "drafts: answered / rows / in the ledger",
        f"{len(load.drafts)} / {counts['drafts']} / {counts['drafts, ledger']}",
    )
    table.add_row("drafts whose server died while it wrote", str(counts["drafts, left open"]))
    table.add_row("timers: fired / in the ledger", f"{counts['timers, fired']} / {counts['timers, ledger']}")
    table.add_row(
        "timers late, p50 / p99 / at most",
        " / ".join(f"{late[int((len(late) - 1) * share)]:.1f} s" for share in (0.5, 0.99, 1)),
    )
    table.add_row("refused meanwhile, and asked again", str(refused))
    table.add_row("longest that a client waited", f"{max(client.waited for client in load.clients):.1f} s")
    table.add_row("server A ready again", f"{finding.server_ready_seconds:.1f} s")
    table.add_row(
        "jobs in the dead worker's hands, taken over after", f"{finding.in_hand}, {finding.taken_over_seconds:.1f} s"
    )
    table.add_row("PostgreSQL up and served again", f"{finding.database_back_seconds:.1f} s")
    for listener in finding.listeners:
        heard = sorted(listener.heard_late(load.answered)) or [0.0]
        middle, high = heard[len(heard) // 2], heard[int((len(heard) - 1) * 0.99)]
        words = f"{len(heard)} live (p50 {middle * 1000:.0f}, p99 {high * 1000:.0f} ms after the answer), "
        table.add_row(
            f"listener {listener.name}", f"{words}{listener.resyncs} times read anew, {listener.cuts} times cut"
        )
    table.add_row("ledger", "sound" if finding.sound else "NOT SOUND")
    return table


def main() -> int:
    """Run it; 1 when anything was lost, done twice or too late."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=SECONDS)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="sortie-failover-") as name, Progress(console=log) as progress:
        task = progress.add_task("database and demo company", total=None)
        folder = Path(name)
        with cluster(folder / "cluster") as server:
            settings = {"SORTIE_JOBS": "apart", "SORTIE_LEAD_REMINDER_MINUTES": str(REMINDER_SECONDS / 60), "SORTIE_LEAD_ESCALATION_MINUTES": "600"}  # fmt: skip
            home = Home(folder / "home", server.url("postgres"), settings)
            home.must("migrate")
            home.must("demo")
            place = Installation(
                server, home, [Server(home, free_port()) for _ in range(2)], [Worker(home) for _ in range(2)]
            )

            def step(words: str) -> None:
                progress.update(task, description=words)
                progress.log(words)

            try:
                finding = asyncio.run(run(place, asked.seconds, step))
            finally:
                place.stop()
            asyncio.run(check(place, finding))
            if finding.wrong:
                for file in ("worker.log", "server.log"):
                    log.print(f"{file} ends:", (home.path / file).read_text()[-4_000:], markup=False)
    Console().print(shown(finding))
    for words in finding.wrong:
        log.print(f"[red]{words}[/red]")
    return 1 if finding.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
