"""Brings a server up, and down again in every case."""

from __future__ import annotations

import errno
import os
import socket
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import httpx

from launchers.checkpoint import check_quantization, scheme_of
from launchers.engines import Start, StartRequest, load_engine
from launchers.errors import BuildError, LaunchError, NotYetInstalledError
from launchers.model import checkpoint_of, memory_of_weights_gib, resolve_model, weights_hash
from launchers.pages import fetch
from launchers.processes import GuardedProcess, tail
from launchers.redact import redact_argv, redact_mapping, redact_text
from launchers.server import Server
from launchers.telemetry.kv_cache import kv_facts
from launchers.trust import nobody

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from launchers.build import Build
    from launchers.engines import Engine, Facts
    from launchers.processes import ExitStatus

LOG_FILE = "server.log"
POLL_S = 0.05
"""What a start takes is known to this."""
NEWS_S = 5.0
"""How often `on_line` hears what a loading server does."""
NEWS_CHARACTERS = 140


@dataclass(frozen=True)
class Running:
    """A server that was brought up, and its process."""

    server: Server
    process: GuardedProcess

    def poll(self) -> ExitStatus | None:
        """How the server has ended; None while it lives."""
        return self.process.poll()

    def tail(self, lines: int = 15) -> list[str]:
        """Return the last lines of the server's log."""
        return self.process.tail(lines)


def check_build(build: Build, base_dir: Path) -> None:
    """Find what can be seen to be wrong with a build before anything is installed or started.

    Raises:
        BuildError, UnknownNameError: the build cannot be served as it is.
        InstallError: its engine is not on this machine, and the harness cannot install it.
    """
    _asked_port(build, None)
    with suppress(NotYetInstalledError):
        plan_start(build, base_dir)


def plan_start(build: Build, base_dir: Path) -> Start:
    """Say how a build would be started on this machine as it is now.

    Raises:
        BuildError, UnknownNameError: the build cannot be served as it is.
        InstallError: its engine is not there; NotYetInstalledError: but can be installed.
    """
    engine = load_engine(build.engine)
    source, build = resolve_model(build, base_dir), build.beside(base_dir)
    request = StartRequest(
        build=build, source=source, port=1, install_missing=False, on_line=lambda _: None
    )
    return _start(engine, request)


def _start(engine: Engine, request: StartRequest) -> Start:
    """How an engine is started, with the secrets that the build says it needs."""
    build = request.build
    for name in build.secrets or ():
        if name not in os.environ:
            raise BuildError(
                build.name, "secrets", f"the environment variable {redact_text(name)} is not set"
            )
    return replace(engine.start(request), secrets=tuple(build.secrets or ()))


@contextmanager
def launch(
    build: Build,
    folder: Path,
    *,
    base_dir: Path,
    on_line: Callable[[str], None],
    port: int | None = None,
    reserve_client_cpu: bool = True,
    install_missing: bool = True,
) -> Iterator[Running]:
    """Serve `build` on 127.0.0.1 while the context is open; everything has ended after it.

    Args:
        build: what to serve.
        folder: gets `server.log`.
        base_dir: where relative folders of the build start: its TOML's folder.
        on_line: gets what happens, in lines for a person.
        port: a free one unless said here or in the build's arguments.
        reserve_client_cpu: on CPUs, leave one to the load client (`Server.client_cpus`).
        install_missing: make the engine's managed environment if it is not there.

    Raises:
        BuildError, UnknownNameError: the build cannot be served as it is.
        InstallError: no engine, and it could not be installed.
        LaunchError: the server did not come up; ends with its log's last lines.
    """
    engine = load_engine(build.engine)
    source = resolve_model(build, base_dir)
    build = build.beside(base_dir)
    with _held_port(_asked_port(build, port)) as held:
        request = StartRequest(
            build=build,
            source=source,
            port=held,
            reserve_client_cpu=reserve_client_cpu,
            install_missing=install_missing,
            on_line=on_line,
        )
        start = _start(engine, request)
    log = folder / LOG_FILE
    on_line(f"{build.name}: starting {engine.name} on port {request.port}, log in {log}")
    try:
        process = GuardedProcess(start, log)
    except OSError as error:
        raise LaunchError(f"cannot write {log}: {error.strerror}") from error
    try:
        yield Running(_bring_up(engine, request, start, process), process)
    finally:
        process.stop()


