"""SGLang 0.5: `sglang` on PATH, or a container.

Never run by us: options, pages and log lines are those of its source at 0.5.23
(srt/arg_groups/fields, srt/entrypoints/http_server.py) and its documentation ("install").
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from launchers.arguments import NO_HTTP, NO_KEY, OURS, check_command, flags, options_of, refuse
from launchers.containers import HOST, contained, from_shell, inside
from launchers.engines import Engine, Facts, Start, StartRequest
from launchers.interpreters import on_python
from launchers.pages import count_at, json_object, word_at

if TYPE_CHECKING:
    from collections.abc import Mapping

    from launchers.build import Build, Scalar
    from launchers.model import ModelSource

COMMAND = "sglang"
CONTAINED = ("python3", "-m", "sglang.launch_server")
CONTAINER_PORT = 30000
FIELDS = {"context-length": "max_model_len", "dtype": "dtype"}
ADVICE = {
    "host|model|model-path|served-model-name|device": OURS,
    "(admin-)?api-key": NO_KEY,
    "ssl-.+|enable-ssl-refresh|(smg-)?grpc-mode|fastapi-root-path|encoder-only": NO_HTTP,
}
HEALTH = {"SGLANG_ENABLE_HEALTH_ENDPOINT_GENERATION": "false"}
"""Else each look at `/health` makes it generate a token, and takes a second or more."""
WEIGHTS = re.compile(r"Load weight end\. .*mem usage=([\d.]+) GB")
REPORTED = {
    "dtype": "dtype", "quantization": "quantization", "kv_cache_dtype": "kv_cache_dtype",
    "attention_backend": "attention_backend", "tp_size": "tensor_parallel_size",
    "max_running_requests": "max_running_requests", "mem_fraction_static": "mem_fraction_static",
    "chunked_prefill_size": "chunked_prefill_size", "load_format": "load_format",
}  # fmt: skip
"""Of `/server_info`, and what all engines call it."""


@dataclass(frozen=True)
class Sglang:
    """The engine. Its radix cache of prefixes stays as SGLang has it, and is recorded."""

    name: str = "sglang"
    dialects: tuple[str, ...] = ("openai-completions", "openai-chat")
    pin_output: tuple[str, ...] = ("ignore_eos", "min_tokens")
    ready_path: str = "/health"
    fact_pages: tuple[str, ...] = ("/server_info", "/get_server_info", "/v1/models")

    def check(self, build: Build, source: ModelSource) -> None:  # noqa: ARG002
        """Find arguments that are the harness's to set, a key, and a command that is not there."""
        refuse(build, ADVICE, FIELDS)
        check_command(build)

    def start(self, request: StartRequest) -> Start:
        """Choose origin and device, and spell the command line."""
        build, source = request.build, request.source
        self.check(build, source)
        device = request.device(COMMAND)
        options: dict[str, Scalar] = {
            "model-path": inside(source) if build.image else source.location,
            "served-model-name": source.name,
            "host": HOST if build.image else "127.0.0.1",
            "port": CONTAINER_PORT if build.image else request.port,
            "device": device.kind,
            "enable-metrics": True,
            "sampling-defaults": "openai",
            "log-level-http": "warning",
            **options_of(build, FIELDS),
        }
        words = flags(options, one_way=options)
        if build.image:
            return contained(
                request, [*CONTAINED, *words], environment=HEALTH | from_shell(), device=device,
                port=CONTAINER_PORT, shared_memory="32g",
            )  # fmt: skip
        advice = "install it (pip install sglang, in an environment of its own)"
        command = build.command or [request.on_path(COMMAND, advice, alone=True)]
        serve = ["serve"] if Path(command[-1]).name == COMMAND else []
        return on_python(
            request, [*command, *serve], words, program=COMMAND, environment=HEALTH, device=device
        )

    def facts(self, log: str, pages: Mapping[str, str]) -> Facts:
        """Read version, limits and the KV cache's size; the older name of a page is the second."""
        new, old, models = (json_object(pages.get(path, "")) for path in self.fact_pages)
        page = new or old
        told: dict[str, object] = {
            to: page[name] for name, to in REPORTED.items() if page.get(name) not in (None, "auto")
        }
        if isinstance(cached := page.get("disable_radix_cache"), bool):
            told["enable_prefix_caching"] = not cached
        if found := WEIGHTS.search(log):
            told["model_memory_gib"] = float(found[1])
        return Facts(
            version=word_at(page, "version"),
            max_model_len=count_at(models, "data", 0, "max_model_len"),
            kv_cache_tokens=count_at(page, "max_total_num_tokens"),
            provenance=told,
        )


ENGINE: Engine = Sglang()
