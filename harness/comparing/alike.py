"""Whether builds differ in nothing but their weights, so that a difference is the weights' own."""

from __future__ import annotations

import re
from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final

from harness.errors import BadInputError
from harness.evidence.machines import machine_word
from harness.measuring.measurement import Caveat
from harness.reports.figures import plain
from launchers.redact import MASK, is_secret, redact_mapping

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from harness.evidence.evidence import Evidence
    from launchers.build import Build

Facts = dict[str, dict[str, list[str]]]
"""Build → what it was started with, or asked with → each value of that, in the order found."""

CAVEAT: Final = "unlike"
ALLOW: Final = "--allow-different"
_VARIABLE: Final = "environment "
_WEIGHTS: Final = frozenset(
    (
        *("quantization", "load-format", "model", "served-model-name", "host", "port", "api-key"),
        *("alias", "hf-repo", "model-id", "model-path", "quantize", "hostname", "shard-uds-path"),
    )
)
"""Arguments of an engine in which builds of one model differ by nature, or by chance."""
_REPORTED: Final = (
    "device", "dtype", "max_model_len", "kv_cache_dtype", "tensor_parallel_size", "enforce_eager",
    "enable_prefix_caching", "enable_chunked_prefill",
)  # fmt: skip
"""What an engine says of itself that must be alike."""
_REQUEST: Final = (
    "dialect",
    "no_stream",
    "lengths",
    "ignore_eos",
    "tokenizer",
    "workers",
    "interleave",
)
_NO_TRAFFIC: Final = frozenset(("name", "description", "levels"))


def of_build(build: Build) -> dict[str, list[str]]:
    """Return what a build's TOML says beside its weights."""
    found: dict[str, object] = {
        "engine": build.engine,
        "image": build.image,
        "command": " ".join(build.command) if build.command else None,
        "device": build.device,
        "dtype": build.dtype,
        "max_model_len": build.max_model_len,
    }
    found |= _flags(build.arguments)
    found |= {f"{_VARIABLE}{name}": value for name, value in build.environment.items()}
    return {name: [str(value)] for name, value in found.items() if value is not None}


def of_evidence(evidence: Evidence, builds: Sequence[str]) -> Facts:
    """Return what finished runs say of how builds were started, and how they were asked."""
    found: Facts = {build: defaultdict(list) for build in builds}
    for run in evidence.load:
        servers = _table(run.manifest.get("servers"))
        request = _table(run.manifest.get("request"))
        profile = _table(run.manifest.get("profile"))
        asked: dict[str, object] = {f"request {name}": request.get(name) for name in _REQUEST}
        others = _table(request.get("dialects"))
        asked["load seed"] = run.measurements.run.seed
        asked["harness"] = run.measurements.run.harness_version
        name = profile.get("name")
        asked |= {
            f"profile {name} {key}": value
            for key, value in profile.items()
            if key not in _NO_TRAFFIC
        }
        for build in dict.fromkeys(cell.build for cell in run.measurements.cells):
            if build in found:
                server = _table(servers.get(build))
                where = {"machine": machine_word(run.manifest.get("host"), server)}
                dialect = others.get(build, request.get("dialect"))
                told = asked | where | {"request dialect": dialect} | _of_server(server)
                told |= {"cpus": server.get("cpus")}
                cells = [cell for cell in run.measurements.cells if cell.build == build]
                told |= {"engine": cells[0].engine, "engine_version": cells[0].engine_version}
                _add(found[build], told)
    for graded in evidence.quality:
        manifest = graded.manifest
        for one in graded.evaluations:
            build = one.server.build
            if build in found:
                server = manifest.servers[build].provenance if build in manifest.servers else {}
                told = {"machine": machine_word(manifest.host, server)} | _of_server(server)
                told |= {"engine": one.server.engine, "engine_version": one.server.engine_version}
                told |= {f"route of {suite.suite}": suite.route for suite in one.suites}
                _add(found[build], told)
    return found


