"""TLS, addresses, connections and replicas, through the real command line to the mock."""

from __future__ import annotations

import json
import socket
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import pytest

from loadprofiles.records import read_samples

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import trustme

    from loadprofiles.records import Sample
    from tests.conftest import StartMock
    from tests.e2e.conftest import Done, Workplace

QUICK = ("--ttft-ms=20", "--itl-ms=5")
ASKED = ("--profile", "closed", "--level", "2", "--requests", "8", "--warmup", "2", "--osl", "5")
Certify = "Callable[..., tuple[str, str]]"


@pytest.fixture
def certify(authority: trustme.CA, tmp_path: Path) -> Callable[..., tuple[str, str]]:
    """Return the mock's options for a certificate for these names."""

    def issue(*names: str) -> tuple[str, str]:
        issued = authority.issue_cert(*names)
        key, chain = tmp_path / f"{names[0]}.key", tmp_path / f"{names[0]}.pem"
        issued.private_key_pem.write_to_path(key)
        chain.write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))
        return f"--tls-cert={chain}", f"--tls-key={key}"

    return issue


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path: Path) -> str:
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    return str(tmp_path / "ca.pem")


def samples_of(done: Done, cell: dict[str, Any], phase: str = "measured") -> list[Sample]:
    found = read_samples(done.run / "cells" / cell["id"])
    return [sample for sample in found if sample.phase == phase]


def codes(cell: dict[str, Any]) -> set[str]:
    return {caveat["code"] for caveat in cell["client"]["caveats"]}


def check_refused(done: Done, *texts: str) -> None:
    assert done.code == 3, done.err
    assert done.out == ""
    for text in texts:
        assert text in done.err


# --- TLS ---------------------------------------------------------------------------------------


def test_https_with_an_authority_of_ones_own(
    workplace: Workplace, mock: StartMock, certify: Certify, ca_file: str
) -> None:
    key = "sesame-4711"
    url = mock(*QUICK, *certify("127.0.0.1"), f"--api-key={key}")
    assert url.startswith("https://")
    done = workplace.load(
        *("--url", url, *ASKED, "--ca-file", ca_file, "--api-key-env", "MY_KEY"),
        environment={"MY_KEY": key},
    )
    assert done.went_well, done.err
    [cell] = done.cells
    assert (cell["requests"]["ok"], cell["requests"]["failed"]) == (8, 0)
    assert cell["client"]["clock"] == "kernel"
    assert cell["metrics"]["ttft_ms"]["p50"] >= 20
    assert 4 < cell["metrics"]["itl_ms"]["p50"] < 8
    assert "tls_unverified" not in codes(cell)
    assert not any(sample.retried for sample in samples_of(done, cell))
    assert json.loads((done.run / "manifest.json").read_text())["request"]["ca_file"] == ca_file
    for path in [path for path in done.run.rglob("*") if path.is_file()]:
        assert key.encode() not in path.read_bytes(), path


@pytest.mark.parametrize(
    ("name", "trusted", "texts"),
    [
        ("127.0.0.1", False, ["certificate verify failed", "--ca-file FILE", "--insecure"]),
        ("other.example", True, ["certificate verify failed", "not valid for '127.0.0.1'"]),
    ],
)
def test_a_certificate_that_is_none_is_3(
    workplace: Workplace,
    mock: StartMock,
    certify: Certify,
    ca_file: str,
    name: str,
    texts: list[str],
    *,
    trusted: bool,
) -> None:
    url = mock(*QUICK, *certify(name))
    trust = ("--ca-file", ca_file) if trusted else ()
    check_refused(workplace.load("--url", url, *ASKED, *trust), f"cannot connect to {url}", *texts)
    assert workplace.runs == []


def test_insecure_is_said(workplace: Workplace, mock: StartMock, certify: Certify) -> None:
    done = workplace.load("--url", mock(*QUICK, *certify("other.example")), *ASKED, "--insecure")
    assert done.went_well, done.err
    assert "tls_unverified" in codes(done.cells[0])
    assert "--insecure" in (done.run / "report.md").read_text()
    assert json.loads((done.run / "manifest.json").read_text())["request"]["insecure"] is True


