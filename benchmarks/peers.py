"""This client and its peers side by side, against a server whose timing is known.

    python benchmarks/peers.py install [NAME …]    # each in an environment of its own, by pip
    python benchmarks/peers.py [--peers ours,vllm] [--streams 32,256] [--rates 50] [--at-once]

Prints Markdown: errors of TTFT, inter-token latency and end-to-end latency (percentile reported −
percentile of the truth), streams held, CPU, memory, start-up, and how requests arrived. Server and
client are each bound to one CPU, nothing else should run. Compare the rows of one run with each
other; figures of two runs or machines are not comparable.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import asdict
from pathlib import Path

import exactness
import rig
from client import Client, Load, clients, python_of
from comparison import AT_ONCE, STAGGERED, Outcome, compare
from tables import markdown

from launchers.environments import install
from launchers.errors import InstallError

TOKENS = 64
STREAMS = (1, 32, 256, 1024)
RATES = (50, 200)
POISSON_RATE = 50
OPEN_TOKENS = 8
"""Of an open loop's requests: arrivals are what is looked at, not tokens."""


def loads(streams: list[int], rates: list[int], *, quick: bool) -> list[Load]:
    """Return what each client is asked for; first one request, whose cost is the start-up's."""
    open_s = 3 if quick else 8
    waves = 1 if quick else 2
    one = [Load("closed", 1, 1, TOKENS)]
    closed = [Load("closed", n, waves * n if n > 1 else 2 * waves, TOKENS) for n in streams]
    even = [Load("constant", rate, rate * open_s, OPEN_TOKENS) for rate in rates]
    random = POISSON_RATE * (open_s if quick else 20)  # enough to tell Poisson from what is not
    poisson = [Load("poisson", POISSON_RATE, random, OPEN_TOKENS)] if rates else []
    return one + closed + even + poisson


def version_of(client: Client) -> str:
    """Return the client's version as its requirements pin it."""
    name = client.environment_name
    if name is None:
        import harness

        return harness.__version__
    folder = rig.ROOT / "launchers" / "requirements"
    path = Path(name) if name.endswith(".txt") else folder / f"{name}.txt"
    prefix = f"{client.package}=="
    lines = [line for line in path.read_text().splitlines() if line.startswith(prefix)]
    return lines[0].removeprefix(prefix).split()[0]


def _install(known: dict[str, Client], names: list[str]) -> int:
    failed = 0
    for name in names or known:
        environment = known[name].environment_name
        if environment is None:
            continue
        print(f"{name}: installing", file=sys.stderr)
        try:
            print(f"{name}: {install(environment, lambda _line: None)}", file=sys.stderr)
        except InstallError as error:
            print(f"{name}: {error}", file=sys.stderr)
            failed = 3
    return failed


def _run(known: dict[str, Client], options: argparse.Namespace) -> list[Outcome]:
    cpus = rig.claim_cpus()
    server = AT_ONCE if options.at_once else STAGGERED
    outcomes = []
    try:
        for name, client in known.items():
            for load in loads(options.streams, options.rates, quick=options.quick):
                if load.kind not in client.kinds:
                    continue
                began = time.monotonic()
                outcome = compare(name, client, load, cpus, server)
                outcomes.append(outcome)
                text = outcome.problem or f"{outcome.requests} requests, {outcome.tokens} tokens"
                spent = time.monotonic() - began
                print(f"{name} {load.kind} {load.level}: {text} ({spent:.1f} s)", file=sys.stderr)
                if python_of(client) is None:
                    break
    except KeyboardInterrupt:
        print("interrupted: what follows is what was measured until now", file=sys.stderr)
    return outcomes


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",") if part]


def main() -> int:
    """Install peers, or run and print."""
    known = clients()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("command", nargs="?", choices=["run", "install"], default="run")
    parser.add_argument("names", nargs="*", help="what to install: " + ", ".join(known))
    parser.add_argument("--peers", help="comma-separated, of " + ", ".join(known))
    parser.add_argument("--streams", type=_numbers, default=list(STREAMS))
    parser.add_argument("--rates", type=_numbers, default=list(RATES), help="requests/s")
    parser.add_argument(
        "--at-once", action="store_true", help="the server's tokens come in steps of 25 ms"
    )
    parser.add_argument("--quick", action="store_true", help="fewer requests: does it work?")
    parser.add_argument("--json", action="store_true")
    parser.add_argument(
        "--page", action="store_true", help="put the tables into docs/exactness.md, too"
    )
    options = parser.parse_args()
    names = options.names + (options.peers.split(",") if options.peers else [])
    unknown = [name for name in names if name not in known]
    if unknown:
        parser.error(f"no client {', '.join(unknown)}; there are {', '.join(known)}")
    chosen = {name: known[name] for name in names} if names else known
    if options.command == "install":
        return _install(known, options.names)
    began, where = time.monotonic(), rig.conditions()
    outcomes = _run(chosen, options)
    versions = {name: version_of(client) for name, client in chosen.items()}
    if options.json:
        text = json.dumps({"versions": versions, "outcomes": [asdict(one) for one in outcomes]})
    else:
        text = markdown(outcomes, chosen, versions)
        pattern = "all streams speak at once" if options.at_once else "each stream by itself"
        text += (
            f"\n{TOKENS} tokens, one every 25 ms, {pattern}; one run each, client on one core. "
            f"{where}; {time.monotonic() - began:.0f} s in all.\n"
        )
    print(text)
    if options.page and not options.json:
        exactness.write("peers", text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
