"""Run folders of evaluations, made by hand: the answers are known, so the numbers are, too."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from evals.records import Answer
from harness.measuring.measurement import RunInfo
from harness.quality.passes import EVALS, Pass, PassRecord, write_pass
from harness.quality.record import BaselineFacts, EvalManifest, ServerFacts, SuiteFacts
from harness.rundir import RunFolder

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from harness.quality.passes import What

PROVENANCE = {"scheme": "4-bit, group 128", "reported": {"linear_kernel": "MarlinLinearKernel"}}


def answers(right: Sequence[bool], **fields: Any) -> list[Answer]:  # noqa: ANN401 - an Answer's
    """One answer an item; every second item is of category "b", the others of "a"."""
    return [
        Answer(
            item=f"item-{number:04}",
            category="b" if number % 2 else "a",
            prompt_hash=f"{number:016x}",
            score=float(is_right),
            prompt=f"Question {number}?",
            expected="yes",
            text="yes" if is_right else "no",
            finish_reason="stop",
            output_tokens=1,
            latency_ms=10.0 + number % 7,
            **fields,
        )
        for number, is_right in enumerate(right)
    ]


@dataclass
class MadeRun:
    """A folder under construction."""

    path: Path
    builds: list[str] = field(default_factory=lambda: ["gptq"])
    baseline: str | None = None
    suites: list[str] = field(default_factory=lambda: ["domain"])
    kind: str = "domain"
    margin: float = 2.0
    passes: list[Pass] = field(default_factory=list)
    request: dict[str, Any] = field(default_factory=dict)
    tokenizers: dict[str, str] = field(default_factory=dict)
    """Build → SHA-256 of its tokenizer."""

    def add(
        self,
        build: str,
        found: list[Answer],
        *,
        suite: str = "domain",
        what: What = "idle",
        **record: Any,  # noqa: ANN401 - a PassRecord's
    ) -> MadeRun:
        """Add a pass that is done."""
        one = Pass(suite=suite, build=build, what=what)
        self.passes.append(one)
        folder = self.path / EVALS / suite / one.folder
        folder.mkdir(parents=True)
        lines = [msgspec.json.encode(answer) + b"\n" for answer in found]
        (folder / "answers.jsonl").write_bytes(b"".join(lines))
        facts = {"ended": "done", "route": "generative", "items": len(found), "wall_s": 1.0}
        write_pass(folder, PassRecord(**{**facts, **record}))
        return self

    def folder(self) -> RunFolder:
        """Write the manifest."""
        builds = dict.fromkeys(one.build for one in self.passes)
        manifest = EvalManifest(
            run=RunInfo(
                id="made",
                path="made",
                started="2026-11-25T00:00:00+00:00",
                command="harness eval",
                seed=0,
                harness_version="0",
            ),
            request=self.request,
            builds=self.builds,
            baseline=None if self.baseline is None else BaselineFacts(build=self.baseline),
            suites=[SuiteFacts(name=name, kind=self.kind) for name in self.suites],
            passes=self.passes,
            margin=self.margin,
            perplexity_margin=5.0,
            max_fail_ratio=0.05,
            seed=0,
            servers={
                build: ServerFacts(
                    engine="mock",
                    engine_version="1",
                    model="m",
                    identity=build,
                    provenance=PROVENANCE,
                    tokenizer_sha256=self.tokenizers.get(build),
                )
                for build in builds
            },
        )
        run = RunFolder(self.path)
        run.write_manifest(msgspec.to_builtins(manifest))
        return run
