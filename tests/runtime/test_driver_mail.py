"""Driver, postman and registry: order of effects, bounds, and that a fault stays where it happened."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Annotated, ClassVar

import pytest
import trio
import trio.testing

from mesh.net.memory_transport import MemoryNetwork
from mesh.net.transport import Admission, Verdict
from mesh.runtime import driver as drivers
from mesh.runtime import postman as post
from mesh.runtime import registry as registries
from mesh.runtime.driver import LINGER_S, MAILBOX, MAX_PARTY_BYTES, Driver
from mesh.runtime.journal import JournalFull
from mesh.runtime.postman import Postman
from mesh.runtime.registry import EARLY_S, MAX_EARLY_BYTES, MAX_EARLY_MESSAGES, Registry
from protocols.errors import MalformedMessage
from protocols.identifiers import Digest, PartyId, SessionId
from protocols.machine import Persist, Publish, Send
from protocols.sessions import events
from protocols.sessions.messages import Decline
from protocols.sessions.records import Dealt
from protocols.wire.bounds import AtMost
from protocols.wire.envelope import party_of

PARTIES = tuple(PartyId(bytes([i]) * 32) for i in range(1, 100))
A, B, C = PARTIES[:3]
SESSION, OTHER = SessionId(bytes([7]) * 32), SessionId(bytes([8]) * 32)
OPENED = events.Aborted("C-301", "over", definite=True)


class Machine:
    """A session machine that follows a script: one list of effects, or an exception, for each input."""

    def __init__(self, *script: object, session: SessionId = SESSION) -> None:
        self.plan = SimpleNamespace(session=session, epoch=1, length=1, parties=PARTIES)
        self.deadline = None
        self.outcome = None
        self.proof = None
        self.in_doubt = False
        self.heard: list[object] = []
        self._script = list(script)

    def start(self, now):
        return self._next()

    def receive(self, now, sender, message):
        self.heard.append(message)
        return self._next()

    def expire(self, now):
        return self._next()

    def _next(self):
        found = self._script.pop(0) if self._script else []
        if isinstance(found, Exception):
            raise found
        for effect in found:
            if isinstance(effect, Publish):
                self.outcome, self.deadline = effect.event, None
        return found


@dataclass
class Diary:
    """Journal and postman in one list, in the order of what happened."""

    fails_at: str = ""
    lines: list[tuple] = field(default_factory=list)

    async def begin(self, session):
        await self._note("begin")

    async def persist(self, session, records):
        await self._note("persist", *records)

    async def end(self, session, outcome, **_):
        await self._note("end", outcome)

    async def _note(self, *line):
        await trio.lowlevel.checkpoint()
        if line[0] == self.fails_at:
            raise JournalFull("no space", fix="free some")
        self.lines.append(line)

    def post(self, to, message, **_):
        self.lines.append(("send", message))
        return 10


def driven(machine: Machine, diary: Diary):
    told: list[object] = []
    counters: Counter[str] = Counter()
    return Driver(machine, diary, diary, told.append, counters), told, counters


DECLINE = Decline(0, "no", whole=False)


async def test_a_record_is_durable_before_what_follows_is_sent(autojump_clock):
    effects = [Persist(Dealt(1)), Persist(Dealt(2)), Send(B, DECLINE), Persist(Dealt(3)), Publish(OPENED)]
    diary = Diary()
    driver, told, _ = driven(Machine(effects), diary)
    start = trio.current_time()
    await driver.run()
    assert diary.lines == [
        ("begin",),
        ("persist", Dealt(1), Dealt(2)),
        ("send", DECLINE),
        ("persist", Dealt(3)),
        ("end", "Aborted"),
    ]
    assert told == [OPENED]
    assert trio.current_time() - start == pytest.approx(LINGER_S)


@pytest.mark.parametrize(("fails_at", "definite"), [("begin", True), ("persist", False)])
async def test_if_the_journal_fails_nothing_is_sent(autojump_clock, fails_at, definite):
    diary = Diary(fails_at)
    driver, told, _ = driven(Machine([Persist(Dealt(1)), Send(B, DECLINE)]), diary)
    await driver.run()
    assert not [line for line in diary.lines if line[0] == "send"]
    (aborted,) = told
    assert (aborted.code, aborted.definite) == ("C-116", definite)
    assert "free some" in aborted.reason


async def test_an_outcome_whose_record_could_not_be_stored_is_told_all_the_same(autojump_clock):
    driver, told, _ = driven(Machine([Persist(Dealt(1)), Publish(OPENED)]), Diary("persist"))
    with trio.fail_after(1):
        await driver.run()
    assert told == [OPENED]


async def test_one_session_s_full_disk_or_bug_is_not_another_s(autojump_clock, nursery):
    healthy, fine, _ = driven(Machine([], [Send(B, DECLINE), Publish(OPENED)], session=OTHER), Diary())
    full, told_full, _ = driven(Machine([Persist(Dealt(1)), Send(B, DECLINE)]), Diary("persist"))
    buggy, told_buggy, _ = driven(Machine([], KeyError("secret")), Diary())
    nursery.start_soon(healthy.run)
    nursery.start_soon(full.run)
    nursery.start_soon(buggy.run)
    buggy.deliver(B, "poison")
    await trio.testing.wait_all_tasks_blocked()
    healthy.deliver(B, "go on")
    await trio.sleep(1)
    assert [event.code for event in told_full] == ["C-116"]
    assert [(event.code, event.definite) for event in told_buggy] == [("C-900", False)]
    assert "secret" not in told_buggy[0].reason
    assert fine == [OPENED]


async def test_bad_messages_are_counted_and_the_session_goes_on(autojump_clock, nursery):
    machine = Machine([], MalformedMessage("odd", blame=B), [Publish(OPENED)])
    driver, told, counters = driven(machine, Diary())
    nursery.start_soon(driver.run)
    driver.deliver(B, "bad")
    driver.deliver(C, "good")
    await trio.sleep(1)
    assert counters["malformed"] == 1
    assert told == [OPENED]


async def test_the_mailbox_is_bounded(autojump_clock):
    driver, _, counters = driven(Machine(), Diary())
    for number in range(MAILBOX + 5):
        driver.deliver(B, number)
    assert counters["mailbox_full"] == 5
    with trio.move_on_after(1):
        await driver.run()
    assert driver.machine.heard == list(range(MAILBOX))
    assert drivers.HEAVY_LENGTH > 0


async def test_who_has_no_part_in_the_session_cannot_fill_its_mailbox(autojump_clock):
    driver, _, counters = driven(Machine(), Diary())
    for number in range(MAILBOX + 5):
        driver.deliver(PartyId(bytes(32)), number)
    driver.deliver(B, "honest")
    assert counters["strangers"] == MAILBOX + 5
    with trio.move_on_after(1):
        await driver.run()
    assert driver.machine.heard == ["honest"]


async def test_a_machine_s_deadline_is_kept(autojump_clock):
    machine = Machine([], [Publish(OPENED)])
    machine.deadline = trio.current_time() + 3.0
    driver, told, _ = driven(machine, Diary())
    start = trio.current_time()
    await driver.run()
    assert told == [OPENED]
    assert trio.current_time() - start == pytest.approx(3.0 + LINGER_S)


def waiting_in(driver):
    """Senders and messages that wait, taken out."""
    return [mail[:2] for mail in iter(driver._mail.take, None)]


async def test_no_party_fills_a_mailbox_with_large_messages(autojump_clock):
    driver, _, _ = driven(Machine([], [Publish(OPENED)]), Diary())
    for _ in range(5):
        driver.deliver(B, "large", MAX_PARTY_BYTES // 3)
    driver.deliver(C, "small", 100)
    assert len(waiting_in(driver)) == 4
    assert driver._counters["mailbox_full"] == 2


# -- early mail -----------------------------------------------------------------------------------------


def opened(registry: Registry, session: SessionId = SESSION):
    driver, _, _ = driven(Machine(session=session), Diary())
    registry.open(driver)
    return waiting_in(driver)


async def test_mail_before_its_plan_waits_a_little(autojump_clock):
    counters: Counter[str] = Counter()
    registry = Registry(counters)
    registry.deliver(SESSION, B, "first", 10)
    registry.deliver(SESSION, C, "second", 10)
    assert opened(registry) == [(B, "first"), (C, "second")]
    registry.close(SESSION)
    registry.deliver(SESSION, B, "late", 10)
    assert counters["after_the_end"] == 1
    registry.deliver(OTHER, B, "old", 10)
    await trio.sleep(EARLY_S + 1)
    registry.deliver(SessionId(bytes(32)), B, "sweeps", 10)
    assert opened(registry, OTHER) == []
    assert counters["early_dropped"] == 1


async def test_a_flood_of_made_up_sessions_takes_nobody_else_s_place(autojump_clock):
    counters: Counter[str] = Counter()
    registry = Registry(counters)
    registry.deliver(SESSION, C, "honest", 10)
    for number in range(3 * MAX_EARLY_MESSAGES):
        registry.deliver(SessionId(number.to_bytes(32, "big")), B, "flood", 10)
    assert counters["early_dropped"] == 2 * MAX_EARLY_MESSAGES
    registry.deliver(SESSION, C, "still", MAX_EARLY_BYTES - 10)
    registry.deliver(SESSION, C, "too much", 1)
    assert opened(registry) == [(C, "honest"), (C, "still")]
    registry.deliver(OTHER, C, "place again", MAX_EARLY_BYTES)
    assert opened(registry, OTHER) == [(C, "place again")]


async def test_all_early_mail_together_is_bounded(autojump_clock, monkeypatch):
    monkeypatch.setattr(registries, "MAX_EARLY_TOTAL_BYTES", 100)
    counters: Counter[str] = Counter()
    registry = Registry(counters)
    for number in range(1, 30):
        registry.deliver(SESSION, PartyId(bytes([number]) * 32), "mail", 10)
    assert len(opened(registry)) == 10
    assert counters["early_dropped"] == 19


# -- outgoing mail --------------------------------------------------------------------------------------


class OpenGate:
    def hello(self):
        return b"x"

    def admit(self, peer, hello):
        return Verdict(Admission.MEMBER)


@dataclass(frozen=True, slots=True)
class Note:
    KIND: ClassVar[str] = "note"
    text: Annotated[bytes, AtMost(1000)]


async def linked(nursery):
    seed = bytes([5]) * 32
    me = party_of(seed)
    network = MemoryNetwork()
    a, b, c = (
        network.transport(me, OpenGate()),
        network.transport(B, OpenGate()),
        network.transport(C, OpenGate()),
    )
    for transport in (a, b, c):
        await nursery.start(transport.run)
    a.want({B: b.addresses(), C: c.addresses()})
    while len(a.links()) < 2:
        await a.events.receive()
    postman = Postman(a, seed, Digest(bytes(32)))
    await nursery.start(postman.run)
    return postman, a, b, c


async def test_a_slow_peer_fills_its_own_queue_only(autojump_clock, nursery, monkeypatch):
    monkeypatch.setattr(post, "MAX_QUEUED_BYTES", 4000)
    postman, _, _, c = await linked(nursery)
    for _ in range(500):
        postman.post((B,), Note(bytes(100)))  # nobody reads what B got
    assert postman.counters["messages_dropped"] > 400
    postman.post((C,), Note(b"through"))
    with trio.fail_after(5):
        frame = await c.frames.receive()
    assert b"through" in frame.payload


async def test_mail_for_a_lost_peer_is_dropped_with_its_queue(autojump_clock, nursery):
    postman, _, b, _ = await linked(nursery)
    for _ in range(300):
        postman.post((B,), Note(bytes(100)))
    await trio.testing.wait_all_tasks_blocked()
    postman.forget(B)
    assert B not in postman._queues
    postman.forget(B)
    dropped = postman.counters["messages_dropped"]
    assert dropped > 100
    postman.post((B,), Note(b"again"))
    with trio.fail_after(5):
        while True:
            if b"again" in (await b.frames.receive()).payload:
                break
    with trio.fail_after(5):
        await postman.flush(10.0)
    assert postman.counters["messages_dropped"] == dropped


async def test_a_stranger_costs_nothing(autojump_clock, nursery):
    postman, *_ = await linked(nursery)
    stranger = PartyId(bytes([77]) * 32)
    postman.post((stranger,), Note(b"hello"))
    await postman.flush(1.0)
    assert postman.counters["messages_dropped"] == 1
    postman.forget(stranger)
    assert stranger not in postman._queues
