"""Builds, profiles, suites, rules by name: shipped, of `harness.toml`, or from a TOML file."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ValidationError

from evals.suite import JudgeSettings, Suite, builtin_suites
from harness.configcheck import is_path, wrong_defaults, wrong_names
from harness.defaults import Defaults
from harness.deployments import Deployment, with_prices
from harness.errors import BadInputError, did_you_mean
from harness.gating.rules import Rules, builtin_rules
from harness.sizing.settings import CapacitySettings
from harness.tomlfile import KeyPath, TomlFile, read_toml
from launchers.build import Build
from launchers.model import builtin_builds
from launchers.redact import is_secret
from loadprofiles.profile import Profile, builtin_profiles

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pydantic_core import ErrorDetails

CONFIG_FILE = "harness.toml"
NAMED: dict[str, type[BaseModel]] = {
    "builds": Build,
    "servers": Deployment,
    "profiles": Profile,
    "suites": Suite,
    "rules": Rules,
}
"""Tables of tables: `[builds.NAME]`, …"""
_JUDGE = "judge"
_CAPACITY = "capacity"
_DEFAULTS = "defaults"
SINGLE: dict[str, type[BaseModel]] = {
    _JUDGE: JudgeSettings,
    _CAPACITY: CapacitySettings,
    _DEFAULTS: Defaults,
}
"""Tables of which there is one."""
_QUOTED = re.compile(r"'([^']*)'")
_TOML_WORDS = {
    "valid dictionary or object to extract fields from": "table",
    "valid dictionary": "table",
    "valid tuple": "array",
    "valid list": "array",
    "Tuple should": "should",
    "List should": "should",
    " after validation": "",
    "be a array": "be an array",
}
_MAX_SHOWN = 60
_Model = TypeVar("_Model", bound=BaseModel)


@dataclass(frozen=True)
class Config:
    """What a `harness.toml` defines; empty when there is none."""

    path: Path | None = None
    builds: Mapping[str, Build] = field(default_factory=dict)
    servers: Mapping[str, Deployment] = field(default_factory=dict)
    profiles: Mapping[str, Profile] = field(default_factory=dict)
    suites: Mapping[str, Suite] = field(default_factory=dict)
    rules: Mapping[str, Rules] = field(default_factory=dict)
    judge: JudgeSettings | None = None
    capacity: CapacitySettings | None = None
    defaults: Defaults | None = None

    @property
    def priced(self) -> frozenset[str]:
        """Builds and servers whose price or GPUs it tells, whether they are measured or not."""
        told = self.capacity or CapacitySettings()
        return frozenset((*told.price_per_gpu_hour, *told.gpus_per_replica))

    def server_at(self, urls: tuple[str, ...]) -> str | None:
        """The name of the deployment with these URLs."""
        return next((name for name, one in self.servers.items() if one.url == urls), None)


def load_config(path: Path | None = None, start: Path | None = None) -> Config:
    """Read `path`, or the first `harness.toml` from `start` (the current folder) upwards.

    Raises:
        BadInputError: with all mistakes of the file, each with its line.
    """
    if path is None:
        start = (start or Path.cwd()).absolute()
        found = (folder / CONFIG_FILE for folder in (start, *start.parents))
        path = next((file for file in found if file.is_file()), None)
        if path is None:
            return Config()
    file = read_toml(path.absolute())
    mistakes: list[tuple[int, str]] = []
    named: dict[str, dict[str, Any]] = {table: {} for table in NAMED}
    single: dict[str, Any] = {}
    for table, content in file.data.items():
        if table in SINGLE:
            single[table] = _only(SINGLE[table], content, file, table, mistakes)
            continue
        if table not in NAMED:
            near = did_you_mean(table, [*NAMED, *SINGLE])
            mistakes.append((file.line((table,)), f"{table}: unknown table{near}"))
            continue
        for name, value in _entries(content, table, file, mistakes):
            where = (table, name)
            model = _check(NAMED[table], value, name, file, where, mistakes)
            if model is not None:
                named[table][name] = model
    for name in named["servers"].keys() & named["builds"].keys():
        text = f"servers.{name}: a build is called so, too; give one of both another name"
        mistakes.append((file.line(("servers", name)), text))
    _name_defaults(single.get(_DEFAULTS), file, mistakes)
    _raise(file, mistakes)
    return Config(
        file.path,
        **named,
        judge=single.get(_JUDGE),
        capacity=with_prices(single.get(_CAPACITY), named["servers"]),
        defaults=single.get(_DEFAULTS),
    )


def _name_defaults(told: Defaults | None, file: TomlFile, mistakes: list[tuple[int, str]]) -> None:
    """Add what `[defaults]` names that there is not; tables with mistakes are there, too."""
    tables = {table: file.data.get(table) for table in NAMED}
    named = {table: held if isinstance(held, dict) else {} for table, held in tables.items()}
    for below, text in () if told is None else wrong_defaults(told, named):
        where = (_DEFAULTS, *below)
        mistakes.append((file.line(where), f"{_dotted(where)}: {text}"))


def find_build(name: str, config: Config) -> tuple[Build, Path]:
    """The build called `name` and the folder that its relative paths count from.

    Raises:
        BadInputError: there is none, or its file has mistakes.
    """
    return _find(Build, name, config.builds, builtin_builds(), config, "server")


def is_build(name: str, config: Config) -> bool:
    """Whether a build is called so, shipped or of the configuration; a path is no name."""
    return name in config.builds or name in builtin_builds()


def find_profile(name: str, config: Config) -> Profile:
    """The profile called `name`.

    Raises:
        BadInputError: there is none, or its file has mistakes.
    """
    profile, folder = _find(Profile, name, config.profiles, builtin_profiles(), config, "profile")
    return profile.beside(folder)


def find_suite(name: str, config: Config) -> tuple[Suite, Path]:
    """The suite called `name` and the folder that its relative paths count from.

    Raises:
        BadInputError: there is none, or its file has mistakes.
    """
    return _find(Suite, name, config.suites, builtin_suites(), config, "suite")


def find_rules(name: str, config: Config) -> tuple[Rules, Path]:
    """The rules called `name` and the folder that their relative paths count from.

    Raises:
        BadInputError: there are none, or their file has mistakes.
    """
    return _find(Rules, name, config.rules, builtin_rules(), config, "rules")


def _find(
    kind: type[_Model],
    name: str,
    named: Mapping[str, _Model],
    shipped: Mapping[str, Path],
    config: Config,
    what: str,
) -> tuple[_Model, Path]:
    """Return the thing called `name`, and the folder that its relative paths count from."""
    if is_path(name):
        path = Path(name).absolute()
        return _from_file(kind, path), path.parent
    if name in named:
        assert config.path is not None  # noqa: S101 - it has some
        return named[name], config.path.parent
    if name in shipped:
        return _from_file(kind, shipped[name]), shipped[name].parent
    if what == "server" and name in config.servers:
        raise BadInputError(
            f"{name} is a server that runs already ([servers.{name}] of {config.path})",
            hint="load, eval, probe, capacity, compare and gate take it by its name; what brings "
            "servers up, or changes their weights, wants a build.",
        )
    listed = f"harness list {what.removesuffix('s')}s"
    raise _unknown(what, name, {*shipped, *named}, listed)


def _unknown(kind: str, name: str, known: set[str], ask: str) -> BadInputError:
    return BadInputError(
        f'no {kind} "{name}"{did_you_mean(name, known)}',
        hint=f"There are {', '.join(sorted(known))}; `{ask}` says more.",
    )


def _from_file(model: type[_Model], path: Path) -> _Model:
    """One build or profile from a file of its own; its name is the file's unless it says so."""
    file = read_toml(path)
    mistakes: list[tuple[int, str]] = []
    found = _check(model, file.data, path.stem, file, (), mistakes)
    _raise(file, mistakes)
    assert found is not None  # noqa: S101 - without a model there were mistakes
    return found