def _bring_up(
    engine: Engine, request: StartRequest, start: Start, process: GuardedProcess
) -> Server:
    """Wait for readiness and gather what is known of the server."""
    ready_s, first_token_s = _Readiness(engine, request, start, process).wait()
    source = request.source
    weights = weights_hash(source.weight_files) if source.folder else {"hub_id": source.hub_id}
    facts = _facts(engine, process.log, request.port)
    server = _server(engine, request, start, facts, process)
    told = server.provenance
    told.update(weights=weights, ready_s=ready_s, first_token_s=first_token_s)
    size = weights.get("bytes") if weights else None
    if told["weights_gib"] is None and source.folder and isinstance(size, int):
        told["weights_gib"] = memory_of_weights_gib(request.build, source.folder, size)
    request.on_line(f"{request.build.name}: ready after {first_token_s:.0f} s at {server.base_url}")
    return server


def _asked_port(build: Build, port: int | None) -> int | None:
    asked = port or build.arguments.get("port")
    if asked is None:
        return None
    if type(asked) is not int or not 0 < asked < 2**16:  # true is an int, too
        raise BuildError(build.name, "arguments.port", f"{asked!r} is no port (1 to 65535)")
    return asked


@contextmanager
def _held_port(asked: int | None) -> Iterator[int]:
    """Keep the port asked for, or a free one, from others while the engine is being prepared."""
    with socket.socket() as sock:
        # Connections that the last server there has closed are not in the way.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind(("127.0.0.1", asked or 0))
        except OSError as error:
            in_use = error.errno == errno.EADDRINUSE
            raise LaunchError(
                f"port {asked} on 127.0.0.1 cannot be used ({error.strerror}): "
                f"{'stop what listens there' if in_use else 'take a higher one'}, or leave the "
                "port out to get a free one"
            ) from error
        yield int(sock.getsockname()[1])


@dataclass(frozen=True)
class _Readiness:
    """Waits until the server is healthy and has generated one token."""

    engine: Engine
    request: StartRequest
    start: Start
    process: GuardedProcess

    def wait(self) -> tuple[float, float]:
        """Return when it was healthy and when it had generated a token, in s since its start."""
        began, news = self.process.started_s, time.monotonic()
        deadline = news + self.request.build.ready_timeout_s
        healthy_s: float | None = None
        last = "nothing answered"
        # No proxy of the environment may come between: this is 127.0.0.1.
        with httpx.Client(
            base_url=f"http://127.0.0.1:{self.request.port}", trust_env=False, verify=nobody()
        ) as client:
            while (now := time.monotonic()) < deadline:
                self._check_alive()
                try:
                    if healthy_s is None:
                        reply = fetch(client, self.engine.ready_path, timeout_s=2)
                        if reply.status_code == httpx.codes.OK:
                            healthy_s = time.monotonic() - began
                        last = f"{self.engine.ready_path} answered {reply.status_code}"
                    if healthy_s is not None:
                        generated = self._generated(client, deadline - now)
                        if generated is not None:
                            return round(healthy_s, 2), round(generated - began, 2)
                except httpx.HTTPError as error:
                    last = str(error) or type(error).__name__
                if now - news >= NEWS_S:
                    news = now
                    line = "".join(tail(self.process.log, 1))[:NEWS_CHARACTERS]
                    self.request.on_line(
                        f"{self.request.build.name}: loading, {now - began:.0f} s: {line}"
                    )
                time.sleep(POLL_S)
        limit = f"ready_timeout_s = {self.request.build.ready_timeout_s:g} s"
        raise self._error(
            f"was not ready within {limit} ({last}); a larger one in the build waits longer"
        )

    def _generated(self, client: httpx.Client, timeout_s: float) -> float | None:
        """Ask for a token; return when it had come, None if there was none."""
        model = self.start.model or self.request.source.name
        # Greedy: some engines sample all requests of one batch as the first one asks for.
        body = {"model": model, "prompt": "1", "max_tokens": 1, "temperature": 0}
        reply = fetch(client, "/v1/completions", body=body, timeout_s=max(timeout_s, 1))
        at = time.monotonic()
        self._check_identity()
        if reply.status_code == httpx.codes.OK:
            return at if _has_token(reply) else None
        if reply.is_client_error:
            raise self._error(
                f"is up but refused to generate: HTTP {reply.status_code} {reply.text[:300]}"
            )
        return None

    def _check_alive(self) -> None:
        if status := self.process.poll():
            raise self._error(f"ended while it was loading ({status})")

    def _check_identity(self) -> None:
        """Make sure that what has answered is this server: the port was free for a while."""
        ours = not self.start.owns_port or self.process.listens_alone(self.request.port)
        self._check_alive()
        if not ours:
            raise self._error(f"has not come up: another process took port {self.request.port}")

    def _error(self, problem: str) -> LaunchError:
        lines = "\n".join(f"  {line}" for line in self.process.tail())
        shown = f"the last lines of {self.process.log}:\n{lines}" if lines else "its log is empty"
        return LaunchError(f"server {self.request.build.name!r} {problem}; {shown}")


