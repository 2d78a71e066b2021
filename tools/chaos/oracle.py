"""What the right answer is: rows split over owners, their policies, and the plaintext over any roster.

Overlap between jobs is allowed by the owners' policies: here the same rows are asked for over and over,
with sites missing at random, which an owner would refuse in earnest.

Verdicts on a job. right: the plaintext's answer. aborted: definite, with the reason. unclear: an abort that
cannot exclude an opening. wrong and hung: never.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mesh.api.local_data import LocalData
from mesh.api.shapes import DataSpec, JobInfo, JobResult, JobSpec, PolicySpec, QuerySpec
from mesh.data.partition import sample, split_csv
from mesh.runtime.demo.plaintext import Plaintext
from mesh.runtime.demo.report import Comparison
from mesh.runtime.home import Home

DATASET = "rows"
STATISTICS = ("mean", "sum", "count", "variance", "histogram")


class Oracle:
    """Splits the Wisconsin rows over `owners`, and judges answers."""

    def __init__(self, folder: Path, owners: Sequence[str], columns: Sequence[str], seed: int) -> None:
        parts = folder / "parts"
        parts.mkdir()
        files = split_csv(sample(), parts, len(owners), seed=seed, columns=tuple(columns))
        self.files = dict(zip(owners, files, strict=True))
        self.plaintext = Plaintext(self.files, columns)
        self.aliases: dict[str, str] = {}
        """Short party ids: how a node that has just come back names a member it has not heard of yet."""

    def give(self, owner: str, home: Home, min_sites: int) -> None:
        """Register the owner's part at its node, which does not run, and allow all statistics."""
        local = LocalData(home)
        local.data_add(DataSpec(str(self.files[owner]), DATASET))
        local.policy_init(DATASET, PolicySpec(allow=STATISTICS, min_sites=min_sites))
        allow_overlap(home)

    def spec(self, wanted: Sequence[tuple[str, str]], min_sites: int, timeout_s: float) -> JobSpec:
        """A job for (statistic, column) pairs."""
        queries = tuple(
            QuerySpec(name, column, self.plaintext.edges(column) if name == "histogram" else ())
            for name, column in wanted
        )
        return JobSpec(DATASET, queries, min_sites=min_sites, timeout_s=timeout_s, purpose="test of the mesh")

    def differences(self, result: JobResult, min_sites: int) -> list[str]:
        """How the answers differ from the plaintext over the sites that they claim to count."""
        counted = tuple(self.aliases.get(name, name) for name in result.counted)
        if not min_sites <= len(set(counted)) == len(counted) == result.sites or set(counted) - set(
            self.files
        ):
            return [f"odd roster {result.counted}"]
        found = []
        for answer in result.answers:
            right = self.plaintext.value(answer.statistic, answer.column, counted)
            if not Comparison(answer.statistic, answer.column, answer.value, right, answer.n).agrees:
                found.append(f"{answer.statistic} {answer.column}: {answer.value} instead of {right}")
        return found

    def judge(self, info: JobInfo, min_sites: int) -> tuple[str, str]:
        """The verdict on a job that has ended, or should have, and the words for it."""
        if not info.ended:
            return "hung", f"still {info.state} {info.phase}"
        if info.result is not None:
            differences = self.differences(info.result, min_sites)
            missing = f"without {', '.join(info.result.missing)}" if info.result.missing else ""
            return ("wrong", "; ".join(differences)) if differences else ("right", missing)
        words = f"{info.error.code} {info.error.what}" if info.error else "no reason given"
        if "not known" in words or info.error is None or info.error.code == "C-900":
            return "unclear", words
        return "aborted", words


def allow_overlap(home: Home) -> None:
    """Rewrite the policy so that the same rows may be asked for again and again."""
    policy = home.data / f"{DATASET}.policy.toml"
    policy.write_text(policy.read_text().replace('overlap = "refuse"', 'overlap = "allow"'))