def _entries(
    content: object, table: str, file: TomlFile, mistakes: list[tuple[int, str]]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """The `[table.NAME]`s of one table; what is no table is a mistake."""
    if not isinstance(content, dict):
        mistakes.append((file.line((table,)), f"{table}: should be tables [{table}.NAME]"))
        return
    for name, value in content.items():
        if isinstance(value, dict):
            yield name, value
        else:
            text = f"{table}.{name}: should be a table [{table}.{name}]"
            mistakes.append((file.line((table, name)), text))


def _only(
    model: type[_Model],
    content: object,
    file: TomlFile,
    table: str,
    mistakes: list[tuple[int, str]],
) -> _Model | None:
    """Validate a table of which there is one and add what is wrong with it to `mistakes`."""
    try:
        return model.model_validate(content)
    except ValidationError as error:
        value = content if isinstance(content, dict) else {}
        mistakes += _render(error, model, value, file, (table,))
        return None


def _check(
    model: type[_Model],
    value: dict[str, Any],
    name: str,
    file: TomlFile,
    where: KeyPath,
    mistakes: list[tuple[int, str]],
) -> _Model | None:
    """Validate one table and add what is wrong with it to `mistakes`."""
    try:
        found = model.model_validate({"name": name, **value})
    except ValidationError as error:
        mistakes += _render(error, model, value, file, where)
        return None
    if where and getattr(found, "name", name) != name:
        text = f"{_dotted((*where, 'name'))}: its name is {name!r} already; leave this line out"
        mistakes.append((file.line((*where, "name")), text))
    for key, wrong in wrong_names(found):
        mistakes.append((file.line((*where, key)), f"{_dotted((*where, key))}: {wrong}"))
    return found


def _raise(file: TomlFile, mistakes: list[tuple[int, str]]) -> None:
    if not mistakes:
        return
    lines = "\n".join(f"{_short(file.path)}:{line}: {text}" for line, text in sorted(mistakes))
    count = len(mistakes)
    raise BadInputError(lines if count == 1 else f"{count} mistakes in the configuration:\n{lines}")


def _short(path: Path) -> str:
    """The path from the current folder where it lies below, as an editor's link wants it."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def _render(
    error: ValidationError,
    model: type[BaseModel],
    value: dict[str, Any],
    file: TomlFile,
    where: KeyPath,
) -> list[tuple[int, str]]:
    """One line for each field that is wrong; a union's several complaints are joined."""
    fields: dict[KeyPath, list[str]] = {}
    for item in error.errors(include_url=False):
        if item["type"] == "too_short" and len(item["input"]) != item["ctx"]["actual_length"]:
            continue  # too short only because its items are wrong, each of which is listed
        path = _in_text(item["loc"], value, missing=item["type"] == "missing")
        message = _message(item, path, model)
        if message not in fields.setdefault(path, []):
            fields[path].append(message)
    rendered = []
    for path, messages in fields.items():
        name = _dotted((*where, *path))
        text = _joined(messages) + _shown(value, path, messages)
        rendered.append((file.line((*where, *path)), f"{name}: {text}" if name else text))
    return rendered


def _in_text(location: KeyPath, value: object, *, missing: bool) -> KeyPath:
    """Drop from pydantic's location what stands for a member of a union, not for a key."""
    path: list[str | int] = []
    for index, part in enumerate(location):
        there = (isinstance(value, dict) and part in value) or (
            isinstance(value, list) and isinstance(part, int) and part < len(value)
        )
        if there:
            value = value[part]  # type: ignore[index]  # either kind takes its own part
        if there or (missing and index == len(location) - 1):
            path.append(part)
    return tuple(path)


def _message(item: ErrorDetails, path: KeyPath, model: type[BaseModel]) -> str:
    kind, context = item["type"], item.get("ctx", {})
    if kind == "missing":
        return "is missing"
    if kind == "union_tag_not_found":
        return f"{_tag_field(context)} is missing"
    if kind == "union_tag_invalid":
        near = did_you_mean(context["tag"], re.findall(_QUOTED, context["expected_tags"]))
        return f"{_tag_field(context)} should be one of {context['expected_tags']}{near}"
    if kind == "extra_forbidden":
        names = set(_field_names(model.model_json_schema())) - {str(path[-1])}
        return f"unknown field{did_you_mean(str(path[-1]), names)}"
    if kind == "string_pattern_mismatch":
        shown = "what stands there" if _is_hidden(path) else repr(item["input"])
        return f"{shown} does not match {context['pattern']}"
    text = item["msg"].partition(", unable to")[0]
    for pydantic, toml in _TOML_WORDS.items():
        text = text.replace(pydantic, toml)
    return text.removeprefix("Value error, ").removeprefix("Input ")


def _joined(messages: list[str]) -> str:
    """A union's complaints as one: `should be a valid string or integer`."""
    first, *others = messages
    return " or ".join([first, *(re.sub("^should be a (valid )?", "", text) for text in others)])


def _tag_field(context: Mapping[str, Any]) -> str:
    return str(context["discriminator"]).strip("'")


def _shown(value: object, path: KeyPath, messages: list[str]) -> str:
    """`, not -5`: the wrong value itself, where it is short and can be no secret."""
    if not path or _is_hidden(path) or not messages[0].startswith("should be"):
        return ""
    for part in path:
        value = value[part]  # type: ignore[index]  # _in_text walked here before
    shown = repr(value)
    return f", not {shown}" if len(shown) <= _MAX_SHOWN else ""


def _is_hidden(path: KeyPath) -> bool:
    return "environment" in path or any(is_secret(str(part).removesuffix("_env")) for part in path)


def _field_names(schema: object) -> Iterator[str]:
    """Every property's name of a JSON Schema, at any depth."""
    if isinstance(schema, dict):
        yield from schema.get("properties", {})
        for part in schema.values():
            yield from _field_names(part)


def _dotted(path: KeyPath) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).lstrip(
        "."
    )
