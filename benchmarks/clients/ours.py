"""This project's own client, by its command line, everything on: records, verdict and reports."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from client import PROMPT_TOKENS, Client, Load, Reported, milliseconds

from loadprofiles.records import read_samples

if TYPE_CHECKING:
    from pathlib import Path


def _argv(bin_folder: Path, load: Load, folder: Path) -> list[str]:
    argv = [str(bin_folder / "python"), "-m", "harness", "load", "--url", load.url]
    argv += ["--prompt-tokens", str(PROMPT_TOKENS), "--output-tokens", str(load.tokens)]
    argv += ["--requests", str(load.requests), "--warmup", "0", "--out", str(folder / "runs")]
    if load.kind == "closed":
        return [*argv, "--profile", "closed", "--level", str(load.level)]
    profile = "steady" if load.kind == "poisson" else "constant"
    return [*argv, "--profile", profile, "--rate", str(load.level)]


def _read(folder: Path, _load: Load) -> Reported:
    (cell,) = (folder / "runs").glob("*/cells/*")
    samples = [one for one in read_samples(cell) if one.error is None and one.phase == "measured"]
    stamps = [
        (one.sent_ns, one.first_ns, one.last_ns)
        for one in samples
        if one.sent_ns is not None and one.first_ns is not None and one.last_ns is not None
    ]
    return Reported(
        ttft=milliseconds((first - sent for sent, first, _ in stamps), 1e-6),
        itl=np.concatenate([np.array(one.chunk_ns, np.float64) for one in samples]) * 1e-6,
        e2e=milliseconds((last - sent for sent, _, last in stamps), 1e-6),
        request_ids={one.request_id for one in samples},
    )


CLIENT = Client(
    title="serving-load-harness",
    environment=None,
    package="serving-load-harness",
    argv=_argv,
    read=_read,
    http="raw sockets in Locust, kernel stamps",
)
