"""The loop: ask, hit a random peer at a random moment, judge what came of it, mend the mesh, again.

All randomness is from the seed, though not the scheduling of real processes. The moment is uniform from
the submission to a little beyond the usual end of the session, so that every phase is hit.
"""

from __future__ import annotations

import random
import signal
import time
from dataclasses import dataclass

from mesh.api.outcome import NodeUnreachable
from mesh.api.shapes import JobInfo
from mesh.runtime.demo.local_mesh import POLL_S, Peer
from mesh.runtime.jobs.attempts import ATTEMPTS
from protocols.errors import DeadlinePassed, MeshError
from tools.chaos import audit
from tools.chaos.ground import COLUMNS, JOB_S, STATISTICS, Ground
from tools.chaos.tally import Round, Tally

HANG_S = ATTEMPTS * (JOB_S + 7.0) + 15.0 + (JOB_S + 15.0 + 4.0) + 5.0
"""No job may run longer since its asker was started: its attempts, each ended by its own deadline and the
wait for abort ballots; the wait for whoever can clear up an end in doubt; and before, where the asker was
killed, for the end of the session of its former life."""
LINGER_S = 30.0 + 6.0 + 10.0 + 18.0
"""Everybody's part is over by then: beacon sessions too, whose total is the profile's 30 s, and relaying."""
FORM_S = 60.0
SHORTEST_S = 0.3
BEYOND = 1.2
PAUSE_S = (0.2, 5.0)
LONG_S = 2.5
"""A victim that is restarted comes back at once, or in half of the runs after a longer while."""


@dataclass(frozen=True, slots=True)
class _Blow:
    """What is done to whom and when."""

    asker: Peer
    victim: Peer
    moment_s: float
    pause_s: float | None


class Loop:
    """Rounds over one mesh. `pauses`: SIGSTOP and SIGCONT instead of SIGKILL; `restarts`: SIGKILL, and the
    victim is started again while the session runs, to go on with it from its journal."""

    def __init__(self, ground: Ground, tally: Tally, *, pauses: bool, restarts: bool = False) -> None:
        self._ground = ground
        self._mesh = ground.mesh
        self._tally = tally
        self._random = random.Random(tally.seed)
        self._pauses = pauses
        self._restarts = restarts
        self._usual_s = 1.0
        self._aborted: list[str] = []

    def run(self, runs: int) -> None:
        """All rounds, then the audit of everybody's records."""
        self._mesh.start()
        try:
            self._mesh.wait_formed(FORM_S)
            self._ground.learn_parties()
            for number in range(1, runs + 1):
                self._round(number)
                self._mend()
            self._wait_for_ends()
        except DeadlinePassed as error:
            self._tally.problem(f"{error.args[0]}: {'; '.join(audit.states(self._mesh))}")
        finally:
            self._mesh.stop()
        homes = [peer.home for peer in self._mesh.peers.values()]
        for words in audit.contradictions(homes, self._aborted):
            self._tally.problem(words)

    # -- one round ------------------------------------------------------------------------------------

    def _round(self, number: int) -> None:
        blow, wanted = self._choose()
        roles = blow.asker.client.status().roles if blow.asker is blow.victim else self._roles(blow)
        began = time.monotonic()
        sessions: tuple[str, ...] = ()
        try:
            job = blow.asker.client.submit(self._ground.spec(wanted))
            time.sleep(blow.moment_s)
            self._strike(blow)
            if blow.asker is blow.victim and not (self._pauses or self._restarts):
                verdict, words = "orphaned", ""
            else:
                info = self._await(blow.asker, job)
                sessions = sessions_of(blow.asker, job)
                verdict, words = self._judge(info, sessions)
        except NodeUnreachable as error:
            verdict, words = "hung", f"the asker does not answer: {error.sentence()}"
        except MeshError as error:
            verdict, words = "aborted", f"not begun: {error.sentence()}"
        seconds = time.monotonic() - began
        if verdict == "right":
            self._usual_s = 0.8 * self._usual_s + 0.2 * min(seconds, 3.0)
        hit = (number, blow.asker.name, blow.victim.name, roles, blow.moment_s)
        self._tally.add(Round(*hit, verdict, words, seconds, sessions))

    def _choose(self) -> tuple[_Blow, list[tuple[str, str]]]:
        peers = list(self._mesh.peers.values())
        asker, victim = self._random.choice(peers), self._random.choice(peers)
        moment_s = self._random.uniform(0.0, max(SHORTEST_S, BEYOND * self._usual_s))
        pause_s = self._random.uniform(*PAUSE_S)
        everything = [(name, column) for column in COLUMNS for name in STATISTICS]
        wanted = self._random.sample(everything, self._random.choice((1, 3, len(everything))))
        lasting = self._pauses or self._restarts
        return _Blow(asker, victim, moment_s, pause_s if lasting else None), wanted

    def _roles(self, blow: _Blow) -> tuple[str, ...]:
        return next(p.roles for p in blow.asker.client.peers() if p.name == blow.victim.name)

    def _strike(self, blow: _Blow) -> None:
        if blow.pause_s is None:
            self._mesh.kill(blow.victim.name)
            return
        if self._restarts:
            self._mesh.kill(blow.victim.name)
            time.sleep(blow.pause_s if blow.pause_s > LONG_S else 0.0)
            self._mesh.restart(blow.victim.name)
            return
        self._mesh.pause(blow.victim.name)
        time.sleep(blow.pause_s)
        self._mesh.resume(blow.victim.name)

    def _await(self, asker: Peer, job: str) -> JobInfo:
        deadline = time.monotonic() + HANG_S
        while True:
            info = asker.client.job(job)
            if info.ended or time.monotonic() > deadline:
                return info
            time.sleep(POLL_S)

    def _judge(self, info: JobInfo, sessions: tuple[str, ...]) -> tuple[str, str]:
        verdict, words = self._ground.judge(info)
        if verdict == "hung":
            words += f" after {HANG_S:g} s"
        elif verdict == "aborted":
            self._aborted += sessions
        elif verdict in ("right", "unclear"):
            self._aborted += sessions[:-1]
        return verdict, words

    # -- between rounds -------------------------------------------------------------------------------

    def _mend(self) -> None:
        for peer in self._mesh.peers.values():
            if not peer.pid:
                self._mesh.restart(peer.name)
        self._mesh.wait_formed(FORM_S)

    def _wait_for_ends(self) -> None:
        """Every session has ended at every peer, the orphaned ones too."""
        homes = [peer.home for peer in self._mesh.running]
        self._mesh.wait_until(
            "all sessions end", lambda: not any(audit.open_sessions(home) for home in homes), LINGER_S
        )


def sessions_of(asker: Peer, job: str) -> tuple[str, ...]:
    """Sessions that a job began, in hex and in order."""
    return tuple(
        dict(event.data)["session"]
        for event in asker.client.events(job)
        if event.kind == "phase" and "session" in dict(event.data)
    )


def terminate_politely() -> None:
    """SIGTERM ends the loop as Ctrl-C does, so that no peer is left behind."""
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
