"""What the IETF drafts on LLM benchmarking ask a report to say, and what of it a run cannot.

The drafts (M. Gaikwad, *Benchmarking Methodology*, *Terminology* and *Profiles for Large Language
Model Serving*, draft-gaikwad-llm-benchmarking-{methodology,terminology,profiles}-00, January 2026,
-01 of August 2026; individual drafts, work in progress) as far as they could be read here: their
abstracts, and the list of requirements with their levels that the vLLM CPU Performance Evaluation
project drew from -00 (docs/ietf-alignment.md there). The section numbers are not known, so a fact
names the draft and the level alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec

from harness.reports.figures import is_open
from harness.reports.words import machine, table, unique

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from harness.measuring.measurement import CellMeasurement, Measurements

P99: Final = 1_000
P99_9: Final = 10_000
"""Samples that a percentile is to rest on."""
_METADATA: Final = "--metadata {}=…"
_PERCENTILES: Final = ("p50", "p90", "p95", "p99")


class Fact(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that a report is to say."""

    name: str
    value: str | None
    """None: this run does not say it."""
    level: Literal["MUST", "SHOULD"] | None
    """As that list has it; None: it is not on the list, but belongs to a report."""
    section: str
    """Which draft asks for it."""
    missing: str = ""
    """Where there is no value: what is missing, and how to have it."""


def ietf_facts(measurements: Measurements, manifest: Mapping[str, object]) -> list[Fact]:
    """Return what a load run says of itself; pure.

    What nobody but the user knows is read from `--metadata`: sut_boundary, tokenizer, precision,
    quantization, clock_sync.
    """
    return list(_Facts(measurements, manifest).all())


