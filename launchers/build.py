"""What is served: weights, quantization, and the engine's arguments."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    from pathlib import Path

Scalar = str | int | float | bool


class Build(BaseModel):
    """One TOML file of `launchers/builds/`, or a `[builds.NAME]` table of a `harness.toml`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    description: str = ""
    engine: str = "vllm"
    model: str = Field(min_length=1)
    """A folder (relative to the TOML file), a hub id, or `demo:NAME` for a shipped checkpoint."""
    quantization: str | None = None
    """As the reader should call it: fp16, gptq, awq, nf4, …; only named, never interpreted."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    dtype: str | None = None
    max_model_len: int | None = Field(default=None, gt=0)
    arguments: dict[str, Scalar] = {}
    """Further arguments of the engine: `gpu-memory-utilization = 0.8` → `--gpu-memory-…=0.8`;
    true → the bare flag. A value that begins with ./ or ../ counts from the TOML file's folder."""
    environment: dict[str, str] = {}
    secrets: list[str] | None = None
    """Variables of the harness's own environment that the engine gets although they are called
    like secrets, e.g. AWS_SECRET_ACCESS_KEY for weights in a bucket; their values are kept
    nowhere. Other secrets it does not get, but those that engines read themselves (HF_TOKEN)."""
    command: list[str] | None = None
    """How to start the engine, when not found by itself, e.g. `["/opt/vllm/bin/vllm"]`."""
    image: str | None = Field(default=None, min_length=1)
    """Container image to start the engine from."""
    ready_timeout_s: float = Field(default=600, gt=0)

    def beside(self, folder: Path) -> Build:
        """Return it with paths among its command and arguments as they are found from anywhere.

        In a container they are the container's own.
        """
        if self.image is not None:
            return self
        update: dict[str, object] = {
            "arguments": {name: _beside(value, folder) for name, value in self.arguments.items()}
        }
        if self.command is not None:
            update["command"] = [_beside(word, folder) for word in self.command]
        return self.model_copy(update=update)


def _beside(value: Scalar, folder: Path) -> Scalar:
    is_relative = isinstance(value, str) and value.startswith(("./", "../"))
    return str((folder / str(value)).absolute()) if is_relative else value
