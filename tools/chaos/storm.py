"""A storm: one mesh, jobs all the time, and a random fault every second or so; and the same as a soak.

Peers are killed and come back, or are stopped and go on, at most MAX_DOWN at a time. Two elders are never
killed, only stopped: they live through the whole run and must not grow. After each season (SEASON faults
or SOAK_SEASON jobs) all is calm: every job must have ended and the mesh be whole; then they are measured.

A soak stands for eight hours of a mesh that is asked once a minute, changes its epoch every ten minutes and
loses a peer as often: 480 jobs one after another, epochs of SOAK_EPOCH_S, a fault every ten jobs or so. What
time alone would bring is not in it: 28,800 heartbeats a link are fewer, timers do not run for hours.

Invariant: every job gets a verdict; a wrong value, a hang, a peer that ends by itself, a session open for
ever, or growth is a problem. All randomness is from the seed, though not the scheduling of real processes.
"""

from __future__ import annotations

import random
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from mesh.api.outcome import AnswerTimeout, NodeUnreachable
from mesh.runtime.demo.local_mesh import POLL_S, Peer
from protocols.errors import DeadlinePassed, MeshError
from tools.chaos import audit, vitals
from tools.chaos.ground import COLUMNS, STATISTICS, Ground
from tools.chaos.loop import FORM_S, HANG_S, LINGER_S, sessions_of
from tools.chaos.vitals import Vitals

SEASON = 35
SOAK_SEASON = 40
SOAK_JOBS = 480
SOAK_EPOCH_S = 12.0
MANY_KILLS = 60
"""After so many some have left a gateway away for longer than an epoch waits for it."""
MAX_DOWN = 2
JOBS = 2
"""Under way at the same time."""
ELDERS = 2
KILLS = 0.6
"""The fraction of faults that are kills; the others are pauses."""
DOWN_S = (0.2, 1.5)
PAUSE_S = (0.2, 3.5)
REST_S = 16.0
"""At most, until the elders' last sessions, which go on relaying after their end, are over."""


@dataclass(slots=True)
class _Job:
    asker: Peer
    job: str
    began: float
    asker_died: bool = False
    since: float = 0.0
    """When its asker was started last, or it began: so long ago it may be under way."""


