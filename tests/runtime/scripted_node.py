"""A NodeService that answers from a script: the node of the API and command-line tests."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path

import trio

from mesh.api import shapes
from mesh.api.server import serve
from mesh.runtime.home import Home
from protocols.errors import DeadlinePassed, LocalMisuse, Refused, TooFewDealers
from protocols.identifiers import PartyId

PARTY = PartyId(bytes(range(32)))
ANSWER = shapes.AnswerInfo("mean", "temp", 21.5, 120)
RESULT = shapes.JobResult(
    21.5, 120, 4, "receipt-text", (ANSWER,), "ab" * 32, 0.7, 4096, ("the mean", "n"), ("d",)
)
HISTOGRAM = shapes.AnswerInfo("histogram", "age", (3.0, 4.0), 7, (0.0, 10.0, 20.0), 0, 1)

VAULT = shapes.VaultInfo(
    "cardio", "ab" * 32, "owner", "a", "shared", 1, 2,
    (shapes.HolderInfo("b", "cd" * 32, "holds"), shapes.HolderInfo("c", "ef" * 32, "away", "not reachable")),
    ("bmi",), 688, 1.0, 2.0, 3, 0, None,
)  # fmt: skip


PROGRAM = shapes.ProgramInfo(
    "ab" * 32, 684,
    (shapes.ProgramInput("0:*", "0", "", ("*",), (5, 64), "fixed", 0.0, 1.0),),
    (shapes.ProgramOutput("class", "a", (5,), "integer"),),
    (shapes.ProgramOperation("matmul", 2, 210),), ("%0 = input",), 1,
    shapes.ProgramCost(4, 1, 22, 46680, 1 << 20, 0.03, 0.5, "rounds 22"), "", ("a note",),
    (shapes.ProgramAsked("ab" * 32, "b", "digits", ("x",), "", 1.0, False, "DENY by rule allow", "do this"),),
)  # fmt: skip


class ScriptedNode:
    """Remembers what it was asked; job ids say how the job ends: ok, refused, late, few, bug."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, object]] = []
        self.stopped = trio.Event()
        self.watchers_closed = 0
        self.hold = trio.Event()
        self.vector_file = Path()

    async def status(self) -> shapes.Status:
        return shapes.Status(
            name="a", site="ward", party=PARTY.hex(), mesh="11" * 32, state="member", health="All is well.",
            version="0.1.0", pid=1, uptime_s=3.5, epoch=2, members=4, alive=4, links=3, clusters=1,
            cluster="c0", gateway=True, roles=("adder c0",), addresses=("/ip4/127.0.0.1/tcp/1",),
            alerts=(shapes.Alert("C-610", "readings has no policy", "coppice policy init readings"),),
        )  # fmt: skip

    async def peers(self) -> Sequence[shapes.PeerInfo]:
        return [
            shapes.PeerInfo("a", PARTY.hex(), "ward", "self", "c0"),
            shapes.PeerInfo("b", "22" * 32, "ward", "alive", "c0", direct=True, rtt_ms=1.25),
        ]

    async def tree(self) -> shapes.Tree:
        cluster = shapes.ClusterInfo("c0", "a", ("a", "b", "c"), 1, ("a", "b", "c", "d"))
        return shapes.Tree(2, (cluster,), dataclasses.replace(cluster, label="root"), 12.5)

    async def invite(self, spec: shapes.InviteSpec) -> shapes.Invitation:
        self.asked.append(("invite", spec))
        return shapes.Invitation(
            "coppice1:abc", "t1", spec.expires_s or 60.0, bool(spec.confirm), ("/ip4/1.2.3.4/tcp/5",)
        )

    async def join(self, spec: shapes.JoinSpec) -> shapes.JoinStatus:
        self.asked.append(("join", spec))
        return shapes.JoinStatus("asked", "river-stone-lamp", "", "b")

    async def join_status(self) -> shapes.JoinStatus:
        return shapes.JoinStatus("none")

    async def requests(self) -> Sequence[shapes.RequestInfo]:
        return [shapes.RequestInfo("r1", "join", "waiting", "d", "wants to join", "river-stone-lamp", 1.0)]

    async def answer(self, request: str, spec: shapes.AnswerSpec) -> shapes.RequestInfo:
        if request != "r1":
            raise LocalMisuse(
                f"there is no request {request}", code="C-404", fix="see: coppice requests list"
            )
        return shapes.RequestInfo("r1", "join", spec.verdict, "d", "wants to join")

    async def plan(self, spec: shapes.JobSpec) -> shapes.PlanReport:
        if spec.dataset == "two":
            raise Refused(
                "two peers cannot hide anything from each other", reasons={PARTY: "no"}, fix="add a peer"
            )
        committee = shapes.CommitteeFacts("root", 3, 1, ("a", "b", "c"), ("a",), 0, 1, 0)
        return shapes.PlanReport(
            "ab12", ("a", "b", "c"), 3, 3, (committee,), 1, 1, 0, 2, 9,
            (shapes.RoleCost("device", 2048),), 0.5, ("mean of temp to everybody",),
            ("hides from any one peer but corrects no liar",),
        )  # fmt: skip

    async def submit(self, spec: shapes.JobSpec) -> str:
        self.asked.append(("submit", spec))
        return spec.purpose or "ok"

    async def jobs(self) -> Sequence[shapes.JobInfo]:
        return [await self.job("ok")]

    async def job(self, job: str) -> shapes.JobInfo:
        spec = shapes.JobSpec("readings", (shapes.QuerySpec("mean", "temp"),), 3)
        if job == "unknown":
            raise LocalMisuse("there is no job unknown", code="C-404", fix="see: coppice jobs list")
        return shapes.JobInfo(job, "done", spec, 1.0, result=RESULT)

    async def cancel(self, job: str) -> shapes.JobInfo:
        return dataclasses.replace(await self.job(job), state="cancelled", result=None)

    async def events(self, job: str) -> Sequence[shapes.JobEvent]:
        await self.job(job)
        return [shapes.JobEvent(job, 1, 1.0, "planned", "4 sites, threshold 1 of 3")]

    async def watch(self, job: str) -> AsyncGenerator[shapes.JobEvent, None]:
        try:
            yield shapes.JobEvent(job, 1, 1.0, "planned", "4 sites, threshold 1 of 3")
            if job == "held":
                await self.hold.wait()
            if job == "bug":
                raise ZeroDivisionError("secret detail")
            yield shapes.JobEvent(job, 2, 1.5, "ended", "opened", (("sites", "4"),))
        finally:
            self.watchers_closed += 1

    async def result(self, job: str) -> shapes.JobResult:
        if job == "refused":
            raise Refused("b refuses: it has no policy", reasons={PARTY: "no policy"}, fix="ask b")
        if job == "late":
            raise DeadlinePassed("no result within 5 s", definite=True, fix="raise --timeout")
        if job == "few":
            raise TooFewDealers("2 of 3 sites answered; missing: d", definite=True)
        if job == "bug":
            raise ZeroDivisionError("secret detail")
        return RESULT

    async def vector(self, job: str, index: int) -> Path:
        if index != 0:
            raise LocalMisuse(f"answer {index} of job {job} is no long vector", code="C-404")
        return self.vector_file

    async def weights(self, name: str) -> bytes:
        return bytes(range(256)) * 5000

    async def share(self, spec: shapes.ShareSpec) -> shapes.VaultInfo:
        if spec.holders < 3 * spec.threshold + 1:
            raise Refused("too few holders", reasons={}, fix="use more")
        self.asked.append(("share", spec))
        return VAULT

    async def shared(self) -> Sequence[shapes.VaultInfo]:
        return [VAULT, dataclasses.replace(VAULT, role="holder", renewed_at=None, uses=None)]

    async def unshare(self, name: str) -> shapes.VaultInfo:
        if name != VAULT.name:
            raise LocalMisuse(f"nothing is called {name}", code="C-404", fix="see: coppice data shared")
        return dataclasses.replace(VAULT, state="erasing")

    async def programs(self) -> Sequence[shapes.ProgramAsked]:
        return PROGRAM.asked

    async def program(self, digest: str) -> shapes.ProgramInfo:
        if not PROGRAM.digest.startswith(digest):
            raise LocalMisuse(f"no program {digest}", code="C-404", fix="see coppice programs list")
        return PROGRAM

    async def metrics(self) -> shapes.Metrics:
        return shapes.Metrics((("coppice_links", 3.0),))

    async def shutdown(self) -> None:
        self.stopped.set()


async def serve_until_shutdown(home: Home, node: ScriptedNode | None = None, *, ready=lambda: None) -> None:
    """Serve the scripted node on the home's socket until a client says shutdown."""
    node = node or ScriptedNode()
    async with trio.open_nursery() as nursery:
        await nursery.start(serve, node, home)
        ready()
        await node.stopped.wait()
        await trio.sleep(0.05)
        nursery.cancel_scope.cancel()


def main(folder: str) -> None:
    """A process of its own, for the command-line tests; says `ready` on stdout."""
    home = Home(Path(folder))
    with home.lock("scripted node"):
        trio.run(lambda: serve_until_shutdown(home, ready=lambda: print("ready", flush=True)))


if __name__ == "__main__":
    import sys

    main(sys.argv[1])
