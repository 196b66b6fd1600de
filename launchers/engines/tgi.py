"""Hugging Face's Text Generation Inference 3: the launcher on PATH, or a container.

Never run by us: options, pages and log lines are those of its documentation ("launcher") and
source (launcher/src/main.rs, router/src/*.rs, backends/v3/src/lib.rs).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from launchers.arguments import NO_HTTP, NO_KEY, OURS, check_command, flags, options_of, refuse
from launchers.containers import HOST, HUB, contained, from_shell, inside
from launchers.engines import Engine, Facts, Start, StartRequest
from launchers.errors import BuildError
from launchers.interpreters import on_python
from launchers.native import TGI_FACTS
from launchers.pages import count_at, json_object, word_at

if TYPE_CHECKING:
    from collections.abc import Mapping

    from launchers.build import Build, Scalar
    from launchers.model import ModelSource

COMMAND = "text-generation-launcher"
CONTAINER_PORT = 80
FIELDS = {"max-total-tokens": "max_model_len", "dtype": "dtype"}
ADVICE = {
    "hostname|model-id|shard-uds-path|usage-stats": OURS,
    "api-key": NO_KEY,
    "ngrok.*": NO_HTTP,
    "max-input-length": "TGI calls it max-input-tokens by now",
}
DTYPES = ("float16", "bfloat16")
SOCKET = "/tmp/text-generation-server-{}"  # noqa: S108 - two of TGI's own name would collide
KEY_VARIABLE = "API_KEY"
CACHE = re.compile(r"KV-cache blocks: (\d+), size: (\d+)")
LOG = {
    "attention_backend": re.compile(r"Using Attention = (\w+)"),
    "enable_prefix_caching": re.compile(r"Using prefix caching = (\w+)"),
    "enable_chunked_prefill": re.compile(r"Using prefill chunking = (\w+)"),
    "max_batch_total_tokens": re.compile(r"Setting max batch total tokens to (\d+)"),
}
VALUES: dict[str, object] = {"True": True, "False": False}


@dataclass(frozen=True)
class Tgi:
    """The engine. No request can pin the output's length there."""

    name: str = "tgi"
    dialects: tuple[str, ...] = ("tgi", "openai-completions", "openai-chat")
    pin_output: tuple[str, ...] = ()
    ready_path: str = "/health"
    fact_pages: tuple[str, ...] = ("/info",)

    def check(self, build: Build, source: ModelSource) -> None:  # noqa: ARG002
        """Find arguments that are the harness's to set, a key, and a dtype that TGI has not."""
        refuse(build, ADVICE, FIELDS)
        if build.environment.get(KEY_VARIABLE):
            raise BuildError(build.name, f"environment.{KEY_VARIABLE}", NO_KEY)
        if build.dtype and build.dtype not in DTYPES:
            raise BuildError(build.name, "dtype", f"TGI knows {' and '.join(DTYPES)}")
        if build.dtype and "quantize" in options_of(build):
            raise BuildError(build.name, "dtype", "TGI takes none beside arguments.quantize")
        check_command(build)

    def start(self, request: StartRequest) -> Start:
        """Choose origin and device, and spell the command line."""
        build, source = request.build, request.source
        self.check(build, source)
        device = request.device(COMMAND)
        options: dict[str, Scalar] = {
            "model-id": inside(source) if build.image else source.location,
            "hostname": HOST if build.image else "127.0.0.1",
            "port": CONTAINER_PORT if build.image else request.port,
            "usage-stats": "off",
            **({} if build.image else {"shard-uds-path": SOCKET.format(request.port)}),
            **({"max-input-tokens": build.max_model_len - 1} if build.max_model_len else {}),
            **({"cuda-graphs": 0} if device.kind == "cpu" else {}),
            **options_of(build, FIELDS),
        }
        if "sharded" in options:  # the one truth that is a value
            options["sharded"] = str(options["sharded"]).lower()
        words = flags(options, one_way=options)
        if build.image:
            hub = {} if source.folder else {"HUGGINGFACE_HUB_CACHE": f"{HUB}/hub"}
            start = contained(
                request, words, environment=from_shell() | hub, device=device,
                port=CONTAINER_PORT, shared_memory="1g",
            )  # fmt: skip
        else:
            advice = "install TGI from source"
            command = build.command or [request.on_path(COMMAND, advice, alone=True)]
            start = on_python(
                request, command, words, program=COMMAND, environment={}, device=device
            )
        # A key of the shell's would lock us out.
        return replace(start, model=str(options["model-id"]), unset=(KEY_VARIABLE,))

    def facts(self, log: str, pages: Mapping[str, str]) -> Facts:
        """Read version, limits and the KV cache's size."""
        page = json_object(pages.get("/info", ""))
        told = {name: page[name] for name in TGI_FACTS if page.get(name) is not None}
        for name, pattern in LOG.items():
            if found := pattern.search(log):
                told[name] = VALUES.get(found[1], int(found[1]) if found[1].isdigit() else found[1])
        cache = CACHE.search(log)
        tokens = int(cache[1]) * int(cache[2]) if cache else told.get("max_batch_total_tokens")
        return Facts(
            version=word_at(page, "version"),
            max_model_len=count_at(page, "max_total_tokens"),
            kv_cache_tokens=tokens if isinstance(tokens, int) else None,
            provenance=told,
        )


ENGINE: Engine = Tgi()
