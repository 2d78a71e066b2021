"""Long parts of program messages: more than a queue holds arrives whole, and a peer that takes nothing costs
a bounded amount and delays nobody."""

from __future__ import annotations

from collections import Counter

import numpy as np
import trio
import trio.testing

from mesh.runtime import postman as post
from mesh.runtime.programs import outbox as outboxes
from mesh.runtime.programs.outbox import Outbox, is_long
from protocols.identifiers import Digest
from protocols.programs.messages import PART_WORDS, Layer
from protocols.wire import codec, envelope
from tests.runtime.test_driver_mail import SESSION, B, C, Note, linked

MESH = Digest(bytes(32))


def part(number: int, attempt: int = 1, words: int = PART_WORDS) -> Layer:
    return Layer(attempt, 0, number, np.full(words, number, dtype=np.uint64))


async def taken(transport, count: int) -> list[object]:
    """The next messages that came."""
    found = []
    for _ in range(count):
        letter = envelope.verify((await transport.frames.receive()).payload, mesh=MESH)
        found.append(codec.decode(Layer if letter.kind == Layer.KIND else Note, letter.body))
    return found


async def opened(nursery, most_bytes: int = 1 << 30):
    postman, _, b, c = await linked(nursery)
    counters: Counter[str] = Counter()
    return Outbox(postman, SESSION, 1, most_bytes, counters, nursery), postman, b, c, counters


async def test_a_layer_longer_than_a_peers_queue_arrives_whole(nursery):
    outbox, postman, b, c, _ = await opened(nursery)
    count = post.MAX_QUEUED_BYTES // (8 * PART_WORDS) + 8
    sent = [part(number) for number in range(count)]
    for message in sent:
        outbox.put((B, C), message)
    with trio.fail_after(60):
        for transport in (b, c):
            for ours, theirs in zip(sent, await taken(transport, count), strict=True):
                assert theirs.part == ours.part
                assert np.array_equal(theirs.words, ours.words)
    assert not postman.counters["messages_dropped"]
    assert outbox.waiting_bytes(B) == outbox.waiting_bytes(C) == 0
    assert outbox._shared_bytes == 0
    assert outbox.bytes_sent > 2 * count * 8 * PART_WORDS


async def test_a_short_message_does_not_wait_behind_long_ones(nursery):
    outbox, postman, b, _, _ = await opened(nursery)
    for number in range(40):
        outbox.put((B,), part(number))
    await trio.testing.wait_all_tasks_blocked()
    postman.post((B,), Note(b"a heartbeat"))
    with trio.fail_after(20):
        found = await taken(b, 41)
    assert [isinstance(message, Note) for message in found].index(True) < 20


async def test_who_takes_nothing_holds_up_nobody_and_costs_what_the_bound_says(nursery, monkeypatch):
    monkeypatch.setattr(outboxes, "SHARED_BYTES", 4 * post.BULK_BYTES)
    bound = 10 * post.BULK_BYTES
    outbox, _, _, c, counters = await opened(nursery, bound)
    with trio.fail_after(60):
        for number in range(300):
            outbox.put((B, C), part(number, words=post.BULK_BYTES // 8))
            assert outbox.waiting_bytes(B) <= bound
            assert outbox._shared_bytes <= outboxes.SHARED_BYTES
            (message,) = await taken(c, 1)
            assert message.part == number
    assert counters["outbox_full"] >= 100


async def test_parts_of_an_attempt_that_is_over_are_not_sent_any_more(nursery):
    outbox, _, b, _, _ = await opened(nursery)
    for number in range(60):
        outbox.put((B,), part(number))
    await trio.testing.wait_all_tasks_blocked()
    outbox.put((B,), part(7, attempt=2))
    assert outbox.waiting_bytes(B) <= 3 * 8 * PART_WORDS
    with trio.fail_after(20):
        found = []
        while not found or found[-1].attempt == 1:
            found += await taken(b, 1)
    assert len(found) < 40
    await trio.testing.wait_all_tasks_blocked()
    assert outbox.waiting_bytes(B) == 0


def test_only_long_parts_go_that_way():
    assert is_long(part(0))
    assert not is_long(part(0, words=8))
    assert not is_long(Note(bytes(1 << 20)))
