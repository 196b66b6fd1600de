"""Every dialect through the real command line, as a stream and as one document."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from loadprofiles.dialects import dialect_names
from loadprofiles.records import PLAN_FILE, read_samples

if TYPE_CHECKING:
    from tests.conftest import StartMock
    from tests.e2e.conftest import Workplace

TOKENS = 10
ANSWER_S = 0.03 + (TOKENS - 1) * 0.005


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "document"])
@pytest.mark.parametrize("dialect", dialect_names())
def test_a_dialect(workplace: Workplace, mock: StartMock, dialect: str, *, stream: bool) -> None:
    root = mock("--ttft-ms=30", "--itl-ms=5", "--words").removesuffix("/v1")
    done = workplace.load(
        *("--url", root, "--dialect", dialect, "--profile", "closed", "--level", "2"),
        *("--requests", "12", "--output-tokens", str(TOKENS)),
        *(() if stream else ("--no-stream",)),
    )
    assert done.went_well
    [cell] = done.cells
    metrics = cell["metrics"]
    assert (cell["requests"]["ok"], cell["requests"]["failed"]) == (12, 0)
    assert (cell["output_tokens"], cell["token_source"]) == (12 * TOKENS, "server")
    assert metrics["e2e_ms"]["p50"] >= ANSWER_S * 1000
    assert metrics["sequence_tps"]["n"] == 12
    assert metrics["aggregate_tps"] > 0.5 * 2 * TOKENS / ANSWER_S
    for name in ("ttft_ms", "ttft_due_ms", "ttfa_ms"):
        assert metrics[name]["n"] == (12 if stream else 0)
    for name in ("stall_ms", "tpot_ms", "decode_tps"):  # a late client may see an answer at once
        assert metrics[name]["n"] in ((9, 10, 11, 12) if stream else (0,))
    assert metrics["itl_ms"]["n"] == (12 * (TOKENS - 1) if stream else 0)
    codes = {caveat["code"] for caveat in cell["client"]["caveats"]}
    assert ("one_document" in codes) is not stream
    assert not {"not_streamed", "tokens_from_chunks", "short_answers"} & codes
    folder = done.run / "cells" / cell["id"]
    assert json.loads((folder / PLAN_FILE).read_text())["stream"] is stream
    hashes = [sample.output_hash for sample in read_samples(folder)]
    assert len(set(hashes)) == len(hashes)  # --words: every answer has a text of its own
    assert done.json["cells"][0]["engine"] == {"tgi": "tgi", "llamacpp": "llama.cpp"}.get(
        dialect, "unknown"
    )
    for report in ("report.html", "report.md"):
        assert (done.run / report).read_text()
