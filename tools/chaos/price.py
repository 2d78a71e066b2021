"""What a lost role costs a session that is under way: time beyond an undisturbed one, and beyond detection.

The asker stays the same and is never hit. In turn nobody, a sub-aggregator, or a committee member that is no
sub-aggregator is hit at a random moment of the session, by SIGKILL (the others see its links close at
once) or by SIGSTOP (they see it after detect_s of silence).

What it is made of: no timer. The next adder is told all again, the root's members reshare to a substitute.
All peers share the machine's cores, so what counts is how much work that is for all of them together, and a
round beside any other load is dear. So each begins when the mesh has come to rest from the one before.

Rounds in which nobody is hit are told in the same way: by how much they differ among themselves is what the
machine adds to the others.

Invariant: only right answers have a price; what else comes of a round is counted beside it.
"""

from __future__ import annotations

import random
import sys
import time
from collections import Counter, defaultdict
from statistics import median

from mesh.api.shapes import Tree
from mesh.config import resolve
from mesh.runtime.demo.local_mesh import POLL_S, Peer
from protocols.errors import MeshError
from tools.chaos.ground import COLUMNS, STATISTICS, Ground
from tools.chaos.idle import cpu_s
from tools.chaos.loop import FORM_S, HANG_S

ROLES = ("nobody", "sub-aggregator", "committee member")
WARM_UP = 3
LATEST = 0.9
"""The blow falls within this part of an undisturbed session: later ones would miss it."""
DEAR_S = 0.8
"""Rounds that cost more than this are told step by step."""
LONGER_S = 1.5
"""A stopped peer stays stopped this much beyond detection."""
REST_LOOK_S, REST_CPU, REST_S = 0.5, 0.25, 15.0
"""A mesh is at rest when all its peers together take less than REST_CPU of a core for REST_LOOK_S."""


def measure(ground: Ground, runs: int, seed: int, *, pauses: bool) -> dict[str, object]:
    """Prices by role. `runs` rounds of each role. Raises DeadlinePassed if the mesh does not mend."""
    dice = random.Random(seed)
    detect_s = _detect_s(ground) if pauses else 0.0
    seconds: dict[str, list[float]] = defaultdict(list)
    verdicts: Counter[str] = Counter()
    asker = ground.mesh.peers[ground.names[0]]
    ground.mesh.wait_formed(FORM_S)
    for number in range(WARM_UP + len(ROLES) * runs):
        role = ROLES[max(0, number - WARM_UP) % len(ROLES)]
        usual_s = median(seconds["nobody"]) if seconds["nobody"] else 0.5
        victim = _victim(asker.client.tree(), role, asker.name, dice)
        verdict, took = _round(ground, asker, victim, dice.uniform(0.0, LATEST * usual_s), pauses, detect_s)
        verdicts[verdict] += 1
        if verdict == "right" and number >= WARM_UP:
            seconds[role].append(took)
        print(f"{number + 1:4d} {verdict:8s} {victim or 'nobody'} ({role}) {took:5.2f} s", file=sys.stderr)
        if role != "nobody" and took > usual_s + detect_s + DEAR_S:
            _tell(asker)
        for peer in list(ground.mesh.peers.values()):
            if not peer.pid:
                ground.mesh.restart(peer.name)
        ground.mesh.wait_formed(FORM_S)
        _rest(ground)
    return {"verdicts": dict(verdicts), "detect_s": detect_s, **_prices(seconds, detect_s)}


def _prices(seconds: dict[str, list[float]], detect_s: float) -> dict[str, object]:
    usual = median(seconds["nobody"])
    found: dict[str, object] = {"undisturbed_median_s": round(usual, 3)}
    for role in ROLES:
        waited_s = 0.0 if role == ROLES[0] else detect_s
        beyond = sorted(max(0.0, took - usual - waited_s) for took in seconds[role])
        found[role] = {
            "rounds": len(beyond),
            "beyond_detection_median_s": round(median(beyond), 3),
            "beyond_detection_p90_s": round(beyond[len(beyond) * 9 // 10], 3),
            "beyond_detection_longest_s": round(beyond[-1], 3),
        }
    return found


def _rest(ground: Ground) -> None:
    """Wait, but not for ever, until what a restart made the peers do is done: no part of the next round."""
    give_up = time.monotonic() + REST_S
    pids = [peer.pid for peer in ground.mesh.running]
    while time.monotonic() < give_up:
        before, began = sum(map(cpu_s, pids)), time.monotonic()
        time.sleep(REST_LOOK_S)
        if sum(map(cpu_s, pids)) - before < REST_CPU * (time.monotonic() - began):
            return


def _round(
    ground: Ground, asker: Peer, victim: str, moment_s: float, pauses: bool, detect_s: float
) -> tuple[str, float]:
    """Ask, hit, wait; the verdict and how long the answer took."""
    everything = [(name, column) for column in COLUMNS for name in STATISTICS]
    began = time.monotonic()
    resume_at = began + moment_s + detect_s + LONGER_S
    stopped = False
    try:
        job = asker.client.submit(ground.spec(everything))
        time.sleep(moment_s)
        if victim and pauses:
            ground.mesh.pause(victim)
            stopped = True
        elif victim:
            ground.mesh.kill(victim)
        while True:
            info = asker.client.job(job)
            now = time.monotonic()
            if info.ended or now > began + HANG_S:
                return ground.judge(info)[0], now - began
            if stopped and now > resume_at:
                ground.mesh.resume(victim)
                stopped = False
            time.sleep(POLL_S)
    except MeshError as error:
        return f"aborted: {error.args[0]}", time.monotonic() - began
    finally:
        if stopped:
            ground.mesh.resume(victim)


def _tell(asker: Peer) -> None:
    """What the asker's last job did when."""
    began = 0.0
    for event in asker.client.events(asker.client.jobs()[0].id):
        began = began or event.at
        print(f"        {event.at - began:6.3f} {event.kind}: {event.text}", file=sys.stderr)


def _victim(tree: Tree, role: str, asker: str, dice: random.Random) -> str:
    """Somebody with that role and not the asker; nobody if nobody has it."""
    stages = [*tree.clusters, *([tree.root] if tree.root is not None else [])]
    adders = {stage.adder for stage in stages} - {"", asker}
    members = {name for stage in stages for name in stage.committee} - adders - {asker}
    among = {"nobody": set(), "sub-aggregator": adders, "committee member": members}[role]
    return dice.choice(sorted(among)) if among else ""


def _detect_s(ground: Ground) -> float:
    settings = next(iter(ground.mesh.peers.values())).settings
    return resolve(None, flags=dict(settings), environment={}, profile="localhost").config.detect_s
