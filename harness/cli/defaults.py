"""What a harness.toml says of flags that the command line leaves out, and of `--server NAME`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from cyclopts import Token

from harness.errors import BadInputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cyclopts import App
    from cyclopts.argument import Argument, ArgumentCollection

    from harness.config import Config

_OF_URL: Final = frozenset({"model", "ca_file", "dialect", "tokenizer", "api_key_env"})
"""What is said of one URL; a key must not go to another one."""
_URL_ONLY: Final = _OF_URL - {"dialect", "tokenizer"}
"""What no build takes."""
_INSTEAD: Final = {
    "server": frozenset({"url"}), "url": frozenset({"server"}), "goodput": frozenset({"slo"}),
    "requests": frozenset({"duration"}), "duration": frozenset({"requests"}),
}  # fmt: skip
"""A flag of the command line → defaults that it takes the place of."""
_RESUMED: Final = frozenset({"quiet"})
"""A run that goes on takes all else from its folder."""
_OF_RUNS: Final = {
    "compare": frozenset({"slo", "price_per_hour", "out", "quiet"}),
    "capacity": frozenset({"slo", "quiet"}),
}
"""What may be said where finished runs are weighed and nothing is measured."""


def from_config(
    said: dict[str, str], _app: App, commands: tuple[str, ...], arguments: ArgumentCollection
) -> None:
    """Give flags that were not typed the values of the harness.toml (cyclopts calls this).

    Args:
        said: gets the flags that it says, each with the file.
        commands: the command's words.
        arguments: what was typed.

    Raises:
        BadInputError: the file has mistakes, or a [defaults.COMMAND] table a flag that it has not.
    """
    flags = {_name(argument): argument for argument in arguments if argument.names}
    if not commands or "config" not in flags:
        return
    from harness.defaults import COMMANDS

    if commands[0] not in COMMANDS:
        return  # what others call --out or --seed is something else
    from harness.config import load_config

    typed = flags["config"].tokens
    config = load_config(Path(typed[-1].value) if typed else None)
    if config.path is None:
        return
    given = {name for name, argument in flags.items() if argument.tokens}
    _defaults(commands[0], flags, given, config, _runs(arguments))
    _named_server(flags, given, config)
    for name, argument in flags.items():
        if name not in given and argument.tokens:
            said[argument.name] = str(config.path)


def _defaults(
    command: str,
    flags: Mapping[str, Argument],
    given: set[str],
    config: Config,
    runs: list[Path],
) -> None:
    if config.defaults is None or config.path is None:
        return
    told, own = config.defaults.of(command, config.path.parent)
    for name in sorted(own - flags.keys()):
        raise BadInputError(
            f"{config.path}: defaults.{command}.{name}: harness {command} has no "
            f"--{name.replace('_', '-')}"
        )
    dropped = set().union(*(found for name, found in _INSTEAD.items() if name in given))
    if "server" in given or ("server" in told and "url" not in given):
        dropped |= _OF_URL if "url" in told else _URL_ONLY
    elif "url" in given and "url" in told:
        dropped |= _OF_URL
    for name, values in told.items():
        if name not in flags or name in given or name in dropped:
            continue
        if "resume" in given and command != "capacity" and name not in _RESUMED:
            continue
        if runs and name not in _OF_RUNS.get(command, told):
            continue
        _say(flags[name], values, str(config.path))


def _named_server(flags: Mapping[str, Argument], given: set[str], config: Config) -> None:
    """Put the flags of a [servers.NAME] in place of `--server NAME`."""
    if "server" not in flags or "url" not in flags or config.path is None:
        return
    tokens = flags["server"].tokens
    found = config.servers.get(tokens[-1].value) if tokens else None
    if found is None:
        return
    if "url" in given:
        raise BadInputError(f"--server {found.name} is a URL in {config.path}; leave --url out")
    tokens.clear()
    flags["url"].tokens.clear()
    for name, values in found.flags().items():
        text = values
        if name in {"tokenizer", "ca_file"}:
            text = (str(config.path.parent / Path(values[0]).expanduser()),)
        if name == "url":
            text = (",".join(values),)
        if name in flags and name not in given:
            flags[name].tokens.clear()
            _say(flags[name], text, str(config.path))
    for name in _OF_URL & flags.keys() - given - found.flags().keys():
        flags[name].tokens.clear()  # a default that is another URL's


def _say(argument: Argument, values: tuple[str, ...], source: str) -> None:
    for index, value in enumerate(values):
        argument.append(Token(keyword=argument.name, value=value, source=source, index=index))


def _name(argument: Argument) -> str:
    return argument.name.removeprefix("--").replace("-", "_")


def _runs(arguments: ArgumentCollection) -> list[Path]:
    """The folders of finished runs among what stands without a flag."""
    from harness.rundir import MANIFEST_FILE

    words = (
        token.value
        for argument in arguments
        if not argument.name.startswith("-")
        for token in argument.tokens
    )
    return [path for path in map(Path, words) if (path / MANIFEST_FILE).is_file()]
