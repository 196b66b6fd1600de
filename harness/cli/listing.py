"""`harness list servers`, `profiles`, `suites`, `rules` and `baselines`."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.markup import escape

from evals.suite import Suite, builtin_suites
from harness.cli.tables import print_json, print_table
from harness.config import find_build, find_profile, find_rules, find_suite, load_config
from harness.doctor import start_error
from harness.errors import ExitCode
from harness.gating.rules import builtin_rules
from harness.history.baselines import BASELINES, all_baselines
from launchers.build import Build
from launchers.checkpoint import scheme_of
from launchers.errors import LauncherError, NotYetInstalledError
from launchers.model import builtin_builds, resolve_model
from loadprofiles.profile import Profile, builtin_profiles


def servers(*, json: bool = False, config: Path | None = None) -> int:
    """List the builds that can be served, and whether each can start here; and named URLs.

    Args:
        json: Print a JSON array on stdout instead of a table.
        config: The harness.toml to read; otherwise the first one from here upwards.
    """
    found = load_config(config)
    rows: list[dict[str, object]] = []
    for name in sorted({*builtin_builds(), *found.builds}):
        build, base_dir = find_build(name, found)
        error = start_error(build, base_dir)
        rows.append(
            build.model_dump(include={"name", "engine", "model", "quantization", "description"})
            | {"from": str(found.path) if name in found.builds else "shipped"}
            | {"problem": str(error or "") or None, "starts": _starts(error)}
            | {"weights": _weights(build, base_dir)}
        )
    for name, one in sorted(found.servers.items()):
        rows.append(
            {
                "name": name,
                "engine": "url",
                "model": one.model,
                "quantization": None,
                "weights": None,
                "description": one.description,
                "from": str(found.path),
                "problem": None,
                "starts": f"runs at {', '.join(one.url)}",
            }
        )
    columns = {"name": "name", "engine": "engine", "model": "model"}
    columns |= {
        "quantization": "quantization",
        "weights": "weights",
        "from": "from",
        "starts": "can start here",
    }
    _print(rows, columns, json=json)
    return ExitCode.OK


def _weights(build: Build, base_dir: Path) -> str | None:
    """What its checkpoint says that they are."""
    try:
        return scheme_of(build, resolve_model(build, base_dir).checkpoint)
    except LauncherError:
        return None


def _starts(error: LauncherError | None) -> str:
    if isinstance(error, NotYetInstalledError):
        return "yes, and installs its engine first"
    return "yes" if error is None else f"no: {error}"


def profiles(*, json: bool = False, config: Path | None = None) -> int:
    """List the shapes of traffic.

    Args:
        json: Print a JSON array on stdout instead of a table.
        config: The harness.toml to read; otherwise the first one from here upwards.
    """
    found = load_config(config)
    rows: list[dict[str, object]] = []
    for name in sorted({*builtin_profiles(), *found.profiles}):
        profile = find_profile(name, found)
        rows.append(
            profile.model_dump(include={"name", "levels", "duration_s", "requests", "description"})
            | {"arrival": profile.arrival.kind}
            | {"level_unit": _level_unit(profile)}
            | {"from": str(found.path) if name in found.profiles else "shipped"}
        )
    columns = {"name": "name", "arrival": "arrival", "levels": "levels", "level_unit": "unit"}
    _print(rows, columns | {"from": "from", "description": "what it is"}, json=json)
    return ExitCode.OK


def suites(*, json: bool = False, config: Path | None = None) -> int:
    """List what can be asked of a server, to grade its answers.

    Args:
        json: Print a JSON array on stdout instead of a table.
        config: The harness.toml to read; otherwise the first one from here upwards.
    """
    found = load_config(config)
    rows: list[dict[str, object]] = []
    for name in sorted({*builtin_suites(), *found.suites}):
        suite, _ = find_suite(name, found)
        rows.append(
            suite.model_dump(include={"name", "limit", "description"})
            | {"kind": suite.kind, "asks": _asks(suite)}
            | {"from": str(found.path) if name in found.suites else "shipped"}
        )
    columns = {"name": "name", "kind": "kind", "asks": "asks", "from": "from"}
    _print(rows, columns | {"description": "what it is"}, json=json)
    return ExitCode.OK


def rules(*, json: bool = False, config: Path | None = None) -> int:
    """List the rules that `harness gate` can hold a candidate to.

    Args:
        json: Print a JSON array on stdout instead of a table.
        config: The harness.toml to read; otherwise the first one from here upwards.
    """
    found = load_config(config)
    rows: list[dict[str, object]] = []
    for name in sorted({*builtin_rules(), *found.rules}):
        kept, _ = find_rules(name, found)
        rows.append(
            kept.model_dump(include={"name", "budget_s", "description"})
            | {"stages": [stage.name for stage in kept.stages]}
            | {"rules": [rule for stage in kept.stages for rule in stage.rules]}
            | {"from": str(found.path) if name in found.rules else "shipped"}
        )
    columns = {"name": "name", "stages": "stages", "rules": "rules", "budget_s": "budget (s)"}
    _print(rows, columns | {"from": "from", "description": "what they are"}, json=json)
    return ExitCode.OK


def baselines(*, folder: Path = BASELINES, json: bool = False) -> int:
    """List the baselines that `harness gate --bless` has kept, those that were replaced, too.

    Args:
        folder: Where they are.
        json: Print a JSON array on stdout instead of a table.
    """
    rows: list[dict[str, object]] = []
    for path, one in all_baselines(folder):
        engines = [(of.engine, of.engine_version) for of in one.origins]
        rows.append(
            {"name": path.name, "build": one.build, "blessed": one.run.started}
            | {"by": one.blessed_by, "runs": [source.run for source in one.sources]}
            | {"engines": list(dict.fromkeys(" ".join(filter(None, of)) for of in engines))}
            | {"machines": list(dict.fromkeys(of.machine for of in one.origins))}
            | {"commit": (one.git or {}).get("commit"), "path": str(path)}
        )
    columns = {"name": "name", "build": "build", "blessed": "blessed", "by": "by"}
    _print(rows, columns | {"engines": "engine", "machines": "machine", "runs": "from"}, json=json)
    return ExitCode.OK


def _asks(suite: Suite) -> str:
    if suite.domain is not None:
        return suite.domain.items
    if suite.perplexity is not None:
        return suite.perplexity.text
    return ", ".join(suite.lmeval.tasks) if suite.lmeval is not None else ""


def _level_unit(profile: Profile) -> str:
    if profile.session is not None:
        return "users" if profile.is_closed else "sessions/s"
    return "concurrency" if profile.is_closed else "requests/s"


def _print(rows: Sequence[Mapping[str, object]], columns: Mapping[str, str], *, json: bool) -> None:
    """One table, or one JSON array, on stdout."""
    if json:
        print_json(rows)
    else:
        cells = ([escape(_cell(row[key])) for key in columns] for row in rows)
        print_table(list(columns.values()), cells)


def _cell(value: object) -> str:
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(item if isinstance(item, str) else f"{item:g}" for item in value)
    return "" if value is None else str(value)
