"""Plain Locust, `HttpUser` (requests): the locustfile beside it and Locust's own statistics."""

from __future__ import annotations

import csv
from functools import partial
from typing import TYPE_CHECKING

from client import PROMPT_TOKENS, Client, Load, Reported
from rig import ROOT

if TYPE_CHECKING:
    from pathlib import Path

_CLOSED_S = 5.0
"""Its clock starts while it imports, so that a second or so is lost."""


def argv(bin_folder: Path, load: Load, folder: Path, user: str) -> list[str]:
    """Locust ends by time, not by a number of requests; open loop is one user for 1 request/s."""
    paced = load.kind != "closed"
    seconds = load.duration_s if paced else _CLOSED_S
    setting = [f"CLIENT={user}", f"TOKENS={load.tokens}", f"PROMPT_TOKENS={PROMPT_TOKENS}"]
    setting += ["PACED=1"] if paced else []
    command = [str(bin_folder / "locust"), "-f", str(ROOT / "benchmarks" / "locustfile.py")]
    command += ["--headless", "--host", load.base_url, "--only-summary", "--csv"]
    command += [str(folder / "out"), "-u", str(load.level), "-r", str(load.level)]
    command += ["-t", f"{seconds:.0f}s", "--stop-timeout", "30"]
    return ["env", *setting, *command]


def read(folder: Path, _load: Load) -> Reported:
    """Read the percentiles that Locust prints: two significant digits."""
    with (folder / "out_stats.csv").open() as file:
        rows = {row["Name"]: row for row in csv.DictReader(file)}
    pairs = {
        name: (float(rows[name]["50%"]), float(rows[name]["99%"]))
        for name in ("ttft", "itl", "e2e")
        if name in rows
    }
    return Reported(percentiles=pairs)


CLIENT = Client(
    title="Locust HttpUser",
    environment="locust",
    package="locust",
    argv=partial(argv, user="HttpUser"),
    read=read,
    kinds=frozenset({"closed", "constant"}),
    http="requests",
)
