"""Does the goodput search find the true limit of a server whose law is known?

Usage: python benchmarks/goodput_search.py [--seeds 20] [--requests 1500] [--plain] [--real SEEDS]

The server is a queue on paper: Poisson arrivals, c servers, a fixed service time (M/D/c), and the
limit is on the share of requests that wait too long. The search decides on probes as it does on a
real server, early ends included; a simulation of 12,000,000 requests says where the limit lies.
`--plain` searches without the virtual queue. `--real` does it over the loopback instead, with
`harness mock --slots` and `harness capacity`: a few minutes a seed.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from harness.capacity.attainment import SETTLE_SHARE, Tally
from harness.capacity.estimate import Shown
from harness.capacity.search import MANY, Answer, Scout, Search, Tried
from harness.capacity.sequential import LEAST_PART, decided
from loadprofiles.arrivals.poisson import Poisson
from loadprofiles.traffic.schedule import schedule

if TYPE_CHECKING:
    from harness.measuring.samples import Floats

ALLOWED: Final = 0.05
WITHIN: Final = 0.03
LONG: Final = 3_000_000
ARRIVAL: Final = Poisson(kind="poisson")
LOOKS: Final = 30


@dataclass(frozen=True)
class Law:
    """A server of so many slots, how long a request takes one, and the wait that is allowed."""

    slots: int
    service_s: float
    wait_s: float

    def waits_s(self, due_s: Floats) -> Floats:
        """How long each request waits: with equal services the slots take turns."""
        found = np.zeros(due_s.size)
        for slot in range(self.slots):
            due = due_s[slot :: self.slots]
            before = np.arange(due.size) * self.service_s
            found[slot :: self.slots] = np.maximum.accumulate(due - before) + before - due
        return found

    def limit(self) -> float:
        """The rate at which 5 % wait too long, requests/s, of the mean of four simulations."""
        return float(np.mean([self._limit(seed) for seed in range(4)]))

    def _limit(self, seed: int) -> float:
        gaps = np.random.default_rng(seed).exponential(size=LONG)
        due = np.cumsum(gaps) * (LONG / gaps.sum())
        low, high = 0.0, self.slots / self.service_s
        for _ in range(20):
            rate = (low + high) / 2
            held = float((self.waits_s(due / rate) > self.wait_s).mean()) <= ALLOWED
            low, high = (rate, high) if held else (low, rate)
        return low


LAWS: Final = (
    Law(8, 0.08, 0.05), Law(8, 0.08, 0.1), Law(8, 0.08, 0.02), Law(1, 0.01, 0.02),
    Law(16, 1.0, 0.5), Law(64, 2.0, 0.2),
)  # fmt: skip


def search_on_paper(law: Law, seed: int, requests: int, *, plain: bool) -> tuple[Search, Answer]:
    """Search with a queue on paper in the server's place."""
    scouts = tuple(
        Scout(
            streams=streams,
            shares=(float(streams > law.slots),),
            requests=100,
            served_rate=min(streams, law.slots) / law.service_s,
            latency_s=law.service_s,
        )
        for streams in (1, MANY)
    )
    tried: list[Tried] = []
    while True:
        search = Search(
            allowed=(ALLOWED,),
            names=("wait",),
            arrival=None if plain else ARRIVAL,
            scouts=scouts,
            tried=tuple(tried),
        )
        step = search.next()
        if isinstance(step, Answer):
            return search, step
        assert step.rate is not None
        due = schedule(ARRIVAL, step.rate, requests / step.rate, _rng(seed, len(tried))) / 1e9
        shown = _probe(law, step.rate, due, requests / step.rate, may_hold=not search.broke)
        tried.append(Tried(rate=step.rate, shown=shown))


def _rng(seed: int, probe: int) -> np.random.Generator:
    return np.random.default_rng([seed, probe])


