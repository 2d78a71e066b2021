"""The parser of what arrives from outside: any split gives the same records, any lie ends the link."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mesh.net.addresses import expand_wildcards, format_address, is_loopback, parse_address
from mesh.net.channels import MAX_SERVICE_RECORDS, WINDOW, Inbox, Outbox
from mesh.net.framing import (
    MAX_BODY_BYTES,
    Hello,
    Kind,
    RecordParser,
    credit_body,
    header,
    parse_credit,
    parse_hello,
    parse_verdict,
    record,
    verdict_body,
)
from mesh.net.transport import Admission, Lane, Verdict
from protocols.errors import ConfigError, MalformedMessage

records = st.lists(st.tuples(st.sampled_from(list(Kind)), st.binary(max_size=50)), max_size=8)


@settings(max_examples=60, deadline=None)
@given(records, st.lists(st.integers(0, 400), max_size=6))
def test_any_split_gives_the_same_records(wanted, cuts):
    stream = b"".join(record(kind, body) for kind, body in wanted)
    edges = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
    parser = RecordParser()
    got = []
    for start, end in itertools.pairwise(edges):
        got += parser.feed(stream[start:end])
    assert got == wanted


@pytest.mark.parametrize(
    "bad", [b"\xff\0\0\0", bytes((max(Kind) + 1, 0, 0, 0)), header(Kind.DATA, MAX_BODY_BYTES + 1)]
)
def test_unknown_kind_and_long_body_are_refused(bad):
    with pytest.raises(MalformedMessage):
        list(RecordParser().feed(bad))


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200))
def test_bodies_from_outside_are_parsed_or_refused(body):
    for parse in (parse_hello, parse_verdict, parse_credit):
        try:
            parse(body)
        except MalformedMessage:
            continue


def test_service_bodies_round_trip():
    assert parse_hello(Hello(b"blob", True).body()) == Hello(b"blob", True)
    verdict = Verdict(Admission.REFUSED, "no")
    assert parse_verdict(verdict_body(verdict)) == (verdict, False)
    assert parse_credit(credit_body(Lane.BULK, 77)) == (Lane.BULK, 77)
    with pytest.raises(MalformedMessage, match="version 9"):
        parse_hello(b"\x09\x00")


def inbox(limit=1000, accept=lambda size: None):
    return Inbox(None, limit, accept, lambda kind, body: None, None, lambda amount: None)


def test_oversized_frame_in_pieces_is_refused():
    box = inbox(limit=1000)
    box.feed(record(Kind.DATA, bytes(900)))
    with pytest.raises(MalformedMessage, match="above 1000"):
        box.feed(record(Kind.LAST, bytes(101)))


def test_empty_pieces_are_refused():
    with pytest.raises(MalformedMessage, match="empty"):
        inbox().feed(record(Kind.DATA))


def test_more_than_the_credit_is_refused():
    box = inbox(limit=WINDOW)
    for _ in range(WINDOW // 60_128):
        box.feed(record(Kind.LAST, bytes(60_000)))
    with pytest.raises(MalformedMessage, match="credit"):
        box.feed(record(Kind.LAST, bytes(60_000)))


def test_empty_frames_cost_credit():
    box = inbox()
    with pytest.raises(MalformedMessage, match="credit"):
        box.feed(record(Kind.LAST) * (WINDOW // 128 + 2))


def test_invented_credit_and_unread_answers_are_refused():
    box = Outbox(None, 1024)
    with pytest.raises(MalformedMessage, match="credit"):
        box.grant(1)
    for _ in range(MAX_SERVICE_RECORDS):
        box.say(Kind.PONG, bytes(8))
    with pytest.raises(MalformedMessage, match="not being read"):
        box.say(Kind.PONG, bytes(8))


def test_addresses():
    assert parse_address("/ip4/192.0.2.1/tcp/4001/p2p/12D3KooW") == ("192.0.2.1", 4001)
    assert parse_address("/dns4/node.example/tcp/1") == ("node.example", 1)
    assert format_address(("::ffff:192.0.2.1", 5, 0, 0)) == "/ip4/192.0.2.1/tcp/5"
    assert format_address(("fe80::1%eth0", 5, 0, 2)) == "/ip6/fe80::1/tcp/5"
    assert is_loopback("/ip6/::1/tcp/1")
    assert not is_loopback("/dns4/node.example/tcp/1")
    for bad in (
        "",
        "/ip4/1.2.3.4/tcp/",
        "/ip4/1.2.3.4/tcp/-1",
        "/ip4/1.2.3.4/tcp/1/ws",
        "/ip4/x/tcp/1",
        "/tcp/1",
    ):
        with pytest.raises(ConfigError):
            parse_address(bad)


def test_wildcards_expand_to_reachable_interfaces():
    interfaces = ["127.0.0.1", "192.168.1.5", "169.254.3.3", "::1", "2001:db8::1"]
    assert expand_wildcards(["/ip4/0.0.0.0/tcp/7"], interfaces) == ("/ip4/192.168.1.5/tcp/7",)
    assert expand_wildcards(["/ip6/::/tcp/7"], interfaces) == ("/ip6/2001:db8::1/tcp/7",)
    assert expand_wildcards(["/ip4/0.0.0.0/tcp/7"], ["127.0.0.1"]) == ("/ip4/127.0.0.1/tcp/7",)
    assert expand_wildcards(["/ip4/10.0.0.1/tcp/7"], interfaces) == ("/ip4/10.0.0.1/tcp/7",)
