"""`harness serve`."""

import contextlib
import shutil
import sys
import tempfile
import time
from pathlib import Path

from harness.config import find_build, load_config
from harness.errors import ExitCode, ServerError
from launchers.errors import LauncherError
from launchers.launch import Running, launch

_POLL_S = 0.2


def serve(name: str, /, *, port: int | None = None, config: Path | None = None) -> int:
    """Bring a server up, print its URL, stay until interrupted.

    Args:
        name: A build.
        port: Port on 127.0.0.1; a free one unless given.
        config: The harness.toml to read; otherwise the first one from here upwards.
    """
    build, base_dir = find_build(name, load_config(config))
    folder = Path(tempfile.mkdtemp(prefix=f"harness-serve-{build.name}-"))
    try:
        with launch(build, folder, base_dir=base_dir, on_line=_say, port=port) as running:
            try:
                _say(f"model {running.server.model}; Ctrl-C stops it; log in {running.server.log}")
                print(running.server.base_url, flush=True)
                _wait_for_end(running)
            except KeyboardInterrupt:
                _say("stopping")
    except (LauncherError, ServerError):
        with contextlib.suppress(OSError):
            folder.rmdir()  # only where there is no log that tells of the failure
        raise
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    shutil.rmtree(folder, ignore_errors=True)
    return ExitCode.OK


def _wait_for_end(running: Running) -> None:
    """Stay while the server lives.

    Raises:
        ServerError: it died; holds the last lines of its log.
    """
    while (ended := running.poll()) is None:
        time.sleep(_POLL_S)
    lines = "\n".join(f"  {line}" for line in running.tail())
    raise ServerError(
        f"the server of {running.server.build} died: {ended}; its log ends with\n{lines}",
        hint=f"The whole log: {running.server.log}",
    )


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
