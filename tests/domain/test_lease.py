"""The rule by which a replica may answer, tried on drawn histories of several processes, without any database."""

from concurrent.futures import Future
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from domain.kernel.replica.lease import CALM_SECONDS, LEASE_SECONDS, LONGEST_CALM_SECONDS, OVER_SECONDS, Lease

LAG_SECONDS = 0.25
PROCESSES = 3


@dataclass
class Process:
    """One that follows the replica; each of its looks takes as long as the history says."""

    pace: float
    """How fast its clock runs."""
    lease: Lease = field(default_factory=lambda: Lease(LAG_SECONDS))
    fresh: list[Any] = field(default_factory=list)
    asked: tuple[float, int, int, list[Any]] | None = None
    looked: int | None = None


class World:
    """A primary, a replica that replays when it likes, and processes that commit, ask, look and read."""

    def __init__(self) -> None:
        self.now = 0.0
        self.written = self.replayed = 0
        self.turn = 0
        self.processes = [Process(pace) for pace in (0.97, 1.0, 1.03)]
        self.commits: list[tuple[int, Any, Process, float]] = []
        """The position of each commit, what its author waits for, and since when by which clock."""
        self.read = 0

    def clock(self, process: Process) -> float:
        return self.now * process.pace

    def step(self, what: str, process: Process, amount: float) -> None:
        getattr(self, what)(process, amount)
        for _, told, author, since in self.commits:
            if not told.done() and self.clock(author) >= since + OVER_SECONDS:
                told.set_result(None)
        if self.clock(process) < process.lease.until:
            self.read += 1
            # A read that begins now finds whatever anybody was told of.
            assert self.replayed >= max((at for at, told, *_ in self.commits if told.done()), default=0)

    def wait(self, _process: Process, amount: float) -> None:
        self.now += amount

    def commit(self, process: Process, _amount: float) -> None:
        self.written += 1
        told: Future[None] = Future()
        self.commits.append((self.written, told, process, self.clock(process)))
        process.fresh.append(told)

    def replay(self, _process: Process, _amount: float) -> None:
        self.replayed = self.written

    def ask(self, process: Process, amount: float) -> None:
        """Put the question; the answer is worked on later by `hear`."""
        if process.asked is None:
            at, fresh = self.clock(process), process.fresh
            process.fresh = []
            self.now += amount / 10
            process.asked = (at, self.written, self.turn, fresh)

    def hear(self, process: Process, _amount: float) -> None:
        if process.asked is not None:
            process.lease.told(*process.asked)
            process.asked = None
            process.lease.reached(self.clock(process), None)

    def look(self, process: Process, _amount: float) -> None:
        process.looked = self.replayed

    def see(self, process: Process, _amount: float) -> None:
        process.lease.reached(self.clock(process), process.looked)
        process.looked = None

    def change_turn(self, process: Process, _amount: float) -> None:
        now, lease = self.clock(process), process.lease
        if lease.turn == self.turn and (lease.must_bar(now) or lease.may_lift(now)):
            self.turn += 1

    def follow(self, process: Process, _amount: float) -> None:
        """A whole round at once, as it is most of the time."""
        for part in ("ask", "hear", "look", "see", "change_turn"):
            getattr(self, part)(process, 0.0)

    def finish(self, process: Process, _amount: float) -> None:
        """End a round that was begun."""
        for part in ("look", "hear", "see"):
            getattr(self, part)(process, 0.0)

    def keep_on(self, process: Process, amount: float) -> None:
        """Round after round for so long."""
        end = self.now + amount
        while self.now < end:
            self.step("follow", process, 0.0)
            self.now += 0.05


STEPS = st.tuples(
    st.sampled_from(
        [
            "wait",
            "commit",
            "commit",
            "replay",
            "ask",
            "ask",
            "hear",
            "look",
            "see",
            "change_turn",
            "finish",
            "follow",
            "follow",
            "keep_on",
            "keep_on",
        ]
    ),
    st.integers(0, PROCESSES - 1),
    st.sampled_from([0.01, 0.3, 1.0, 1.4]),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(STEPS, min_size=10, max_size=60))
def test_whatever_anybody_was_told_of_is_found_on_the_replica(steps: list[tuple[str, int, float]]) -> None:
    world = World()
    for what, number, amount in steps:
        world.step(what, world.processes[number], amount)


def test_a_lease_counts_from_its_question_and_not_from_the_answer() -> None:
    world = World()
    one, other = world.processes[:2]
    world.step("ask", one, 0.0)
    world.step("commit", other, 0.0)
    world.keep_on(other, 2.0)
    assert world.commits[0][1].done()
    world.step("finish", one, 0.0)
    assert world.clock(one) > one.lease.until > 0


def test_a_lease_by_a_slow_clock_has_ended_before_a_fast_one_tells_of_a_commit() -> None:
    world = World()
    slow, _, fast = world.processes
    world.step("follow", slow, 0.0)
    world.step("commit", fast, 0.0)
    read = world.read
    while not world.commits[0][1].done():
        world.step("wait", slow, 0.001)
    assert world.read - read > 1_000


def test_a_commit_waits_no_longer_than_the_leases_of_before_it_and_not_at_all_once_they_are_over() -> None:
    world = World()
    process = world.processes[1]
    world.keep_on(process, 1.0)
    assert world.clock(process) < process.lease.until
    world.step("commit", process, 0.0)
    told = world.commits[-1][1]
    world.keep_on(process, OVER_SECONDS - 0.1)
    assert not told.done()
    world.keep_on(process, 0.2)
    assert told.done()
    assert process.lease.barred
    # Once the replica has been barred for as long nobody waits for it.
    world.keep_on(process, OVER_SECONDS)
    world.step("commit", process, 0.0)
    world.step("follow", process, 0.0)
    assert world.commits[-1][1].done()


def test_a_replica_comes_back_when_it_has_kept_up_and_later_each_time_that_it_did_not_last() -> None:
    world = World()
    process = world.processes[1]
    pauses = []
    for _ in range(7):
        world.keep_on(process, 0.5)
        world.step("commit", process, 0.0)
        world.keep_on(process, LAG_SECONDS + 0.2)
        assert process.lease.barred
        world.step("replay", process, 0.0)
        began = world.now
        while world.clock(process) >= process.lease.until:
            world.keep_on(process, 0.05)
        pauses.append(world.now - began)
    assert abs(pauses[0] - CALM_SECONDS) < 0.3
    assert all(later > 1.9 * earlier for earlier, later in pairwise(pauses[:5]))
    assert max(pauses) < LONGEST_CALM_SECONDS + 0.5


def test_a_lease_that_was_given_back_is_not_renewed_by_what_was_asked_before() -> None:
    lease = Lease(LAG_SECONDS)
    lease.told(1.0, 5, 0, [])
    lease.end(1.1)
    lease.reached(1.2, 9)
    assert lease.until < 0
    lease.told(1.3, 9, 0, [])
    lease.reached(1.4, 9)
    assert lease.until == 1.3 + LEASE_SECONDS
