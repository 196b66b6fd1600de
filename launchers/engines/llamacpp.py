"""llama.cpp's `llama-server`: the command on PATH, or compiled by `harness engines install`."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

from launchers.devices import nvidia_gpus
from launchers.engines import Engine, Facts, Start, StartRequest
from launchers.errors import BuildError, InstallError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from launchers.build import Build

COMMAND = "llama-server"
ENVIRONMENT = "llama.cpp"
COMPILED = "lib/python*/site-packages/llama_cpp/bin/llama-server"
SLOTS = 4
"""Requests at one time, unless the build's argument `parallel` says otherwise: llama.cpp's own."""
ADVICE = {
    **dict.fromkeys(("host", "port", "model", "alias", "hf-repo"), "the harness sets it"),
    **dict.fromkeys(("api-key", "api-key-file"), "the harness sends no key to its own servers"),
    **dict.fromkeys(("ssl-key-file", "ssl-cert-file"), "the harness reaches it by plain HTTP"),
}
UNFIT = {
    "dtype": "a GGUF file has its own; the KV cache's is arguments.cache-type-k and cache-type-v",
    "image": "llama.cpp is started by a command: start the image yourself, and give --url",
}
KV_DTYPES = {"f16": "float16", "bf16": "bfloat16", "f32": "float32"}
LOG = re.compile(r"n_slots = (\d+), n_ctx_slot = (\d+), kv_unified = '(\w+)'")


@dataclass(frozen=True)
class LlamaCpp:
    """The engine. Prompt caching stays as llama.cpp has it."""

    name: str = "llama.cpp"
    pin_output: tuple[str, ...] = ("ignore_eos",)
    ready_path: str = "/health"
    fact_pages: tuple[str, ...] = ("/props",)

    def check(self, build: Build) -> None:
        """Find fields and arguments that are not llama.cpp's, or the harness's to set."""
        for key in build.arguments:
            if (advice := ADVICE.get(_dashed(key))) and key != "port":
                raise BuildError(build.name, f"arguments.{key}", advice)
        if build.max_model_len and "ctx-size" in map(_dashed, build.arguments):
            problem = "max_model_len says it, for one request: leave one of the two out"
            raise BuildError(build.name, "arguments.ctx-size", problem)
        for field, problem in UNFIT.items():
            if getattr(build, field):
                raise BuildError(build.name, field, problem)
        if build.command and shutil.which(build.command[0]) is None:
            raise BuildError(build.name, "command", f"{build.command[0]} is no program that runs")

    def start(self, request: StartRequest) -> Start:
        """Find the program and spell its command line.

        Raises:
            BuildError: the build does not fit, or its model is no GGUF.
            InstallError: there is no llama-server.
        """
        build, source = request.build, request.source
        self.check(build)
        if source.folder and not source.file:
            problem = f"{source.folder} holds no GGUF file, and llama.cpp reads nothing else"
            raise BuildError(build.name, "model", problem)
        device = build.device
        if device == "auto":
            own = build.command or shutil.which(COMMAND)
            device = "cuda" if own and nvidia_gpus() else "cpu"
        argv = _command(request, device)
        argv += ["--model" if source.file else "--hf-repo", source.location]
        argv += ["--alias", source.name, "--host", "127.0.0.1", "--port", str(request.port)]
        options = {_dashed(key): value for key, value in build.arguments.items() if key != "port"}
        slots = options.setdefault("parallel", SLOTS)
        if build.max_model_len and isinstance(slots, int):
            options["ctx-size"] = build.max_model_len * slots  # shared out among the slots
        cpus = client = None
        if device == "cpu":
            cpus, client = request.cpus()
            if cpus:
                options.setdefault("threads", len(cpus))
            if nvidia_gpus():
                options.setdefault("device", "none")
        for key, value in ({"metrics": True, "webui": False} | options).items():
            if isinstance(value, bool):
                argv.append(f"--{'' if value else 'no-'}{key}")
            else:
                argv += [f"--{key}", str(value)]
        kinds = {str(options.get(f"cache-type-{part}", "f16")) for part in "kv"}
        return Start(
            argv=argv,
            environment={"LLAMA_API_KEY": "", **build.environment},  # a key would lock us out
            cpus=cpus,
            client_cpus=client,
            provenance={
                "device": device,
                "kv_cache_dtype": " and ".join(KV_DTYPES.get(kind, kind) for kind in sorted(kinds)),
            },
        )

    def facts(self, log: str, pages: Mapping[str, str]) -> Facts:
        """Read version, quantization, slots and context."""
        try:
            props = json.loads(pages.get("/props", "{}"))
        except ValueError:
            props = {}
        found = LOG.search(log)
        slots, length = (int(found[1]), int(found[2])) if found else (0, 0)
        shared = found[3] == "true" if found else None
        told = {
            "slots": slots or None,
            "kv_unified": shared,
            "quantization": props.get("model_ftype"),
        }
        return Facts(
            version=props.get("build_info"),
            max_model_len=length or None,
            kv_cache_tokens=(length if shared else slots * length) or None,
            provenance=told,
        )


def _command(request: StartRequest, device: str) -> list[str]:
    if request.build.command:
        return [*request.build.command]
    if command := shutil.which(COMMAND):
        return [command]
    if device == "cuda":
        raise InstallError(
            f"build {request.build.name!r} wants a GPU, and what `harness engines install` "
            f"compiles has none: put a {COMMAND} for CUDA on PATH, or name it in `command`"
        )
    python = request.managed(ENVIRONMENT, "some minutes of compiling, many on a busy machine")
    if (program := next(python.parents[1].glob(COMPILED), None)) is None:
        raise InstallError(f"{python.parents[1]} has no {COMMAND}: remove that folder")
    return [str(program)]


def _dashed(key: str) -> str:
    return key.removeprefix("--").replace("_", "-")


ENGINE: Engine = LlamaCpp()
