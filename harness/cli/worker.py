"""`harness worker`."""

import contextlib
import itertools
import os
import signal
import subprocess
import sys
import tempfile
import uuid

import msgspec

from harness.cli.pairs import headers_of
from harness.cli.workers import address_of
from harness.errors import BadInputError, ExitCode, InvalidRunError, ServerError
from loadprofiles.records import HEADERS_VARIABLE
from loadprofiles.workers.messages import MORE, OVER, REFUSED, UNREACHED, Orders

_PARTING_S = 5.0


def worker(
    *,
    join: str,
    header: tuple[str, ...] = (),
    api_key_env: str | None = None,
    timeout: float = 60,
) -> int:
    """Drive a share of another machine's `harness load --expect-workers`, until it is over.

    It sends what that machine asks for to wherever that says, with the secrets given here: join
    none that you do not trust. Neither secrets nor files of this machine are sent to it. Where it
    wants its workers to know a secret, that is HARNESS_JOIN_TOKEN of the environment.

    Args:
        join: HOST:PORT of its --bind.
        header: K=V, for the headers whose names that machine was given; values stay here.
        api_key_env: Environment variable with the bearer token, where that machine wants one.
        timeout: Seconds to try to reach it, at first and between two cells.
    """
    host, port = address_of("join", join)
    if not timeout > 0:
        raise BadInputError(f"--timeout: {timeout:g} s must be more than 0")
    if api_key_env is not None and not os.environ.get(api_key_env):
        raise BadInputError(
            "--api-key-env: no environment variable of that name is set",
            hint="Name the variable, not the key itself: export KEY=… and --api-key-env KEY",
        )
    values = msgspec.json.encode(headers_of(header)).decode()
    token = uuid.uuid4().hex
    print(f"harness: joining {join}", file=sys.stderr)
    for count in itertools.count(1):
        with tempfile.TemporaryDirectory(prefix="harness-worker-") as folder:
            orders = Orders(
                host=host,
                port=port,
                token=token,
                folder=folder,
                api_key_env=api_key_env,
                timeout_s=timeout,
            )
            code = _drive(orders, values)
        if code == OVER:
            print(f"harness: the run is over; cells driven: {count}", file=sys.stderr)
            break
        if code == UNREACHED:
            raise ServerError(f"there is no `harness load --bind` at {join} (any more)")
        if code == REFUSED:
            raise InvalidRunError("this worker was not taken; the reason is above")
        if code != MORE:
            raise InvalidRunError(f"the worker's process failed with exit status {code}")
    return ExitCode.OK


def _drive(orders: Orders, header_values: str) -> int:
    """Run one cell's process to its end; it ends with this one, whatever happens."""
    with subprocess.Popen(
        [sys.executable, "-P", "-m", "loadprofiles.workers.worker", msgspec.json.encode(orders)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        env=os.environ | {HEADERS_VARIABLE: header_values},
        start_new_session=True,  # a Ctrl-C in the terminal is for this process to handle
    ) as process:
        try:
            return process.wait()
        finally:
            if process.poll() is None:
                assert process.stdin is not None  # noqa: S101 - it is a pipe
                process.stdin.close()  # the order to leave
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(_PARTING_S)
                process.send_signal(signal.SIGKILL)