@dataclass(slots=True)
class Weather:
    """What happened so far, as plain figures."""

    seed: int
    began: float = field(default_factory=time.monotonic)
    kills: int = 0
    pauses: int = 0
    verdicts: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    resumed: int = 0
    first_epoch: int = 0
    last_epoch: int = 0
    whole_again_s: list[float] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    samples: dict[str, list[Vitals]] = field(default_factory=dict)

    @property
    def faults(self) -> int:
        """Kills and pauses."""
        return self.kills + self.pauses

    @property
    def ended(self) -> int:
        """Jobs."""
        return sum(self.verdicts.values())

    @property
    def ok(self) -> bool:
        """Whether nothing happened that must not."""
        return self.faults > 0 and not self.problems

    def problem(self, text: str) -> None:
        """Something that must not be, told at once."""
        self.problems.append(text)
        print(f"     PROBLEM {text}", file=sys.stderr, flush=True)

    def document(self) -> dict[str, object]:
        """All figures."""
        times = sorted(self.seconds)
        return {
            "ok": self.ok,
            "faults": self.faults,
            "kills": self.kills,
            "pauses": self.pauses,
            "jobs": self.ended,
            "epochs": self.last_epoch - self.first_epoch,
            **dict(self.verdicts),
            "askers_killed_and_answered_later": self.resumed,
            "median_s": round(times[len(times) // 2], 2) if times else None,
            "longest_s": round(times[-1], 2) if times else None,
            "whole_again_longest_s": round(max(self.whole_again_s, default=0.0), 1),
            "elders": {
                name: {
                    "first": _plain(found[0]),
                    "last": _plain(found[-1]),
                    "growth": vitals.growth(found),
                    "rss_mb_per_480_jobs": vitals.slope_mb(found),
                    "samples": len(found),
                    "rss_mb": [one.rss_mb for one in found],
                }
                for name, found in self.samples.items()
                if found
            },
            "seconds": round(time.monotonic() - self.began, 1),
            "seed": self.seed,
            "reasons": dict(self.reasons.most_common(12)),
            "problems": self.problems,
        }


class Storm:
    """One run over one ground. `every_s`: mean time between faults."""

    def __init__(self, ground: Ground, weather: Weather, every_s: float) -> None:
        self._ground = ground
        self._mesh = ground.mesh
        self._weather = weather
        self._every_s = every_s
        self._random = random.Random(weather.seed)
        peers = list(self._mesh.peers.values())
        self._elders = self._random.sample(peers, ELDERS)
        self._jobs: list[_Job] = []
        self._down: dict[str, float] = {}
        self._stopped: dict[str, float] = {}
        self._aborted: list[str] = []
        weather.samples |= {elder.name: [] for elder in self._elders}

    def run(self, faults: int, longest_s: float) -> None:
        """Seasons until there were `faults` or `longest_s` have passed; then the audit."""
        self._play(lambda: self._weather.faults, faults, SEASON, longest_s)

    def soak(self, jobs: int, longest_s: float) -> None:
        """Seasons until so many jobs have ended; then the audit, and a verdict on growth in any case."""
        self._play(lambda: self._weather.ended, jobs, SOAK_SEASON, longest_s)
        for name, samples in self._weather.samples.items():
            if not vitals.growth(samples):
                self._weather.problem(f"{name}: {len(samples)} samples say nothing about growth")

    def _play(self, done: Callable[[], int], wanted: int, step: int, longest_s: float) -> None:
        weather = self._weather
        self._mesh.start()
        try:
            self._mesh.wait_formed(FORM_S)
            self._ground.learn_parties()
            self._measure()
            weather.first_epoch = self._elders[0].client.status().epoch
            while done() < wanted and time.monotonic() - weather.began < longest_s:
                self._season(done, min(done() + step, wanted))
                self._calm()
            weather.last_epoch = self._elders[0].client.status().epoch
            if weather.kills > MANY_KILLS and weather.last_epoch == weather.first_epoch:
                weather.problem("gateways came and went, and no epoch ended")
            self._mesh.wait_until("all sessions end", self._nothing_open, LINGER_S)
        except DeadlinePassed as error:
            weather.problem(f"{error.args[0]}: {'; '.join(audit.states(self._mesh))}")
        finally:
            self._mesh.stop()
        for words in audit.contradictions([p.home for p in self._mesh.peers.values()], self._aborted):
            weather.problem(words)
        for name, samples in weather.samples.items():
            for words in vitals.leaks(name, samples):
                weather.problem(words)

    # -- a season -------------------------------------------------------------------------------------

    def _season(self, done: Callable[[], int], goal: int) -> None:
        next_s = time.monotonic()
        while done() < goal:
            now = time.monotonic()
            if now >= next_s:
                self._strike(now)
                next_s = now + self._random.uniform(0.5, 1.5) * self._every_s
            self._mend(now)
            self._submit()
            self._look(now)
            time.sleep(POLL_S)

    def _strike(self, now: float) -> None:
        """One fault, unless enough peers are down."""
        if len(self._down) + len(self._stopped) >= MAX_DOWN:
            return
        kills = self._random.random() < KILLS
        victims = [peer for peer in self._able() if not (kills and peer in self._elders)]
        victim = self._random.choice(victims)
        if kills:
            self._mesh.kill(victim.name)
            self._down[victim.name] = now + self._random.uniform(*DOWN_S)
            self._weather.kills += 1
            for job in self._jobs:
                if job.asker is victim:
                    job.asker_died, job.since = True, now
        else:
            self._mesh.pause(victim.name)
            self._stopped[victim.name] = now + self._random.uniform(*PAUSE_S)
            self._weather.pauses += 1

    def _mend(self, now: float) -> None:
        for name in [name for name, until in self._down.items() if now >= until]:
            del self._down[name]
            self._mesh.restart(name)
        for name in [name for name, until in self._stopped.items() if now >= until]:
            del self._stopped[name]
            self._mesh.resume(name)

    def _able(self) -> list[Peer]:
        """Peers that run and answer."""
        return [
            p for p in self._mesh.peers.values() if p.name not in self._down and p.name not in self._stopped
        ]

    # -- jobs -----------------------------------------------------------------------------------------

    def _submit(self) -> None:
        if len(self._jobs) >= JOBS:
            return
        asker = self._random.choice(self._able())
        everything = [(name, column) for column in COLUMNS for name in STATISTICS]
        wanted = self._random.sample(everything, self._random.choice((1, 3)))
        began = time.monotonic()
        try:
            self._jobs.append(_Job(asker, asker.client.submit(self._ground.spec(wanted)), began))
        except MeshError as error:
            self._note("aborted", f"not begun: {error.args[0]}", began)

    def _look(self, now: float) -> None:
        able = self._able()
        for job in [job for job in self._jobs if job.asker in able]:
            try:
                info = job.asker.client.job(job.job)
                if not info.ended and now < max(job.began, job.since) + HANG_S:
                    continue
                sessions = sessions_of(job.asker, job.job)
            except (NodeUnreachable, AnswerTimeout) as error:
                self._jobs.remove(job)
                self._note("hung", f"{job.asker.name} does not answer: {error.args[0]}", job.began)
                continue
            except MeshError as error:
                self._jobs.remove(job)
                verdict = "orphaned" if job.asker_died else "hung"
                self._note(verdict, str(error.args[0]), job.began, f"{job.asker.name} {job.job}")
                continue
            self._jobs.remove(job)
            verdict, words = self._ground.judge(info)
            if verdict != "hung":
                self._aborted += sessions if verdict == "aborted" else sessions[:-1]
            self._weather.resumed += job.asker_died
            self._note(verdict, words if verdict != "right" else "", job.began, f"{job.asker.name} {job.job}")

    def _note(self, verdict: str, words: str, began: float, name: str = "") -> None:
        weather = self._weather
        weather.verdicts[verdict] += 1
        weather.seconds.append(time.monotonic() - began)
        if words:
            weather.reasons[f"{verdict}: {words[:160]}"] += 1
        if verdict in ("wrong", "hung"):
            weather.problem(f"{verdict}: {words}")
        elif verdict in ("unclear", "orphaned"):
            print(f"     {verdict} {name}: {words}", file=sys.stderr, flush=True)

    # -- calm -----------------------------------------------------------------------------------------

    def _calm(self) -> None:
        """Everybody is up, every job has ended, the mesh is whole; the elders are measured."""
        began = time.monotonic()
        while self._down or self._stopped:
            self._mend(time.monotonic())
            self._look(time.monotonic())
            time.sleep(POLL_S)
        healed = time.monotonic()
        self._mesh.wait_formed(FORM_S)
        self._weather.whole_again_s.append(time.monotonic() - healed)
        while self._jobs:
            self._look(time.monotonic())
            time.sleep(POLL_S)
        until = time.monotonic() + REST_S
        while time.monotonic() < until and any(vitals.live_sessions(elder) for elder in self._elders):
            time.sleep(10 * POLL_S)
        self._measure()
        weather = self._weather
        counts = ", ".join(f"{count} {verdict}" for verdict, count in weather.verdicts.most_common())
        print(
            f"{weather.faults:5d} faults, {counts}; calm after {time.monotonic() - began:.1f} s; "
            + "; ".join(f"{name} {_plain(found[-1])}" for name, found in weather.samples.items()),
            file=sys.stderr,
            flush=True,
        )

    def _measure(self) -> None:
        for elder in self._elders:
            self._weather.samples[elder.name].append(vitals.sample(elder, self._weather.ended))

    def _nothing_open(self) -> bool:
        return not any(audit.open_sessions(peer.home) for peer in self._mesh.running)


def _plain(found: Vitals) -> dict[str, float]:
    return {"fds": found.fds, "rss_mb": found.rss_mb, "threads": found.threads, "tasks": found.tasks}
