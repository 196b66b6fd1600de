"""Transformers' own server, `transformers serve`: from PATH, a managed environment, or an image."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from launchers.arguments import OURS, check_command, flags, options_of, refuse
from launchers.containers import HOST, MODELS, contained, from_shell
from launchers.engines import Facts
from launchers.environments import ISOLATED
from launchers.errors import BuildError, InstallError
from launchers.interpreters import interpreter, on_python, package_versions, spelled

if TYPE_CHECKING:
    from collections.abc import Mapping

    from launchers.build import Build, Scalar
    from launchers.engines import Device, Engine, Start, StartRequest
    from launchers.model import ModelSource

COMMAND = "transformers"
ENVIRONMENT = "transformers-serve"
CONTAINER_PORT = 8000
SERVING = ("torch", "accelerate", "fastapi", "uvicorn", "openai")
INSTALL = "pip install 'transformers[serving]' torch accelerate bitsandbytes"
FIELDS = {"dtype": "dtype"}
ADVICE = {"host|force-model": OURS, "device": "use the build's field `device`"}
QUANTIZATIONS = ("bnb-8bit", "bnb-4bit")
BATCHING = "continuous-batching"
# Batched requests have no minimal length of their own, but each its own end token.
PINS = {False: ("generation_config.min_new_tokens",), True: ("generation_config.eos_token_id",)}
LOG = re.compile(r"\[Request received\] Model: .+, CB: (True|False)")


@dataclass(frozen=True)
class Transformers:
    """The engine: one request after the other, unless the build sets `continuous-batching`.

    It answers to nothing but the model's name as it was given, so it is given a folder's name, and
    is started where that folder lies.
    """

    name: str = "transformers"
    dialects: tuple[str, ...] = ("openai-completions", "openai-chat")
    pin_output: tuple[str, ...] = PINS[False]
    ready_path: str = "/health"
    fact_pages: tuple[str, ...] = ()

    def check(self, build: Build, source: ModelSource) -> None:
        """Find arguments that are the harness's to set, and a quantization that is none."""
        refuse(build, ADVICE, FIELDS)
        asked = options_of(build).get("quantization", QUANTIZATIONS[0])
        if asked not in QUANTIZATIONS:
            problem = f"{asked!r} is none of {', '.join(QUANTIZATIONS)}"
            raise BuildError(build.name, "arguments.quantization", problem)
        check_command(build)
        if source.file:
            raise BuildError(build.name, "model", 'a GGUF file, which engine = "llama.cpp" serves')

    def start(self, request: StartRequest) -> Start:
        """Choose device and origin, and spell the command line."""
        build, source = request.build, request.source
        self.check(build, source)
        device = request.device(COMMAND)
        options: dict[str, Scalar] = {
            "host": HOST if build.image else "127.0.0.1",
            "port": CONTAINER_PORT if build.image else request.port,
            "device": device.kind,
            **options_of(build, FIELDS),
        }
        name = source.folder.name if source.folder else source.name
        words = [name, *flags(options)]
        environment = {"DO_NOT_TRACK": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "PYTHONSAFEPATH": "1"}
        if build.image:
            start = contained(
                request, [COMMAND, "serve", *words], environment=environment | from_shell(),
                device=device, port=CONTAINER_PORT, folder=MODELS if source.folder else None,
            )  # fmt: skip
        else:
            own = spelled(build, COMMAND)
            command, isolated = (own, {}) if own else _found(request, device)
            start = on_python(
                request, command, words, program=COMMAND, environment=environment | isolated,
                device=device, folder=source.folder and source.folder.parent,
            )  # fmt: skip
        return replace(start, pin_output=PINS[bool(options.get(BATCHING))])

    def facts(self, log: str, pages: Mapping[str, str]) -> Facts:
        """Read whether requests are batched: the server has no page, and tells no more."""
        del pages
        found = LOG.search(log)
        return Facts(provenance={"continuous_batching": found[1] == "True" if found else None})


def _found(request: StartRequest, device: Device) -> tuple[list[str], dict[str, str]]:
    """The command on PATH if it can serve, or else the managed environment's; and its variables."""
    quantized = "quantization" in options_of(request.build)
    needed = (*SERVING, "bitsandbytes") if quantized else SERVING
    why = "there is no `transformers` command on PATH"
    if (command := shutil.which(COMMAND)) is not None:
        python = interpreter([command], COMMAND)
        has = package_versions(python, needed, {}) if python else {}
        missing = [name for name in needed if name not in has]
        if not missing:
            return [command, "serve"], {}
        why = f"{command} cannot serve it without {', '.join(missing)}"
        request.on_line(f"{request.build.name}: {why}")
    if device.kind == "cuda":
        raise InstallError(
            f"build {request.build.name!r} wants a GPU, and {why}: {INSTALL}, or name it in the "
            "build's field `command`, or an image in `image`, or set device = 'cpu'"
        )
    managed = request.managed(ENVIRONMENT, "about 1.3 GB, a minute").with_name(COMMAND)
    return [str(managed), "serve"], ISOLATED


ENGINE: Engine = Transformers()
