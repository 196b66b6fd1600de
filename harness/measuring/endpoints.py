"""The replicas of one deployment, each by itself. Pure; see docs/method.md."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.measuring import stats
from harness.measuring.measurement import Caveat, EndpointUse, Stat
from harness.measuring.request import NS_PER_MS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.measuring.caveats import Case
    from harness.measuring.samples import Samples
    from loadprofiles.records import DrivePlan


def endpoints_of(plan: DrivePlan, measured: Samples, *, stable: bool) -> list[EndpointUse]:
    """Measure each address of the plan by itself; none where there is but one."""
    if not plan.replicas:
        return []
    sent = measured.where(measured.has("submitted_ns"))
    addresses = [(plan.host, plan.port), *((one.host, one.port) for one in plan.replicas)]
    return [
        _use(address(host, port), sent.where(sent.column("endpoint") == index), stable=stable)
        for index, (host, port) in enumerate(addresses)
    ]


def address(host: str, port: int) -> str:
    """Host and port as a URL has them."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _use(name: str, sent: Samples, *, stable: bool) -> EndpointUse:
    errors = {kind: n for kind, n in sorted(sent.counts("error").items(), key=str) if kind}
    answered = sent.answered
    texts = answered.where(answered.has("first_ns") & answered.has("sent_ns"))
    values = (texts.column("first_ns") - texts.column("sent_ns")) / NS_PER_MS
    ttft = Stat(n=len(texts), unstable=True)
    if stable:
        ttft = stats.describe(values.tolist(), rng=stats.rng_for(f"ttft_ms of {name}"))
    return EndpointUse(
        address=name,
        sent=len(sent),
        failed=sum(errors.values()),
        errors=errors,
        ttft_ms=ttft,
    )


def replicas_failed(case: Case) -> Iterator[Caveat]:
    """Say which replicas failed: a deployment that is partly down has other numbers."""
    uses = endpoints_of(case.plan, case.measured, stable=False)
    if case.drive.ended == "interrupted":  # cut off by the user, no fault of the server
        failed = [use for use in uses if use.failed > use.errors.get("aborted", 0)]
    else:
        failed = [use for use in uses if use.failed]
    if failed:
        listed = "; ".join(
            f"{use.address} failed {use.failed} of {use.sent} requests "
            f"({', '.join(f'{kind} {n}' for kind, n in use.errors.items())})"
            for use in failed
        )
        others = len(uses) - len(failed)
        rest = f", the other {others} none" if others else ""
        yield Caveat(
            "replicas_failed",
            f"Of {len(uses)} replicas {listed}{rest}. Its turns were not given to others, as a "
            "load balancer would have done: mend it, or measure without it.",
        )