def test_https_to_a_plain_server_is_3(workplace: Workplace, mock: StartMock) -> None:
    url = mock(*QUICK).replace("http:", "https:")
    check_refused(workplace.load("--url", url, *ASKED), "does not speak TLS", "http://")


def test_http_to_a_server_with_tls_is_3(
    workplace: Workplace, mock: StartMock, certify: Certify
) -> None:
    url = mock(*QUICK, *certify("127.0.0.1")).replace("https:", "http:")
    check_refused(workplace.load("--url", url, *ASKED), "http or https")


def test_a_redirect_is_no_answer_and_is_not_followed(
    workplace: Workplace, mock: StartMock, certify: Certify, ca_file: str
) -> None:
    url = mock(*QUICK, *certify("127.0.0.1"), "--fault=redirect")
    done = workplace.load("--url", url, *ASKED, "--ca-file", ca_file)
    assert done.code == 4
    assert done.cells == [] or done.cells[0]["requests"]["ok"] == 0
    assert "redirects are not followed: Location: http://192.0.2.1/v1/completions" in done.out
    assert "completions: {}" not in done.out


def test_stamps_are_those_of_the_kernel_with_tls_too(
    workplace: Workplace,
    mock: StartMock,
    certify: Certify,
    ca_file: str,
    tmp_path: Path,
) -> None:
    """Against the moments at which the server handed each record to its kernel."""
    url = mock(*QUICK, *certify("127.0.0.1"), f"--truth={tmp_path / 'truth.jsonl'}")
    done = workplace.load("--url", url, *ASKED, "--ca-file", ca_file)
    assert done.went_well, done.err
    lines = (tmp_path / "truth.jsonl").read_text().splitlines()
    truth = {line["request_id"]: line["sent_ns"] for line in map(json.loads, lines)}
    samples = samples_of(done, done.cells[0])
    errors = []
    for sample in samples:
        stamps = accumulate(sample.chunk_ns, initial=sample.first_ns)
        errors += [at - sent for at, sent in zip(stamps, truth[sample.request_id], strict=True)]
        assert sample.clock == "kernel"
    assert len(errors) == 5 * len(samples)
    assert min(errors) > -50_000  # the error of the offset between the clocks
    assert sorted(errors)[len(errors) // 2] < 5_000_000


# --- addresses and connections -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("listen", "ask"),
    [
        ("::1", "[::1]"),
        ("127.0.0.1", "localhost"),
        ("::1", "localhost"),
    ],
)
def test_addresses(workplace: Workplace, mock: StartMock, listen: str, ask: str) -> None:
    known = {found[4][0] for found in socket.getaddrinfo(ask.strip("[]"), 80)}
    if listen not in known:
        pytest.skip(f"here {ask} is not {listen}")
    port = mock(*QUICK, f"--host={listen}").rsplit(":", 1)[1]
    done = workplace.load("--url", f"http://{ask}:{port}", *ASKED)
    assert done.went_well, done.err
    assert done.cells[0]["requests"]["ok"] == 8


def test_ipv6_with_tls(
    workplace: Workplace, mock: StartMock, certify: Certify, ca_file: str
) -> None:
    url = mock(*QUICK, "--host=::1", *certify("::1"))
    done = workplace.load("--url", url, *ASKED, "--ca-file", ca_file)
    assert done.went_well, done.err
    assert done.cells[0]["requests"]["ok"] == 8


@pytest.mark.parametrize("tls", [False, True])
def test_a_server_that_closes_after_each_answer(
    workplace: Workplace, mock: StartMock, certify: Certify, ca_file: str, *, tls: bool
) -> None:
    more = certify("127.0.0.1") if tls else ()
    url = mock(*QUICK, "--close", *more)
    done = workplace.load("--url", url, *ASKED, *(("--ca-file", ca_file) if tls else ()))
    assert done.went_well, done.err
    [cell] = done.cells
    assert (cell["requests"]["ok"], cell["requests"]["failed"]) == (8, 0)
    samples = samples_of(done, cell)
    assert all(sample.connect_ns and not sample.retried for sample in samples)
    # A connect on one machine takes some 0.1 ms, which nobody's TTFT notices; a handshake takes 1.
    slowest_ns = max(sample.connect_ns or 0 for sample in samples if sample.phase == "measured")
    noticed = slowest_ns >= 1_000_000
    assert ("connected_in_window" in codes(cell)) == noticed
    assert noticed or not tls


