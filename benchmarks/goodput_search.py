"""Does the goodput search find the true limit of a server whose law is known?

Usage: python benchmarks/goodput_search.py [--seeds 20] [--requests 1500] [--servers 0,7] [--plain]
       [--as-asked]
       python benchmarks/goodput_search.py --real [--seeds 20] [--first 0]

The servers are those on paper of `known_queues.py`: Poisson arrivals at slots with a fixed service
time (M/D/c), and at batches in steps that grow longer. The search decides on probes as it does on a
real server, early ends included; simulations of 12,000,000 requests say where the limit lies, of
batches of 1,200,000.
`--plain` searches without the virtual queue. Probes have `--requests`, and last ten answers at
least; `--as-asked` without --duration: 60 s at most, if ten answers and 20 requests fit.
`--real` does it over the loopback instead (`goodput_loopback.py`), a minute and a half a seed.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections import Counter
from typing import TYPE_CHECKING, Final

import goodput_loopback
import numpy as np
from known_queues import ALLOWED, SERVERS, Server

from harness.capacity.attainment import Tally
from harness.capacity.estimate import Shown
from harness.capacity.request import MOST_S, probe_s
from harness.capacity.search import Answer, Scout, Search, Tried
from harness.capacity.sequential import LEAST_PART, decided
from harness.capacity.settling import SETTLE_SHARE, served_rate
from loadprofiles.arrivals.poisson import Poisson
from loadprofiles.traffic.schedule import schedule

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.measuring.samples import Floats

WITHIN: Final = 0.03
ARRIVAL: Final = Poisson(kind="poisson")
LOOKS: Final = 30


def search_on_paper(
    server: Server, seed: int, requests: int, *, plain: bool, most_s: float = math.inf
) -> tuple[Search, Answer]:
    """Search with a queue on paper in the server's place."""
    scouts: list[Scout] = []
    tried: list[Tried] = []
    while True:
        search = Search(
            allowed=(ALLOWED,),
            names=("limit",),
            arrival=None if plain else ARRIVAL,
            scouts=tuple(scouts),
            tried=tuple(tried),
        )
        step = search.next()
        if isinstance(step, Answer):
            return search, step
        if step.streams is not None:
            served, broken = server.closed(step.streams)
            scouts.append(
                Scout(streams=step.streams, shares=(broken,), requests=100, served_rate=served,
                      latency_s=server.alone_s)
            )  # fmt: skip
            continue
        assert step.rate is not None
        planned_s = probe_s(step.rate, server.alone_s, most_s, requests)
        due = schedule(ARRIVAL, step.rate, planned_s, _rng(seed, len(tried))) / 1e9
        tried.append(_probe(server, step.rate, due, planned_s, may_hold=not search.broke))


def _rng(seed: int, probe: int) -> np.random.Generator:
    return np.random.default_rng([seed, probe])


def _probe(server: Server, rate: float, due: Floats, planned_s: float, *, may_hold: bool) -> Tried:
    """What a probe shows, ended when it is decided: a look sees what has been answered by then."""
    broken, ends = server.shows(due)
    to_s, from_s = planned_s, SETTLE_SHARE * planned_s
    for part in np.linspace(LEAST_PART, 1, LOOKS, endpoint=False):
        seen = (ends <= part * planned_s) & (due >= from_s)
        tally = Tally(at_s=due[seen], broken=broken[seen], counted=np.ones(int(seen.sum())))
        under_way = rate * server.alone_s
        if decided([tally], [ALLOWED], float(part), may_hold=may_hold, in_flight=under_way):
            to_s = float(part) * planned_s
            break
    some = due < to_s
    tally = Tally(at_s=due[some], broken=broken[some], counted=np.ones(int(some.sum())))
    shown = Shown(
        rate=rate, from_s=from_s, to_s=to_s, tallies=(tally,), due_s=due,
        work=np.ones(due.size),
    )  # fmt: skip
    return Tried(rate=rate, shown=shown, served_rate=served_rate(ends, to_s))


def on_paper(
    servers: Sequence[Server], seeds: int, requests: int, *, plain: bool, most_s: float = math.inf
) -> None:
    """Print a line for each server."""
    print(f"{seeds} seeds, {requests} requests a probe" + (", no virtual queue" * plain))
    print("  limit  within 3 %  covered  worst   mean    sd  probes (most)  outcomes  server")
    for server in servers:
        limit = server.limit()
        found = [
            search_on_paper(server, seed, requests, plain=plain, most_s=most_s)
            for seed in range(seeds)
        ]
        rates = [answer for _, answer in found if answer.max_rate and answer.interval]
        off = np.array([(one.max_rate or 0.0) / limit - 1 for one in rates])
        ranges = [one.interval for one in rates if one.interval]
        covered = sum(low <= limit <= high for low, high in ranges)
        made = [search.made for search, _ in found]
        outcomes = Counter(answer.outcome for _, answer in found)
        told = ", ".join(f"{count} {name}" for name, count in outcomes.most_common())
        if not off.size:
            off = np.array([np.nan])
        print(
            f"{limit:7.4g}/s {int((abs(off) <= WITHIN).sum()):4d} of {seeds:3d} {covered:5d}"
            f"   {abs(off).max():6.1%}  {off.mean():+5.1%}  {off.std():5.1%}"
            f"  {np.mean(made):5.1f} ({max(made)})   {told}  {server}",
            flush=True,
        )


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--requests", type=int, default=1500, help="of a probe")
    parser.add_argument("--servers", help="on paper: only these of the table, by number: 0,7")
    parser.add_argument("--plain", action="store_true", help="without the virtual queue")
    parser.add_argument("--as-asked", action="store_true", help="probes of 60 s at most")
    parser.add_argument("--real", action="store_true", help="over the loopback")
    given = parser.parse_args()
    if given.real:
        seeds = range(given.first, given.first + given.seeds)
        sys.exit(goodput_loopback.table(seeds, given.requests))
    servers = SERVERS
    if given.servers:
        servers = tuple(SERVERS[int(number)] for number in given.servers.split(","))
    most_s = MOST_S if given.as_asked else math.inf
    on_paper(servers, given.seeds, given.requests, plain=given.plain, most_s=most_s)


if __name__ == "__main__":
    main()
