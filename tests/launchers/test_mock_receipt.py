"""The mock's truth about when a request came in, also when the mock was late."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
BODY = b'{"prompt":"p","max_tokens":2,"stream":true}'
REQUEST = b"POST /v1/completions HTTP/1.1\r\nhost: m\r\ncontent-length: %d\r\n\r\n%b" % (
    len(BODY),
    BODY,
)
FROZEN_S = 0.5


def test_a_late_reader_knows_when_the_request_came(tmp_path: Path) -> None:
    truth = tmp_path / "truth.jsonl"
    argv = [sys.executable, "-m", "launchers.mock", "--ttft-ms", "1", "--itl-ms", "1"]
    with subprocess.Popen(
        [*argv, "--truth", str(truth)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as mock:
        assert mock.stdout is not None
        port = int(mock.stdout.readline().rpartition(":")[2].partition("/")[0])
        try:
            mock.send_signal(signal.SIGSTOP)
            # The kernel completes the connection; the mock has not even accepted it.
            with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
                before = time.perf_counter_ns()
                client.sendall(REQUEST)
                after = time.perf_counter_ns()
                time.sleep(FROZEN_S)
                mock.send_signal(signal.SIGCONT)
                while b"[DONE]" not in client.recv(1 << 16):
                    pass
        finally:
            mock.kill()
    (line,) = map(json.loads, truth.read_text().splitlines())
    assert before - 50_000 <= line["received_ns"] <= after + 50_000_000
    assert line["sent_ns"][0] - before > FROZEN_S * 1e9