def _probe(law: Law, rate: float, due: Floats, planned_s: float, *, may_hold: bool) -> Shown:
    """What a probe shows, ended when it is decided: a look sees what has been answered by then."""
    waits = law.waits_s(due)
    broken, ends = (waits > law.wait_s).astype(float), due + waits + law.service_s
    to_s, from_s = planned_s, SETTLE_SHARE * planned_s
    for part in np.linspace(LEAST_PART, 1, LOOKS, endpoint=False):
        seen = (ends <= part * planned_s) & (due >= from_s)
        tally = Tally(at_s=due[seen], broken=broken[seen], counted=np.ones(int(seen.sum())))
        if decided([tally], [ALLOWED], float(part), may_hold=may_hold):
            to_s = float(part) * planned_s
            break
    some = due < to_s
    tally = Tally(at_s=due[some], broken=broken[some], counted=np.ones(int(some.sum())))
    return Shown(
        rate=rate, from_s=from_s, to_s=to_s, tallies=(tally,), due_s=due,
        work=np.ones(due.size),
    )  # fmt: skip


def search_for_real(law: Law, seed: int, requests: int) -> dict[str, Any]:
    """Search the mock with `harness capacity`; its answers take `service_s`."""
    ttft_ms, tokens = 20.0, 9
    itl_ms = (law.service_s * 1000 - ttft_ms) / (tokens - 1)
    mock = subprocess.Popen(
        [sys.executable, "-m", "harness", "mock", f"--slots={law.slots}", f"--ttft-ms={ttft_ms}",
         f"--itl-ms={itl_ms}"],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert mock.stdout is not None
        url = next(line.strip() for line in mock.stdout if line.startswith("http"))
        with tempfile.TemporaryDirectory() as folder:
            done = subprocess.run(
                [sys.executable, "-m", "harness", "capacity", f"--url={url}", f"--seed={seed}",
                 f"--slo=ttft_due_p95_ms<={ttft_ms + law.wait_s * 1000}",
                 f"--output-tokens={tokens}", "--prompt-tokens=32", f"--out={folder}", "--json",
                 f"--duration={requests * law.service_s / law.slots:.0f}", "--quiet"],
                stdout=subprocess.PIPE, text=True, check=False,
            )  # fmt: skip
            found: dict[str, Any] = json.loads(done.stdout)
            return found
    finally:
        mock.terminate()
        mock.wait()


def on_paper(laws: tuple[Law, ...], seeds: int, requests: int, *, plain: bool) -> None:
    """Print a line for each law."""
    print(f"{seeds} seeds, {requests} requests a probe" + (", no virtual queue" * plain))
    print(
        "slots  service  wait allowed   limit  within 3 %  covered  worst   mean  sd    "
        "probes (most)"
    )
    for law in laws:
        limit = law.limit()
        found = [search_on_paper(law, seed, requests, plain=plain) for seed in range(seeds)]
        rates = [answer for _, answer in found if answer.max_rate and answer.interval]
        off = np.array([(one.max_rate or 0.0) / limit - 1 for one in rates])
        covered = sum(low <= limit <= high for low, high in (one.interval or () for one in rates))
        made = [search.made for search, _ in found]
        print(
            f"{law.slots:5d} {law.service_s * 1000:5.0f} ms {law.wait_s * 1000:9.0f} ms"
            f"{limit:10.2f}/s  {int((abs(off) <= WITHIN).sum()):4d} of {seeds:3d}  {covered:5d}"
            f"  {abs(off).max():6.1%}  {off.mean():+.1%}  {off.std():.1%}  "
            f"{np.mean(made):5.1f} ({max(made)})"
        )


def for_real(law: Law, seeds: int, requests: int) -> None:
    """Print a line for each seed."""
    limit = law.limit()
    print(f"{law}: the limit on paper is {limit:.2f}/s")
    for seed in range(seeds):
        began_s = time.monotonic()
        one = search_for_real(law, seed, requests)
        rate, interval = one["max_rate"], one["max_rate_ci95"]
        off = "–" if rate is None else f"{rate / limit - 1:+.1%}"
        print(
            f"seed {seed}: {one['outcome']} {rate} in {interval}, off by {off}, "
            f"{len(one['probes'])} probes, {time.monotonic() - began_s:.0f} s",
            flush=True,
        )


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--requests", type=int, default=1500, help="of a probe")
    parser.add_argument("--plain", action="store_true", help="without the virtual queue")
    parser.add_argument("--real", type=int, metavar="SEEDS", help="over the loopback")
    given = parser.parse_args()
    if given.real:
        for_real(Law(16, 0.2, 0.1), given.real, given.requests)
    else:
        on_paper(LAWS, given.seeds, given.requests, plain=given.plain)


if __name__ == "__main__":
    main()
