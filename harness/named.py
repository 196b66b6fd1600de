"""Who is measured, by name: a build to be brought up, or a server of harness.toml that runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from harness.config import find_build, is_build
from harness.serving import Url
from launchers.trust import Trust

if TYPE_CHECKING:
    from harness.config import Config
    from harness.serving import Who


def find_server(name: str, config: Config) -> Who:
    """Return the [servers] table or the build called `name`.

    Raises:
        BadInputError: there is none, or its file has mistakes.
    """
    one = config.servers.get(name)
    if one is None or config.path is None:
        return find_build(name, config)
    folder = config.path.parent
    return Url(
        urls=one.url,
        model=one.model,
        trust=Trust(ca_file=_beside(one.ca_file, folder)),
        name=name,
        dialect=one.dialect,
        tokenizer=_beside(one.tokenizer, folder),
        api_key_env=one.api_key_env,
    )


def is_server(name: str, config: Config) -> bool:
    """Whether a build or a [servers] table is called so; a path is no name."""
    return name in config.servers or is_build(name, config)


def _beside(path: str | None, folder: Path) -> Path | None:
    return None if path is None else folder / Path(path).expanduser()
