"""A program that behaves as engines do, and as they should not: `fake_engine.py MODE … --port=N`.

Only for how processes behave; what an engine says is tested with real ones.
"""

# ruff: noqa: T201 - what it prints is its log

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    refuse = False

    def reply(self, status: int, page: object) -> None:
        body = json.dumps(page).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        self.reply(200, {"version": "9.9.9"})

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if asked.get("die"):
            print("cosmic ray", flush=True)
            os.kill(os.getpid(), signal.SIGSEGV)
            time.sleep(60)  # another thread takes the signal: this one must not get to answer
        if self.refuse:
            self.reply(400, {"error": {"message": "max_tokens is forbidden here"}})
        else:
            self.reply(200, {"choices": [{"text": "2"}]})

    def log_message(self, *_: object) -> None:
        pass


def leave_children() -> None:
    """Leave two processes behind that have left every group and ignore TERM."""
    code = (
        "import os, signal, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "os.setsid()\n"
        "if os.fork(): os._exit(0)\n"
        "os.setsid()\n"
        "time.sleep(600)\n"
    )
    for _ in range(2):
        subprocess.run([sys.executable, "-S", "-c", code], check=True)


def leave_late() -> None:
    """Go on while the main thread is a zombie."""
    time.sleep(1)
    os._exit(5)


def main() -> None:
    mode, port = sys.argv[1], int(next(a for a in sys.argv if a.startswith("--port="))[7:])
    print("allowed cpus", sorted(os.sched_getaffinity(0)), flush=True)
    if mode == "dies":
        print("\n".join(f"loading shard {i}\n\n" for i in range(40)))
        print("ValueError: no kernel for this GPU", flush=True)
        sys.exit(3)
    if mode == "crashes":
        os.kill(os.getpid(), signal.SIGSEGV)
    if mode in {"stubborn", "children"}:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if mode == "children":
        leave_children()
    if mode == "loads":
        time.sleep(600)
    if mode == "lingers":  # as vLLM does: its main thread ends before the others
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        threading.Thread(target=leave_late).start()
        print("serving", flush=True)
        ctypes.CDLL(None).pthread_exit(None)
    Handler.refuse = mode == "refuses"
    ThreadingHTTPServer.allow_reuse_port = mode == "shares"  # as vLLM does
    print("serving", flush=True)
    ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()


if __name__ == "__main__":
    main()
