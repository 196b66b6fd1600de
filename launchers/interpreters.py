"""An engine in Python: which one runs it, with which packages, and what the shell sets for it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from launchers.engines import Start
from launchers.redact import redact_mapping

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from launchers.build import Build
    from launchers.engines import Device, StartRequest

QUERY_LIMIT_S = 20
INFLUENTIAL = re.compile(
    r"(?:VLLM|SGLANG|CUDA|NVIDIA|NCCL|GLOO|OMP|GOMP|KMP|MKL|OPENBLAS|DNNL|ONEDNN|TORCH\w*?|PYTORCH"
    r"|TRITON|FLASHINFER|HF|TRANSFORMERS|TOKENIZERS|SAFETENSORS|BNB|MALLOC|LD)_|PYTHON"
)
"""How variables begin that change what engines and their libraries do."""
PACKAGES = ("torch", "transformers", "bitsandbytes", "compressed-tensors")
QUERY = """
import importlib.metadata as m, platform, sys
sys.stdout.write(f"python {platform.python_version()}\\n")
for name in sys.argv[1:]:
    try:
        sys.stdout.write(f"{name} {m.version(name)}\\n")
    except m.PackageNotFoundError:
        pass
"""


def on_python(
    request: StartRequest,
    command: Sequence[str],
    words: Sequence[str],
    *,
    program: str,
    environment: Mapping[str, str],
    device: Device,
    folder: Path | None = None,
) -> Start:
    """Start an engine that is written in Python; the run keeps what of Python it ran on.

    Args:
        request: the build, and its model.
        command: starts the engine.
        words: follow it.
        program: the engine's command, which is its distribution's name, too.
        environment: the engine's own; the build's comes on top.
        device: "cpu" leaves a CPU to the client.
        folder: where it is started; None: where the harness was.
    """
    offline = {"HF_HUB_OFFLINE": "1"} if request.source.folder else {}
    variables = {**environment, **offline, **request.build.environment}
    cpus, client = request.cpus(device)
    python = interpreter(command, program)
    versions = package_versions(python, (program, *PACKAGES), variables) if python else {}
    return Start(
        argv=[*command, *words],
        environment=variables,
        folder=folder,
        cpus=cpus,
        client_cpus=client,
        version=versions.get(program),
        provenance={
            **device.facts,
            "versions": versions,
            "inherited_environment": inherited(variables),
        },
    )


def spelled(build: Build, program: str) -> list[str] | None:
    """Return a build's own command, up to the model: a bare `program` gets its `serve`."""
    if build.command is None:
        return None
    first, *rest = build.command
    path = shutil.which(first) or first
    words = [os.path.abspath(path) if "/" in path else path, *rest]  # noqa: PTH100 - keeps links
    return [*words, "serve"] if Path(words[-1]).name == program else words


def interpreter(command: Sequence[str], program: str) -> str | None:
    """Find the Python that a command runs: itself, the one a script names, or the one beside."""
    for word in command:
        name = Path(word).name
        if re.fullmatch(r"python[\d.]*", name):
            return word
        if name == program:
            script = Path(shutil.which(word) or word).resolve()
            try:
                with script.open("rb") as file:
                    first = file.readline(4096).decode(errors="replace").strip()
            except OSError:
                return None
            named = re.fullmatch(r"#!\s*(\S*/python[\d.]*)", first)
            return named[1] if named else str(script.with_name("python"))
    return None


def package_versions(
    python: str, packages: Sequence[str], environment: Mapping[str, str]
) -> dict[str, str]:
    """Versions of a Python and of those packages that it has; empty if it does not say."""
    try:
        result = subprocess.run(
            [python, "-c", QUERY, *packages],
            env=os.environ | environment | {"PYTHONSAFEPATH": "1"},
            capture_output=True,
            text=True,
            timeout=QUERY_LIMIT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return {}
    pairs = (line.partition(" ") for line in result.stdout.splitlines())
    return {name: version for name, _, version in pairs}


def inherited(environment: Mapping[str, str]) -> dict[str, str]:
    """What of the shell's environment takes effect on an engine, itself not set here."""
    found = {k: v for k, v in os.environ.items() if INFLUENTIAL.match(k) and k not in environment}
    return redact_mapping(dict(sorted(found.items())))
