"""A page in a headless Chromium, driven through its DevTools protocol."""

from __future__ import annotations

import base64
import contextlib
import json
import shutil
import subprocess
import time
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from pathlib import Path

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--hide-scrollbars", "--remote-debugging-port=0", "--remote-allow-origins=*",
)  # fmt: skip


class Browser:
    """One tab. What the page says on its console, and what it asked of the network, is kept."""

    def __init__(self, profile: Path) -> None:
        assert CHROMIUM is not None
        from websocket import create_connection

        self._process = subprocess.Popen(
            [CHROMIUM, *FLAGS, f"--user-data-dir={profile}", "about:blank"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        told = profile / "DevToolsActivePort"
        deadline = time.monotonic() + 60
        while not (told.is_file() and told.read_text().count("\n")):
            assert self._process.poll() is None, "Chromium ended"
            assert time.monotonic() < deadline, "Chromium does not answer"
            time.sleep(0.05)
        port, path = told.read_text().split()
        self._socket = create_connection(f"ws://127.0.0.1:{port}{path}", timeout=60)
        self._last = 0
        self._session: str | None = None
        self.console: list[str] = []
        self.requests: list[str] = []
        target = self.do("Target.createTarget", url="about:blank")["targetId"]
        attached = self.do("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.do(f"{domain}.enable")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._socket.close()
        self._process.terminate()
        self._process.wait(20)

    def do(self, method: str, **params: Any) -> dict[str, Any]:  # noqa: ANN401 - the protocol's
        """Send a command and return its result."""
        self._last += 1
        message: dict[str, Any] = {"id": self._last, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        self._socket.send(json.dumps(message))
        while True:
            answer = json.loads(self._socket.recv())
            if answer.get("id") == self._last:
                assert "error" not in answer, answer
                result: dict[str, Any] = answer["result"]
                return result
            self._keep(answer)

    def _keep(self, event: dict[str, Any]) -> None:
        params = event.get("params", {})
        match event.get("method"):
            case "Runtime.consoleAPICalled" | "Runtime.exceptionThrown":
                self.console.append(json.dumps(params))
            case "Log.entryAdded":
                self.console.append(params["entry"]["text"])
            case "Network.requestWillBeSent":
                self.requests.append(params["request"]["url"])

    def open(self, page: Path, fragment: str = "", *, width: int = 1200, height: int = 900,
             **media: str) -> None:  # fmt: skip
        """Open a page of this width and wait until it has loaded.

        Args:
            page: file.
            fragment: with its `#`.
            width: CSS pixels.
            height: CSS pixels.
            media: features to emulate, e.g. `prefers_color_scheme="dark"`.
        """
        features = [{"name": n.replace("_", "-"), "value": v} for n, v in media.items()]
        self.do("Emulation.setEmulatedMedia", media="", features=features)
        self.do("Emulation.setDeviceMetricsOverride", width=width, height=height,
                deviceScaleFactor=1, mobile=False)  # fmt: skip
        self.do("Page.navigate", url="about:blank")
        self.do("Page.navigate", url=page.as_uri() + fragment)
        deadline = time.monotonic() + 30
        while self.ask("document.readyState + location.protocol") != "completefile:":
            assert time.monotonic() < deadline, "the page does not load"
            time.sleep(0.02)

    def ask(self, expression: str) -> Any:  # noqa: ANN401 - whatever JavaScript says
        """Evaluate an expression in the page."""
        found = self.do(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True,
            userGesture=True,
        )  # fmt: skip
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def press(self, key: str, text: str = "") -> None:
        """Press and release a key, e.g. `Tab`; `text` is what it writes."""
        codes = {"Tab": 9, "Enter": 13, "ArrowDown": 40}
        for kind in ("keyDown", "keyUp"):
            self.do("Input.dispatchKeyEvent", type=kind, key=key, code=key,
                    windowsVirtualKeyCode=codes.get(key, 0),
                    **({"text": text} if text and kind == "keyDown" else {}))  # fmt: skip

    def picture(self, *, whole: bool = False) -> bytes:
        """Return a PNG of what is seen, or of the whole page."""
        made = self.do("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        return base64.b64decode(made["data"])

    def printed(self) -> bytes:
        """Return the page as a PDF on A4."""
        made = self.do("Page.printToPDF", paperWidth=8.27, paperHeight=11.69, printBackground=True)
        return base64.b64decode(made["data"])
