"""Where the numbers are from, and the command that makes them again."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import msgspec

from harness.reports import figures, ietf, words

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from harness.evidence.evidence import LoadRun, QualityRun
    from harness.measuring.measurement import RunInfo
    from harness.reports.page.material import Material

_FIRST: Final = (
    "engine", "engine_version", "model", "quantization", "scheme", "linear_kernel", "dtype",
    "device", "kv_cache_tokens", "kv_cache_blocks", "kv_cache_dtype", "max_model_len", "weights",
    "ready_s", "argv",
)  # fmt: skip
"""The facts about a server that come first; the others follow in alphabetical order."""
_FACT_NAMES: Final = {"argv": "command line", "scheme": "weights are", "ready_s": "start-up, s"}


@dataclass(frozen=True, kw_only=True)
class Origin:
    """One run: the page's own, or a part of it."""

    info: RunInfo
    kind: str
    facts: dict[str, str]
    """Seed, folder, git, host."""
    folded: list[tuple[str, dict[str, str]]]
    """Title and facts that are of use to few."""
    texts: list[tuple[str, str]]
    """Title and text as it was, e.g. a suite's settings."""


def servers(material: Material) -> dict[str, Any]:
    """Facts about the servers of all runs, as `server_table` puts them."""
    found: dict[str, Mapping[str, object]] = {}
    for load in material.evidence.load:
        table = words.table(load.manifest, "servers")
        found |= {name: words.table(table, name) for name in table}
    for quality in material.evidence.quality:
        for name, facts in quality.manifest.servers.items():
            if name not in found:
                found[name] = facts.provenance
    return server_table(found)


def server_table(servers: Mapping[str, object]) -> dict[str, Any]:
    """Facts about the servers, a row a fact: `same` holds the text when all builds share it.

    `rows` are the facts that every reader wants, `more` are the others.
    """
    columns = {
        figures.plain(name): words.server_facts(words.table(servers, name)) for name in servers
    }
    rows: list[dict[str, Any]] = []
    more: list[dict[str, Any]] = []
    for name in sorted({key for facts in columns.values() for key in facts}, key=_place):
        values = [facts.get(name, figures.NOTHING) for facts in columns.values()]
        same = values[0] if len(set(values)) == 1 else None
        shown = _FACT_NAMES.get(name) or (name.replace("_", " ") if name.islower() else name)
        part = more if _place(name)[0] == len(_FIRST) else rows
        part.append({"name": shown, "values": values, "same": same})
    return {"builds": list(columns), "rows": rows, "more": more}


def _place(name: str) -> tuple[int, str]:
    """Where a fact stands: the known ones first, `weights.sha256` where `weights` is."""
    whole = name.partition(".")[0]
    return (_FIRST.index(whole) if whole in _FIRST else len(_FIRST), name)


def origins(material: Material) -> list[Origin]:
    """The run itself, and then its parts where it has some."""
    load, quality = material.evidence.load, material.evidence.quality
    folders = {run.folder.path for run in load} | {run.folder.path for run in quality}
    found = [*map(_load, load), *map(_quality, quality)]
    if material.folder.path in folders:
        return found
    return [_origin(material.info, material.kind, material.manifest), *found]


def _load(run: LoadRun) -> Origin:
    origin = _origin(run.measurements.run, "load", run.manifest)
    profile = ("Profile", words.flat(words.table(run.manifest, "profile")))
    facts = ietf.ietf_facts(run.measurements, run.manifest)
    asked = {
        f"{figures.plain(name)} {level}".strip(): figures.plain(value)
        for name, level, value in ietf.rows(facts)
    }
    return _with(origin, folded=[profile, (ietf.summary(facts), asked), *origin.folded])


def _quality(run: QualityRun) -> Origin:
    origin = _origin(run.result.run, "eval", msgspec.to_builtins(run.manifest))
    probes = [
        (f"Probe of {figures.plain(one.server.build)}", words.flat(one.probe))
        for one in run.evaluations
        if one.probe
    ]
    suites = [
        (f"Suite {figures.plain(s.name)}", figures.plain_lines(
            json.dumps(s.settings, indent=2, ensure_ascii=False)))
        for s in run.manifest.suites
    ]  # fmt: skip
    return _with(origin, folded=[*probes, *origin.folded], texts=suites)


def _with(origin: Origin, **changes: Any) -> Origin:  # noqa: ANN401 - an Origin's fields
    return Origin(**{**vars(origin), **changes})


def _origin(info: RunInfo, kind: str, manifest: Mapping[str, Any]) -> Origin:
    facts = {"seed": str(info.seed), "run folder": figures.plain(info.path)}
    git = words.flat(words.table(manifest, "git"))
    facts |= {f"git {name}": value for name, value in git.items()}
    host = words.flat(words.table(manifest, "host"))
    facts |= {name.replace("_", " "): value for name, value in host.items()}
    folded = [
        ("Everything asked on the command line", words.flat(words.table(manifest, "request"))),
        ("Packages", words.flat(words.table(manifest, "packages"))),
    ]
    return Origin(info=info, kind=kind, facts=facts, folded=folded, texts=[])


def client_versions(material: Material) -> Iterator[dict[str, str]]:
    """Versions of the load client, as its cells tell them, each set once."""
    told: list[dict[str, str]] = []
    for seen in material.seen:
        if seen.versions and seen.versions not in told:
            told.append(seen.versions)
            yield words.flat(seen.versions)