def _has_token(reply: httpx.Response) -> bool:
    """Whether an answer holds a generated token: text, or at least its count."""
    try:
        page = reply.json()
        text = page["choices"][0]["text"]
        return bool(text or (page.get("usage") or {}).get("completion_tokens"))
    except (ValueError, LookupError, TypeError, AttributeError):
        return False


def _facts(engine: Engine, log: Path, port: int) -> Facts:
    pages = {}
    address = f"http://127.0.0.1:{port}"
    with httpx.Client(base_url=address, trust_env=False, verify=nobody()) as client:
        for path in engine.fact_pages:
            try:
                reply = fetch(client, path, timeout_s=10)
            except httpx.HTTPError:
                continue
            if reply.status_code == httpx.codes.OK:
                pages[path] = reply.text
    return engine.facts(log.read_text(errors="replace"), pages)


def _server(
    engine: Engine, request: StartRequest, start: Start, facts: Facts, process: GuardedProcess
) -> Server:
    build, source = request.build, request.source
    version = facts.version or start.version
    checkpoint = source.checkpoint
    if checkpoint is None:  # a hub's model may be in the cache only now
        checkpoint = checkpoint_of(source, build)
        check_quantization(build, checkpoint)
    tokens = facts.kv_cache_tokens
    cache = kv_facts(source.folder, start.provenance | facts.provenance)
    cache_gib, token_bytes = facts.provenance.get("kv_cache_gib"), cache["kv_bytes_per_token"]
    # Of layers with a window an engine may keep less than this for each token.
    windowed = "kv_window_tokens" in cache
    if cache_gib is None and tokens and isinstance(token_bytes, int) and not windowed:
        cache_gib = tokens * token_bytes / 2**30
    provenance = {
        "engine": engine.name,
        "engine_version": version,
        "model": source.location,
        "quantization": build.quantization,
        "scheme": scheme_of(build, checkpoint),
        "checkpoint": checkpoint.facts() if checkpoint else None,
        "argv": redact_argv(start.argv),
        "environment": redact_mapping(start.environment),
        "cpus": start.cpus,
        **start.provenance,
        "reported": facts.provenance,
        "weights_gib": facts.provenance.get("model_memory_gib"),
        "kv_cache_gib": cache_gib,
        "kv_cache_tokens": tokens,
        **cache,
    }
    return Server(
        build=build.name,
        engine=engine.name,
        engine_version=version,
        base_url=f"http://127.0.0.1:{request.port}/v1",
        model=start.model or source.name,
        pid=process.pid if start.owns_port else None,  # else that of the container's client
        log=process.log,
        tokenizer=source.tokenizer,
        pin_output=engine.pin_output if start.pin_output is None else start.pin_output,
        max_model_len=facts.max_model_len or build.max_model_len,
        client_cpus=start.client_cpus,
        kv_cache_tokens=facts.kv_cache_tokens,
        provenance=provenance,
    )