# --- replicas ----------------------------------------------------------------------------------


@pytest.mark.parametrize("apart", [False, True])
def test_requests_go_round_robin_over_the_replicas(
    workplace: Workplace, mock: StartMock, *, apart: bool
) -> None:
    slow, quick = mock("--ttft-ms=120", "--itl-ms=5"), mock("--ttft-ms=20", "--itl-ms=5")
    urls = ("--url", slow, "--url", quick) if apart else ("--url", f"{slow},{quick}")
    done = workplace.load(
        *urls, "--profile", "constant", "--rate", "20", "--requests", "20", "--osl", "5"
    )
    assert done.went_well, done.err
    [cell] = done.cells
    samples = samples_of(done, cell)
    assert [sample.endpoint for sample in samples_in_order(samples)] == [0, 1] * 10
    first, second = cell["endpoints"]
    assert (first["sent"], first["failed"], second["sent"], second["failed"]) == (10, 0, 10, 0)
    assert [f"http://{use['address']}/v1" for use in (first, second)] == [slow, quick]
    assert 120 <= first["ttft_ms"]["p50"] < 200
    assert 20 <= second["ttft_ms"]["p50"] < 100
    for report in ("report.md", "report.html"):
        text = (done.run / report).read_text()
        assert first["address"] in text
        assert second["address"] in text
    # connections were opened ahead to both
    assert all(sample.connect_ns is None for sample in samples)
    manifest = json.loads((done.run / "manifest.json").read_text())
    assert manifest["servers"]["url"]["replicas"][0]["url"] == quick


def samples_in_order(samples: list[Sample]) -> list[Sample]:
    return sorted(samples, key=lambda sample: sample.seq)


def test_a_replica_that_is_down_is_3_and_named(workplace: Workplace, mock: StartMock) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        dead = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
    check_refused(workplace.load("--url", mock(*QUICK), "--url", dead, *ASKED), dead)
    assert workplace.runs == []


def test_a_replica_that_dies_in_mid_run_is_named(workplace: Workplace, mock: StartMock) -> None:
    good, frail = mock(*QUICK), mock(*QUICK, "--die-after=5")
    done = workplace.load(
        *("--url", f"{good},{frail}", "--profile", "constant", "--rate", "20"),
        *("--requests", "30", "--osl", "5", "--warmup", "0"),
    )
    assert done.code == 4
    [cell] = done.cells
    first, second = cell["endpoints"]
    assert (first["sent"], first["failed"], second["sent"]) == (15, 0, 15)
    assert second["failed"] >= 10
    [caveat] = [one for one in cell["client"]["caveats"] if one["code"] == "replicas_failed"]
    assert f"{second['address']} failed {second['failed']} of 15 requests" in caveat["text"]
    assert "the other 1 none" in caveat["text"]


def test_replicas_with_tls(
    workplace: Workplace, mock: StartMock, certify: Certify, ca_file: str
) -> None:
    """Each is asked for by its own name."""
    one = mock(*QUICK, *certify("127.0.0.1"))
    two = mock(*QUICK, *certify("localhost"))
    named = two.replace("127.0.0.1", "localhost")
    done = workplace.load("--url", f"{one},{named}", *ASKED, "--ca-file", ca_file)
    assert done.went_well, done.err
    assert [use["failed"] for use in done.cells[0]["endpoints"]] == [0, 0]
    check_refused(
        workplace.load("--url", f"{one},{two}", *ASKED, "--ca-file", ca_file),
        two,
        "not valid for '127.0.0.1'",
    )
