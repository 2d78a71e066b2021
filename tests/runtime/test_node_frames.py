"""What a node makes of frames that it should never have got: counted, dropped, and no session suffers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import trio

from mesh.net.transport import MAX_FRAME_BYTES
from mesh.overlay.planner import plan_session
from mesh.runtime.jobs.inquiry import Inquiry, InquiryAnswer
from protocols.errors import LocalMisuse
from protocols.identifiers import Digest, SessionId
from protocols.sessions.messages import Decline, PlanOffer
from protocols.sessions.plan import Job, Query
from protocols.wire import codec, envelope
from tests.runtime.memory_mesh import COLUMN, DATASET, MemoryMesh, ask, fresh_bytes, in_place

__all__ = ["in_place"]
ROWS = [[1.0, 2.0, 3.5], [4.0, 8.0], [16.25, 0.5], [7.0]]
MEAN = float(np.mean([value for part in ROWS for value in part]))
NOWHERE = SessionId(bytes([9]) * 32)


def letter(member, message, **changes):
    """A signed frame of `member`; `changes` of the envelope."""
    fields = {
        "mesh": member.identity.mesh.mesh,
        "session": NOWHERE,
        "epoch": member.node.overlay.keeper.record.epoch,
        "stage": getattr(message, "stage", -1),
        "kind": message.KIND,
        "body": codec.encode(message),
    }
    return envelope.sign(member.identity.keys.identity.reveal(), **(fields | changes))


async def settled(member, count):
    """Until the node has looked at `count` frames more than it had."""
    while member.node.counters["frames_received"] < count:
        await trio.sleep(0.01)


async def send(source, target, *frames):
    """Send frames as they are and wait until they were looked at."""
    before = target.node.counters["frames_received"]
    for frame in frames:
        await source.transport.send(target.party, frame)
    await settled(target, before + len(frames))


async def works(asker):
    job = await asker.service.submit(ask("mean"))
    info = await asker.ended(job)
    assert info.result is not None, info.error
    assert info.result.value == pytest.approx(MEAN, rel=1e-9)


async def test_bad_frames_are_counted_and_harm_no_session(tmp_path, in_place, autojump_clock, nursery):
    mesh = MemoryMesh(tmp_path, nursery)
    a, b, c, d = await mesh.start(4, ROWS)
    job = await a.service.submit(ask("mean"))
    decline = Decline(0, "made up", whole=True)
    good = letter(b, decline)
    flipped = bytearray(good)
    flipped[len(flipped) // 2] ^= 1
    malformed = (
        b"",
        fresh_bytes(2000),
        bytes(flipped),
        good[:-1],
        good + b"\0",
        letter(c, decline),  # signed by another than the link's peer
        letter(b, decline, mesh=Digest(bytes(32))),
        letter(b, decline, stage=5),
        letter(b, decline, body=codec.encode(decline) + b"\0"),
        letter(b, decline, body=fresh_bytes(40)),
    )
    counters = a.node.counters
    before = counters["malformed"]
    await send(b, a, *malformed)
    assert counters["malformed"] == before + len(malformed)
    with pytest.raises(LocalMisuse):
        await b.transport.send(a.party, bytes(MAX_FRAME_BYTES + 1))
    before = counters["unexpected"]
    await send(b, a, letter(b, decline, kind="no-such-kind"))
    assert counters["unexpected"] == before + 1
    info = await a.ended(job)
    assert info.result is not None
    assert info.result.value == pytest.approx(MEAN, rel=1e-9)
    assert counters["bugs"] == 0
    await works(d)


async def test_session_mail_bound_elsewhere_or_replayed(tmp_path, in_place, autojump_clock, nursery):
    """Every frame of a session, sent again by its sender and by somebody else, changes nothing."""
    mesh = MemoryMesh(tmp_path, nursery)
    a, b, c, _ = await mesh.start(4, ROWS)
    seen = []
    taken = a.node._receive

    async def keep(frame):
        seen.append(frame)
        await taken(frame)

    a.node._receive = keep
    await works(a)
    frames = [f for f in seen if envelope.verify(f.payload, mesh=a.identity.mesh.mesh).session != bytes(32)]
    own = [f for f in frames if f.sender == b.party]
    assert len(own) >= 2
    sessions = len(a.node.sessions.registry.live)
    malformed = a.node.counters["malformed"]
    await send(c, a, *(f.payload for f in own))
    assert a.node.counters["malformed"] >= malformed + len(own)
    await send(b, a, *(f.payload for f in own))
    assert len(a.node.sessions.registry.live) <= sessions
    await works(a)
    assert a.node.counters["bugs"] == 0


async def test_a_plan_is_offered_by_its_initiator_for_its_own_session(
    tmp_path, in_place, autojump_clock, nursery
):
    mesh = MemoryMesh(tmp_path, nursery)
    a, b, c, _ = await mesh.start(4, ROWS)
    offers = []
    taken = a.node._receive

    async def keep(frame):
        if envelope.verify(frame.payload, mesh=a.identity.mesh.mesh).kind == PlanOffer.KIND:
            offers.append(frame.payload)
        await taken(frame)

    a.node._receive = keep
    await works(b)
    plan = codec.decode(PlanOffer, envelope.verify(offers[-1], mesh=a.identity.mesh.mesh).body).plan
    offer = PlanOffer(plan)
    counters = a.node.counters
    before = counters["malformed"]
    await send(c, a, letter(c, offer, session=plan.session, epoch=plan.epoch))
    await send(b, a, letter(b, offer, session=NOWHERE, epoch=plan.epoch))
    await send(b, a, letter(b, offer, session=plan.session, epoch=plan.epoch + 1))
    assert counters["malformed"] == before + 3
    live = set(a.node.sessions.registry.live)
    await send(b, a, letter(b, offer, session=plan.session, epoch=plan.epoch))
    assert set(a.node.sessions.registry.live) == live, "a plan offered again starts nothing"
    await works(c)


async def test_a_flood_of_questions_is_answered_within_bounds(tmp_path, in_place, autojump_clock, nursery):
    mesh = MemoryMesh(tmp_path, nursery)
    a, b, *_ = await mesh.start(4, ROWS)
    hold = trio.Event()
    considered = []

    async def slow(inquiry, requester, name):
        considered.append(inquiry.id)
        await hold.wait()
        return await type(a.node.sessions).would_contribute(a.node.sessions, inquiry, requester, name)

    a.node.sessions.would_contribute = slow
    job = Job("rows", (Query("mean", "x", ()),), 2, "flood")
    before = a.node.counters["unexpected"]
    questions = [letter(b, Inquiry(bytes([i]) * 16, job, 4, 1), stage=-1) for i in range(40)]
    await send(b, a, *questions)
    assert len(considered) == 16
    assert a.node.counters["unexpected"] == before + 24
    hold.set()
    await trio.sleep(0.5)
    await send(b, a, letter(b, Inquiry(bytes(16), job, 4, 1)))
    assert len(considered) == 17
    del a.node.sessions.would_contribute
    await works(b)


async def test_answers_nobody_asked_for(tmp_path, in_place, autojump_clock, nursery):
    mesh = MemoryMesh(tmp_path, nursery)
    a, b, *_ = await mesh.start(3, ROWS[:3])
    await send(b, a, letter(b, InquiryAnswer(bytes(16), True, "")))
    assert a.node._polls == {}
    assert a.node.counters["bugs"] == 0


async def test_a_bug_in_handling_a_message_ends_neither_node_nor_session(
    tmp_path, in_place, autojump_clock, nursery
):
    mesh = MemoryMesh(tmp_path, nursery)
    a, b, *_ = await mesh.start(4, ROWS)
    real = a.node.overlay.receive

    async def broken(sender, message):
        raise KeyError("a bug")

    a.node.overlay.receive = broken
    with trio.fail_after(60):
        while not a.node.counters["bugs"]:
            await trio.sleep(0.5)
    a.node.overlay.receive = real
    await works(b)


async def test_one_member_cannot_take_up_all_sessions(tmp_path, in_place, autojump_clock, nursery):
    """Plans that last a day, as many as fit: half the places stay for others, and whoever asks is served."""
    mesh = MemoryMesh(tmp_path, nursery)
    a, b, *_ = await mesh.start(4, ROWS)
    await works(b)
    picture, most = b.node.picture(), a.node.sessions._max_live
    job = Job(DATASET, (Query("sum", COLUMN, ()),), 2, "")
    for number in range(most):
        plan = plan_session(
            picture.view, picture.record, picture.standings, job, length=2,
            nonce=number.to_bytes(32, "big"), limits=replace(picture.limits, total_ms=86_400_000),
        )  # fmt: skip
        await send(b, a, letter(b, PlanOffer(plan), session=plan.session, epoch=plan.epoch))
    sessions = a.node.sessions
    assert len(sessions.registry.live) + len(sessions._considering) <= most // 2 + 1  # one may be a beacon's
    await works(a)
