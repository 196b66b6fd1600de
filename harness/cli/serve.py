"""`harness serve`."""

import time
from pathlib import Path

from harness.cli.launching import launched, say
from harness.errors import ExitCode, ServerError
from launchers.launch import Running

_POLL_S = 0.2


def serve(name: str, /, *, port: int | None = None, config: Path | None = None) -> int:
    """Bring a server up, print its URL, stay until interrupted.

    Args:
        name: A build.
        port: Port on 127.0.0.1; a free one unless given.
        config: The harness.toml to read; otherwise the first one from here upwards.
    """
    with launched(name, config, port) as running:
        try:
            say(f"model {running.server.model}; Ctrl-C stops it; log in {running.server.log}")
            print(running.server.base_url, flush=True)
            _wait_for_end(running)
        except KeyboardInterrupt:
            say("stopping")
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
