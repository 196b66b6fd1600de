"""A server that belongs to no run, while a command needs it."""

import contextlib
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from harness.config import find_build, load_config
from harness.errors import ServerError
from launchers.errors import LauncherError
from launchers.launch import Running, launch


@contextlib.contextmanager
def launched(name: str, config: Path | None, port: int | None = None) -> Iterator[Running]:
    """Serve a build while the context is open; its log is kept only where it fails.

    Raises:
        BadInputError: there is no such build.
        LauncherError: it did not come up.
    """
    build, base_dir = find_build(name, load_config(config))
    folder = Path(tempfile.mkdtemp(prefix=f"harness-{build.name}-"))
    try:
        with launch(build, folder, base_dir=base_dir, on_line=say, port=port) as running:
            yield running
    except (LauncherError, ServerError):
        with contextlib.suppress(OSError):
            folder.rmdir()  # only where there is no log that tells of the failure
        raise
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    shutil.rmtree(folder, ignore_errors=True)


def say(line: str) -> None:
    """Tell a person, on stderr."""
    print(line, file=sys.stderr, flush=True)
