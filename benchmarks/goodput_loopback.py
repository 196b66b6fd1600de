"""The goodput search over real sockets: `harness capacity` against the mock, a queue of known law.

The law is the mock's slots and the time that each request holds one. Both machines' timers and the
loopback add to it, so it is taken from stamps of the same requests: how long a slot was held, from
the mock's truth file; and how much of the limit on the TTFT is left for waiting, which is the limit
less what passed for everybody between when a request was due and when its first token was read, the
wait for the slot left out. How far that is from what the mock was told is printed, too.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from known_queues import Slots
from rig import ROOT, claim_cpus, conditions, serving

from harness.capacity.search import PROBES
from loadprofiles.records import read_drive_report, read_plan, read_samples

if TYPE_CHECKING:
    from collections.abc import Sequence

LAW: Final = Slots(16, 0.08, 0.04)
TTFT_MS: Final = 20.0
TOKENS: Final = 4
WITHIN: Final = 0.03


def table(seeds: Sequence[int], requests: int) -> int:
    """Print a line for each seed and a verdict; return 0 if 19 of 20 are within 3 %."""
    print(conditions())
    cpus, told = claim_cpus(), LAW.limit()
    print(f"{LAW}: the limit on paper is {told:.2f}/s; {requests} requests a probe", flush=True)
    print("seed    found/s  95 % interval      known by stamps (told)    off  probes  seconds")
    within, covered, few = 0, 0, 0
    for seed in seeds:
        began_s = time.monotonic()
        found, law = search(LAW, seed, requests, cpus)
        known, rate = law.limit(), found["max_rate"]
        off, between = "-", found["outcome"]
        if rate is not None:
            low, high = found["max_rate_ci95"]
            within += abs(rate / known - 1) <= WITHIN
            covered += low <= known <= high
            off, between = f"{rate / known - 1:+.1%}", f"{low:7.2f} to {high:.2f}"
        few += len(found["probes"]) <= PROBES
        seen = f"{law.service_s * 1e3:.2f} ms, wait {law.wait_s * 1e3:.2f} ms"
        print(
            f"{seed:4d} {rate or float('nan'):9.2f}   {between:18s} {known:8.2f} "
            f"({known / told - 1:+.2%}: {seen})  {off:>6s}  {len(found['probes']):6d}"
            f"  {time.monotonic() - began_s:7.0f}",
            flush=True,
        )
    print(
        f"within {WITHIN:.0%} of the known limit in {within} of {len(seeds)} seeds, "
        f"in at most {PROBES} probes in {few}, the interval held it in {covered}"
    )
    return 0 if within >= 0.95 * len(seeds) and few == len(seeds) else 1


def search(
    law: Slots, seed: int, requests: int, cpus: tuple[int, int]
) -> tuple[dict[str, Any], Slots]:
    """Search the mock with `harness capacity`; return its answer and the law by the stamps.

    Args:
        law: that the mock is told.
        seed: of the search.
        requests: of a probe, about.
        cpus: of the mock, and of the search.
    """
    cpu, client_cpu = cpus
    itl_ms = (law.service_s * 1000 - TTFT_MS) / (TOKENS - 1)
    limit_ms = TTFT_MS + law.wait_s * 1000
    with tempfile.TemporaryDirectory() as folder:
        truth = Path(folder, "truth.jsonl")
        options = {"slots": law.slots, "ttft_ms": TTFT_MS, "itl_ms": itl_ms}
        with serving({cpu}, truth, **options) as url:
            done = subprocess.run(
                ["taskset", "--cpu-list", str(client_cpu), sys.executable, "-m", "harness",
                 "capacity", f"--url={url}", f"--seed={seed}",
                 f"--slo=ttft_due_p95_ms<={limit_ms:g}", f"--output-tokens={TOKENS}",
                 "--prompt-tokens=32", f"--out={folder}", "--json", "--quiet",
                 f"--duration={requests * law.service_s / law.slots:.3g}"],
                cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False,
            )  # fmt: skip
        if not done.stdout:
            sys.exit(f"harness capacity ended with {done.returncode}")
        [run] = [path for path in Path(folder).iterdir() if path.is_dir()]
        return json.loads(done.stdout), by_stamps(law.slots, limit_ms / 1000, run, truth)


def by_stamps(slots: int, limit_s: float, run: Path, truth: Path) -> Slots:
    """Return the law of the open-loop probes in a run's folder, by the mock's truth file.

    Args:
        slots: of the mock.
        limit_s: on the time from due to the first token.
        run: its folder.
        truth: an object a line: request_id, begun_ns (a slot was its own), sent_ns (tokens).
    """
    told = {one["request_id"]: one for one in map(json.loads, truth.read_text().splitlines())}
    held_ns, beside_ns = [], []
    for cell in sorted(run.glob("cells/*")):
        if read_plan(cell).mode != "open":
            continue
        end_ns = read_drive_report(cell).window_end_ns
        for one in read_samples(cell):
            if one.phase == "measured" and one.error is None and (one.done_ns or 0) < end_ns:
                at = told[one.request_id]
                waited_ns = at["begun_ns"] - at["received_ns"]
                held_ns.append(at["sent_ns"][-1] - at["begun_ns"])
                beside_ns.append((one.first_ns or 0) - one.due_ns - waited_ns)
    return Slots(slots, float(np.mean(held_ns)) / 1e9, limit_s - float(np.median(beside_ns)) / 1e9)
