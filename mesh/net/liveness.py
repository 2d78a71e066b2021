"""One task for all links of a node: beats on idle ones, ends the silent ones, measures round trips.

A link on which nothing was read for `detect_s` is down. Beats are one-way and only on links that wrote
nothing else, so that a busy link costs nothing and an idle one a small Yamux frame a `heartbeat_s`; beats
that are nearly due go out together, so that an idle node wakes about once per beat.

How soon a dead peer is noticed. Its last byte reaches us at most one way of the network after its death, and
is read as soon as the loop turns; `detect_s` after that the link is down, to the moment: links that are
about to fall silent are not put off for the sake of fewer wakes. So

    death to LinkDown <= one way + detect_s + how late our loop is,

which with detect_s = 2.8 s keeps 3 s on a LAN while the loop is less than 0.2 s late: no typical figure but a
bound. A process that was killed is noticed at once, since its kernel closes the connection.

If this very process was not running (stopped, swapped, a long numpy call: LATE_S or more), silence is our own
fault: the readers get RESUME_S to read what waits in the sockets before anybody is declared down. Then, and
only then, a death is noticed later than that, by up to RESUME_S after each such pause.

Source: memberlist awareness.go for the last idea.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import trio

from mesh.net.link import Link
from mesh.net.profile import LinkProfile

RTT_EVERY_S = 20.0
SETTLING_S = 4.0
"""A young link is measured at every beat: its first round trips shared the CPU with handshakes."""
RESUME_S = 1.0
LATE_S = 0.5
"""The watch woke this much too late: the process was not running."""
SHORTEST_S = 0.1
"""Between two wakes for beats."""
TOGETHER = 0.8
"""A beat due within the last fifth of its interval goes out now."""


async def watch(links: Callable[[], Iterable[Link]], profile: LinkProfile) -> None:
    """Serve until cancelled."""
    excused_until = 0.0
    while True:
        now = trio.current_time()
        next_wake = silence = now + profile.heartbeat_s
        for link in links():
            silent_until = max(link.pipe.last_read + profile.detect_s, excused_until)
            if now >= silent_until:
                link.end(f"nothing received for {now - link.pipe.last_read:.1f} s", tell=False)
                continue
            silence = min(silence, silent_until)
            if link.introduction.limited:
                guest_until = link.since + profile.guest_s
                next_wake = min(next_wake, guest_until)
                if now >= guest_until:
                    link.end("guest time is over", tell=True)
                    continue
            beat_at = link.pipe.last_write + profile.heartbeat_s
            if now >= link.pipe.last_write + TOGETHER * profile.heartbeat_s:
                if now >= link.last_ping + RTT_EVERY_S or now < link.since + SETTLING_S:
                    link.ping()
                else:
                    link.beat()
                beat_at = now + profile.heartbeat_s
            next_wake = min(next_wake, beat_at)
        due = min(silence, max(next_wake, now + SHORTEST_S))
        await trio.sleep_until(due)
        if trio.current_time() > due + LATE_S:
            excused_until = trio.current_time() + RESUME_S
