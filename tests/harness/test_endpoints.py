"""What is said of the replicas of one deployment."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING

from harness.measuring.endpoints import endpoints_of, replicas_failed
from harness.measuring.samples import Samples
from loadprofiles.records import DrivePlan, Endpoint, Sample

if TYPE_CHECKING:
    from harness.measuring.caveats import Case

MS = 1_000_000
PLAN = DrivePlan(
    host="::1", port=1, path="/", replicas=[Endpoint(host="b", port=2, path="/")],
    dialect="tgi", mode="open", warmup=0, drain_s=1, timeout_s=1, output_tokens=[],
)  # fmt: skip


def sample(seq: int, ttft_ms: int | None, error: str | None = None) -> Sample:
    sent = seq * 1000 * MS
    return Sample(
        seq=seq,
        body=seq,
        request_id=f"r{seq}",
        phase="measured",
        due_ns=sent,
        submitted_ns=None if error == "dropped" else sent,
        sent_ns=None if error == "dropped" else sent,
        first_ns=None if ttft_ms is None else sent + ttft_ms * MS,
        last_ns=None if ttft_ms is None else sent + ttft_ms * MS,
        endpoint=seq % 2,
        error=error,
    )


SAMPLES = [
    sample(0, 10), sample(1, 50), sample(2, 20), sample(3, None, "reset"), sample(4, 30),
    sample(5, None, "aborted"), sample(6, None, "dropped"),
]  # fmt: skip


def caveats(samples: list[Sample], ended: str = "done") -> list[str]:
    case = SimpleNamespace(
        plan=PLAN, measured=Samples.of(samples).measured, drive=SimpleNamespace(ended=ended)
    )
    found: Case = case  # type: ignore[assignment]
    return [caveat.text for caveat in replicas_failed(found)]


def test_each_by_itself() -> None:
    first, second = endpoints_of(PLAN, Samples.of(SAMPLES), stable=True)
    assert (first.address, first.sent, first.failed, first.errors) == ("[::1]:1", 3, 0, {})
    assert (first.ttft_ms.n, first.ttft_ms.mean) == (3, 20.0)
    assert (second.address, second.sent, second.failed) == ("b:2", 3, 2)
    assert second.errors == {"aborted": 1, "reset": 1}
    assert (second.ttft_ms.n, second.ttft_ms.mean) == (1, 50.0)


def test_a_queue_that_grows_has_no_distribution() -> None:
    first, _ = endpoints_of(PLAN, Samples.of(SAMPLES), stable=False)
    assert (first.ttft_ms.n, first.ttft_ms.mean, first.ttft_ms.unstable) == (3, None, True)


def test_one_address_is_no_deployment_of_several() -> None:
    plan = DrivePlan(
        host="a", port=1, path="/", dialect="tgi", mode="open", warmup=0, drain_s=1, timeout_s=1,
        output_tokens=[],
    )  # fmt: skip
    assert endpoints_of(plan, Samples.of(SAMPLES), stable=True) == []


def test_who_failed_is_named() -> None:
    [text] = caveats(SAMPLES)
    assert "b:2 failed 2 of 3 requests (aborted 1, reset 1), the other 1 none" in text
    assert caveats(SAMPLES[:3]) == []


def test_what_the_user_cut_off_is_nobodys_failure() -> None:
    assert caveats([*SAMPLES[:3], SAMPLES[5]], "interrupted") == []
    assert len(caveats(SAMPLES, "interrupted")) == 1