def unlike(facts: Mapping[str, Mapping[str, Sequence[str]]], baseline: str) -> list[str]:
    """Say in what builds differ from the baseline, a line each.

    What a build does not tell is no difference.

    Args:
        facts: of every build, by `of_build` or `of_evidence`.
        baseline: one of them.
    """
    names = dict.fromkeys(name for told in facts.values() for name in told)
    found = []
    for name in names:
        values = {build: list(told[name]) for build, told in facts.items() if told.get(name)}
        if len({value for several in values.values() for value in several}) <= 1:
            continue
        base = values.get(baseline) or next(iter(values.values()))
        others = {b: v for b, v in values.items() if b == baseline or v != base or len(v) > 1}
        shown = ", ".join(f"{build} {' and '.join(value)}" for build, value in others.items())
        found.append(plain(f"{name}: {shown}"))
    return found


def unlike_builds(builds: Iterable[Build], baseline: str) -> list[str]:
    """Say in what builds' TOML files differ beside the weights; what is not set counts, too.

    Values that may be secrets are numbered in place of shown.
    """
    facts = {build.name: of_build(build) for build in builds}
    whole: Facts = {build: {} for build in facts}
    for name in dict.fromkeys(name for told in facts.values() for name in told):
        values = {build: told.get(name, [""])[0] for build, told in facts.items()}
        hidden = [value for value in dict.fromkeys(values.values()) if _is_hidden(name, value)]
        shown = {value: f"{MASK} {number}" for number, value in enumerate(hidden, 1)}
        for build, value in values.items():
            there = shown.get(value, value) if name in facts[build] else "(not set)"
            whole[build][name] = [there]
    return unlike(whole, baseline)


def _is_hidden(name: str, value: str) -> bool:
    if name.startswith(_VARIABLE):
        variable = {name.removeprefix(_VARIABLE): value}
        return redact_mapping(variable) != variable
    return is_secret(name)


def together(known: Sequence[str], found: Sequence[str]) -> list[str]:
    """Put lines of `unlike_builds` behind those of `unlike` that name other things."""
    names = {line.partition(":")[0] for line in found}
    return [*found, *(line for line in known if line.partition(":")[0] not in names)]


def check_alike(lines: Sequence[str], *, allow_different: bool) -> list[Caveat]:
    """Return a caveat about what is unlike; none where nothing is.

    Args:
        lines: of `unlike` or `unlike_builds`.
        allow_different: the user has said that it may be.

    Raises:
        BadInputError: it may not be.
    """
    if not lines:
        return []
    listed = "; ".join(lines)
    if not allow_different:
        raise BadInputError(
            f"the builds differ in more than their weights: {listed}",
            hint=f"Start and ask them alike, or compare them all the same with {ALLOW}: whatever "
            "is found may then come from these.",
        )
    return [
        Caveat(
            CAVEAT,
            f"The builds differ in more than their weights, so a difference may come from that: "
            f"{listed}.",
        )
    ]


def _of_server(server: Mapping[str, Any]) -> dict[str, object]:
    reported = _table(server.get("reported"))
    found: dict[str, object] = {name: reported.get(name) for name in _REPORTED}
    for name, value in _flags(_given(server.get("argv") or ())).items():
        if found.get(name) is None:
            found[name] = value
    environment = _table(server.get("environment"))
    found |= {f"{_VARIABLE}{name}": value for name, value in environment.items() if value}
    return found


_FLAG: Final = re.compile(r"-(?!\.?\d)")
"""How a flag begins, which `-1` does not."""


def _given(argv: Iterable[object]) -> dict[str, object]:
    """Return the flags of a command line: `--name=value`, `--name value`, or `--name` alone."""
    words = [str(word) for word in argv]
    found: dict[str, object] = {}
    for word, following in zip(words, [*words[1:], ""], strict=False):
        if _FLAG.match(word) and (flag := word.lstrip("-")):
            name, equals, value = flag.partition("=")
            alone = not following or bool(_FLAG.match(following))
            found[name] = value if equals else True if alone else following
    return found


def _flags(arguments: Mapping[str, object]) -> dict[str, object]:
    """Return an engine's arguments by the names of fields: `--max-model-len` is one, too."""
    found = {name.replace("_", "-"): value for name, value in arguments.items()}
    return {name.replace("-", "_"): value for name, value in found.items() if name not in _WEIGHTS}


def _add(told: dict[str, list[str]], values: Mapping[str, object]) -> None:
    for name, value in values.items():
        if value is not None and str(value) not in told[name]:
            told[name].append(str(value))


def _table(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
