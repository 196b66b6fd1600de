"""llama.cpp's `llama-server`: the command on PATH, or compiled by `harness engines install`."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

from launchers.arguments import NO_HTTP, NO_KEY, OURS, check_command, flags, options_of, refuse
from launchers.devices import nvidia_gpus
from launchers.engines import Device, Engine, Facts, Start, StartRequest
from launchers.errors import BuildError, InstallError
from launchers.pages import count_at, json_object, word_at

if TYPE_CHECKING:
    from collections.abc import Mapping

    from launchers.build import Build
    from launchers.model import ModelSource

COMMAND = "llama-server"
COMPILED = "lib/python*/site-packages/llama_cpp/bin/llama-server"
SLOTS = 4
"""Requests at one time, unless the build's argument `parallel` says otherwise: llama.cpp's own."""
ADVICE = {"host|model|alias|hf-repo": OURS, "api-key(-file)?": NO_KEY, "ssl-.+-file": NO_HTTP}
UNFIT = {
    "dtype": "a GGUF file has its own; the KV cache's is arguments.cache-type-k and cache-type-v",
    "image": "llama.cpp is started by a command: start the image yourself, and give --url",
}
ONE_WAY = {"metrics", "verbose", "offline", "special", "embedding", "rerank", "check-tensors"}
KV_DTYPES = {"f16": "float16", "bf16": "bfloat16", "f32": "float32"}
LOG = re.compile(r"n_slots = (\d+), n_ctx_slot = (\d+), kv_unified = '(\w+)'")


@dataclass(frozen=True)
class LlamaCpp:
    """The engine. Prompt caching stays as llama.cpp has it."""

    name: str = "llama.cpp"
    dialects: tuple[str, ...] = ("openai-completions", "openai-chat", "llamacpp")
    pin_output: tuple[str, ...] = ("ignore_eos",)
    ready_path: str = "/health"
    fact_pages: tuple[str, ...] = ("/props",)

    def check(self, build: Build, source: ModelSource) -> None:
        """Find fields, arguments and models that are not llama.cpp's, or the harness's to set."""
        refuse(build, ADVICE)
        if build.max_model_len and "ctx-size" in options_of(build):
            raise BuildError(build.name, "arguments.ctx-size", "max_model_len says it: drop one")
        for field, problem in UNFIT.items():
            if getattr(build, field):
                raise BuildError(build.name, field, problem)
        check_command(build)
        if source.folder and not source.file:
            problem = f"{source.folder} holds no GGUF file, and llama.cpp reads nothing else"
            raise BuildError(build.name, "model", problem)

    def start(self, request: StartRequest) -> Start:
        """Find the program and spell its command line."""
        build, source = request.build, request.source
        self.check(build, source)
        device = request.device(COMMAND)
        argv = _command(request, device)
        argv += ["--model" if source.file else "--hf-repo", source.location]
        argv += ["--alias", source.name, "--host", "127.0.0.1", "--port", str(request.port)]
        options = {"metrics": True, "webui": False} | options_of(build)
        slots = options.setdefault("parallel", SLOTS)
        if build.max_model_len and isinstance(slots, int):
            options["ctx-size"] = build.max_model_len * slots  # shared out among the slots
        cpus, client = request.cpus(device)
        if cpus:
            options.setdefault("threads", len(cpus))
        if device.kind == "cpu" and nvidia_gpus():
            options.setdefault("device", "none")
        kinds = {str(options.get(f"cache-type-{part}", "f16")) for part in "kv"}
        return Start(
            argv=argv + flags(options, joined=False, one_way=ONE_WAY),
            environment={"LLAMA_API_KEY": "", **build.environment},  # a key would lock us out
            cpus=cpus,
            client_cpus=client,
            provenance={
                **device.facts,
                "kv_cache_dtype": " and ".join(KV_DTYPES.get(kind, kind) for kind in sorted(kinds)),
            },
        )

    def facts(self, log: str, pages: Mapping[str, str]) -> Facts:
        """Read version, quantization, slots and context."""
        page = json_object(pages.get("/props", ""))
        found = LOG.search(log)
        slots, length = (int(found[1]), int(found[2])) if found else (0, 0)
        length = length or count_at(page, "default_generation_settings", "n_ctx") or 0
        shared = found[3] == "true" if found else None
        told = {"slots": slots or None, "kv_unified": shared}
        return Facts(
            version=word_at(page, "build_info"),
            max_model_len=length or None,
            kv_cache_tokens=(length if shared else slots * length) or None,
            provenance={**told, "quantization": page.get("model_ftype")},
        )


def _command(request: StartRequest, device: Device) -> list[str]:
    if request.build.command:
        return [*request.build.command]
    if command := shutil.which(COMMAND):
        return [command]
    if device.kind == "cuda":
        raise InstallError(
            f"build {request.build.name!r} wants a GPU, and what `harness engines install` "
            f"compiles has none: put a {COMMAND} for CUDA on PATH, or name it in `command`"
        )
    python = request.managed("llama.cpp", "some minutes of compiling, many on a busy machine")
    if (program := next(python.parents[1].glob(COMPILED), None)) is None:
        raise InstallError(f"{python.parents[1]} has no {COMMAND}: remove that folder")
    return [str(program)]


ENGINE: Engine = LlamaCpp()