class _Facts:
    def __init__(self, measurements: Measurements, manifest: Mapping[str, object]) -> None:
        self._cells: Sequence[CellMeasurement] = measurements.cells
        self._run = measurements.run
        self._manifest = manifest
        self._request = table(manifest, "request")
        self._told = table(self._request, "metadata")
        self._servers = {
            name: table(table(manifest, "servers"), name) for name in table(manifest, "servers")
        }

    def all(self) -> Sequence[Fact]:
        return [
            self._boundary(),
            self._tokenizer(),
            self._streaming(),
            self._of_server(
                "model precision", "precision", ("dtype",), "the engine named no data type"
            ),
            self._of_server(
                "quantization method", "quantization", ("quantization",),
                "the engine named no quantization",
            ),
            self._load_model(),
            self._arrivals(),
            self._percentiles(),
            self._samples("samples for p99", P99, "MUST"),
            self._samples("samples for p99.9", P99_9, "SHOULD"),
            self._warmup(),
            self._separate(),
            self._clock(),
            _fact("random seed", str(self._run.seed), level="SHOULD"),
            self._repeats(),
            self._caching(),
            self._lengths(),
            self._software(),
            self._hardware(),
        ]  # fmt: skip

    def _boundary(self) -> Fact:
        told = self._told.get("sut_boundary")
        launched = self._servers and all(one.get("argv") for one in self._servers.values())
        value = "model engine: the engine's own endpoint, started by harness" if launched else None
        return _fact(
            "boundary of the system under test", str(told) if told else value, draft="profiles",
            missing="only you know what stands behind the URL: an engine, a gateway, guardrails; "
            f"say it with {_METADATA.format('sut_boundary')}",
        )  # fmt: skip

    def _tokenizer(self) -> Fact:
        told = self._told.get("tokenizer") or self._request.get("tokenizer")
        counted = {cell.token_source for cell in self._cells}
        models = unique(str(one["model"]) for one in self._servers.values() if one.get("model"))
        source = "counted by the server" if counted == {"server"} else "counted in chunks"
        value = str(told) if told else ", ".join(map(_last, models)) if models else None
        return _fact(
            "tokenizer", None if value is None or not self._cells else f"{_last(value)}; {source}",
            missing=f"give the model's with --tokenizer, or name it with "
            f"{_METADATA.format('tokenizer')}; tokens were {source}",
        )  # fmt: skip

    def _streaming(self) -> Fact:
        dialect = self._request.get("dialect")
        if not dialect:
            return _fact("streaming protocol", None, missing="the manifest names no dialect")
        how = "one document" if self._request.get("no_stream") else "server-sent events"
        others = self._request.get("dialects")
        told = {str(dialect), *(map(str, others.values()) if isinstance(others, dict) else ())}
        return _fact("streaming protocol", f"{how} over HTTP/1.1, {' and '.join(sorted(told))}")

    def _of_server(self, name: str, key: str, fields: Sequence[str], missing: str) -> Fact:
        told = self._told.get(key)
        values = {}
        for build, server in self._servers.items():
            places: list[Mapping[str, Any]] = [server, table(server, "reported")]
            known = [place[field] for place in places for field in fields if place.get(field)]
            if known:
                values[build] = str(known[0])
            elif any(field in place for place in places for field in fields):
                values[build] = "none"
        complete = bool(values) and set(values) == set(self._servers)
        shown = unique(values.values())
        text = shown[0] if len(shown) == 1 else ", ".join(f"{b}: {v}" for b, v in values.items())
        return _fact(
            name, str(told) if told else text if complete else None,
            missing=f"{missing}; say it with {_METADATA.format(key)}",
        )  # fmt: skip

    def _load_model(self) -> Fact:
        kinds = unique("open loop" if is_open(cell) else "closed loop" for cell in self._cells)
        return _fact("load model", ", ".join(kinds) or None, missing="no cell was measured")

    def _arrivals(self) -> Fact:
        arrival = table(table(self._manifest, "profile"), "arrival")
        rest = [f"{name} {value}" for name, value in arrival.items()
                if name != "kind" and value is not None]  # fmt: skip
        kind = arrival.get("kind")
        value = None if kind is None else ", ".join([str(kind), *rest])
        return _fact("arrival pattern", value, missing="the manifest names no arrival process")

    def _percentiles(self) -> Fact:
        lacking = unique(
            name
            for name in _PERCENTILES
            for cell in self._cells
            if getattr(cell.metrics.e2e_ms, name) is None
        )
        return _fact(
            "latency percentiles", None if lacking or not self._cells else ", ".join(_PERCENTILES),
            missing=f"{', '.join(lacking)} need more answers, or a queue that does not grow"
            if self._cells else "no cell was measured",
        )  # fmt: skip

    def _samples(self, name: str, least: int, level: Literal["MUST", "SHOULD"]) -> Fact:
        found = min((cell.metrics.e2e_ms.n for cell in self._cells), default=0)
        return _fact(
            name, f"{found:,} a cell or more" if found >= least else None, level=level,
            missing=f"a cell has {found:,}, {least:,} are asked for: measure longer",
        )  # fmt: skip

    def _warmup(self) -> Fact:
        profile = table(self._manifest, "profile")
        asked = self._request.get("warmup")
        count = profile.get("warmup_requests") if asked is None else asked
        return _fact(
            "warm-up left out", f"{count} requests, in no number" if count else None,
            missing="there was none: --warmup N",
        )  # fmt: skip

    def _separate(self) -> Fact:
        codes = {caveat.code for cell in self._cells for caveat in cell.client.caveats}
        shared = "shared_machine" in codes or not self._cells
        return _fact(
            "load generator on a machine of its own", None if shared else "yes",
            missing="server and client shared one machine: drive from a second",
        )  # fmt: skip

    def _clock(self) -> Fact:
        clocks = unique(
            "the kernel's receive time" if cell.client.clock == "kernel" else "read in user space"
            for cell in self._cells
        )
        told = self._told.get("clock_sync")
        value = f"none needed: all stamps are the load generator's, {' and '.join(clocks)}"
        return _fact(
            "clock synchronization", str(told) if told else value if clocks else None,
            level="SHOULD", missing="no cell was measured",
        )  # fmt: skip

    def _repeats(self) -> Fact:
        most = max((cell.repeat for cell in self._cells), default=0)
        return _fact(
            "repeated runs with intervals", f"{most} repeats" if most > 1 else None, level="SHOULD",
            missing="each cell was measured once: --repeats 3",
        )  # fmt: skip

    def _caching(self) -> Fact:
        known = {
            build: table(server, "reported").get("enable_prefix_caching")
            for build, server in self._servers.items()
        }
        prefix = table(self._manifest, "profile").get("shared_prefix")
        prompts = "prompts share a prefix" if prefix else "prompts share no prefix"
        shown = unique("on" if value else "off" for value in known.values() if value is not None)
        complete = bool(known) and None not in known.values()
        return _fact(
            "prefix caching", f"{' and '.join(shown)}; {prompts}" if complete else None,
            draft="terminology", level=None,
            missing=f"the engine does not say whether it is on; {prompts}",
        )  # fmt: skip

    def _lengths(self) -> Fact:
        how = {"forced": "as planned, end token ignored", "natural": "as the model ends"}
        found = unique(how[cell.lengths] for cell in self._cells)
        return _fact(
            "output length", " and ".join(found) or None, level=None, missing="no cell was measured"
        )

    def _software(self) -> Fact:
        names = unique(
            f"{cell.engine} {cell.engine_version}" for cell in self._cells if cell.engine_version
        )
        ours = f"harness {self._run.harness_version}"
        whole = bool(self._cells) and all(cell.engine_version for cell in self._cells)
        return _fact(
            "versions of server and load generator",
            f"{', '.join(names)}; {ours}" if whole else None,
            missing=f"the server did not tell its version ({ours})",
        )  # fmt: skip

    def _hardware(self) -> Fact:
        launched = bool(self._servers) and all(one.get("argv") for one in self._servers.values())
        here = machine(self._manifest)
        return _fact(
            "hardware of the server", here if launched and here else None,
            level=None,
            missing="harness did not start the server and cannot see its machine",
        )  # fmt: skip


def _fact(
    name: str,
    value: str | None,
    *,
    missing: str = "",
    level: Literal["MUST", "SHOULD"] | None = "MUST",
    draft: str = "methodology",
) -> Fact:
    section = f"draft-gaikwad-llm-benchmarking-{draft}"
    return Fact(
        name=name,
        value=value or None,
        level=level,
        section=section,
        missing="" if value else missing,
    )


def _last(path: str) -> str:
    """A model's or tokenizer's name without the folders of this machine."""
    return path.rstrip("/").rpartition("/")[2] if path.startswith("/") else path


def summary(facts: Sequence[Fact]) -> str:
    """How much of it the run says."""
    said = sum(fact.value is not None for fact in facts)
    lacking = [fact.name for fact in facts if fact.value is None and fact.level == "MUST"]
    text = f"The IETF drafts on LLM benchmarking ask for {len(facts)} facts; this run says {said}"
    return f"{text}. Of those that they say MUST to, missing: {', '.join(lacking) or 'none'}."


def rows(facts: Sequence[Fact]) -> list[tuple[str, str, str]]:
    """Name, level and value of each, or what is missing."""
    return [
        (fact.name, fact.level or "", fact.value or f"missing: {fact.missing}") for fact in facts
    ]
