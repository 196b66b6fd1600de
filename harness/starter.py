"""The harness.toml that `harness init` writes: `starter.toml`, with the builds of a model."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from harness.errors import BadInputError
from launchers.checkpoint import read_checkpoint
from launchers.gguf import read_header
from launchers.model import DEMO, HUB_ID, WEIGHTS

if TYPE_CHECKING:
    from launchers.checkpoint import Checkpoint

TEMPLATE: Final = Path(__file__).with_name("starter.toml")
GGUF: Final = ".gguf"
_MARK: Final = "@builds\n"
_SIXTEEN: Final = re.compile(r"-(?:fp16|bf16|f16)$", re.IGNORECASE)
_LONGEST_TOKENS: Final = 8192
"""Context that is asked for where the model could hold more: it costs memory."""
_EXAMPLE: Final = """\
#[builds.fp16]
#model = "./models/my-model"      # a folder, or ORGANISATION/NAME of the model hub
#quantization = "fp16"          # as reports call it; a checkpoint that is another is refused
#max_model_len = 8192
#arguments = { gpu-memory-utilization = 0.9 }   # the engine's own
#[builds.awq]
# harness quantize ./models/my-model --method awq --domain OURS.jsonl
#model = "./models/my-model-awq"
#quantization = "awq"
#max_model_len = 8192
#[builds.nf4]
#model = "./models/my-model"
#quantization = "nf4"
#max_model_len = 8192
#arguments = { quantization = "bitsandbytes" }  # while it is loaded

"""


@dataclass(frozen=True, kw_only=True)
class Model:
    """A model for which builds are written."""

    where: str
    """As a build's `model` has it."""
    base: Path | None
    """Its folder; None for one of the hub."""
    checkpoint: Checkpoint | None
    context_tokens: int | None
    """The longest it was made for."""

    @property
    def kind(self) -> str:
        """What its own build is called: fp16, bf16, gptq, awq, int8, …."""
        found = self.checkpoint
        if found is not None and found.method == "gguf":
            return (found.layout or "gguf").lower()
        if found is None or not found.quantized:
            return "bf16" if found is not None and found.layout == "bfloat16" else "fp16"
        if found.method == "bitsandbytes":
            return found.layout or "nf4"
        if found.number == "float" and found.bits == 8:  # noqa: PLR2004 - bits
            return "fp8"
        return found.algorithm or ("int8" if found.bits == 8 else f"int{found.bits or 4}")  # noqa: PLR2004

    @property
    def builds(self) -> list[str]:
        """Names of the builds that are written."""
        return [self.kind] if self.final else [self.kind, "gptq", "awq", "nf4"]

    @property
    def final(self) -> bool:
        """Whether there is but one build of it: nothing is made of weights that are quantized."""
        found = self.checkpoint
        return found is not None and (found.quantized or found.method == "gguf")


def look_at(model: str, folder: Path) -> Model:
    """Find out what a model is: a folder or a GGUF file, or one of the model hub.

    Args:
        model: as it was typed; a path counts from the current folder.
        folder: of the file to be written, from which a build's relative path counts.

    Raises:
        BadInputError: it is neither, or no checkpoint.
    """
    path = Path(model).expanduser()
    files = sorted(path.glob(f"*{GGUF}")) if path.is_dir() else []
    if files and not any(file for kind in WEIGHTS for file in path.glob(kind)):
        raise BadInputError(
            f"--model: {path} holds GGUF files: name one", hint=f"E.g. --model {files[0]}"
        )
    if path.is_dir() or (path.suffix == GGUF and path.is_file()):
        checkpoint = read_checkpoint(path)
        if checkpoint is None:
            what = "is no GGUF file" if path.is_file() else "has no config.json that can be read"
            raise BadInputError(f"--model: {path} {what}")
        where = path.absolute()
        near = where.is_relative_to(folder)
        return Model(
            where=f"./{where.relative_to(folder)}" if near else str(where),
            base=where,
            checkpoint=checkpoint,
            context_tokens=_context(path),
        )
    if path.exists():
        raise BadInputError(
            f"--model: {path} is a file; a checkpoint is a folder, or a file that ends in {GGUF}"
        )
    if model.startswith(DEMO) or not HUB_ID.fullmatch(model) or path.parent.is_dir():
        raise BadInputError(
            f"--model: no folder {path}",
            hint="Give a checkpoint's folder, a GGUF file, or ORGANISATION/NAME of the model hub.",
        )
    return Model(where=model, base=None, checkpoint=None, context_tokens=None)


def starter(model: Model | None) -> str:
    """Return the file's text; without a model its builds are examples, too."""
    text = TEMPLATE.read_text(encoding="utf-8")
    return text.replace(_MARK, _EXAMPLE if model is None else _builds(model))


def _builds(model: Model) -> str:
    found = model.checkpoint
    lines = ["# They come before the demo model's builds of these names."]
    if found is not None and model.final:
        lines += _build(model.kind, model.where, model, f"read from the checkpoint: {found.words}")
        lines += [
            "# The others need the model as it was before: harness init --model THAT-FOLDER, or",
            "#[builds.fp16]",
            '#model = "./models/the-model-before"',
            '#quantization = "fp16"',
        ]
        return "\n".join(lines) + "\n\n"
    lines += _build(model.kind, model.where, model)
    for method in ("gptq", "awq"):
        made, there = _sibling(model, method)
        lines += _build(
            method,
            made,
            model,
            "found beside it"
            if there
            else f"harness quantize {model.where} --method {method} --domain OURS.jsonl "
            f"--out {made}",
        )
    lines += _build("nf4", model.where, model, "quantized by bitsandbytes while it is loaded")
    lines.append('arguments = { quantization = "bitsandbytes" }')
    return "\n".join(lines) + "\n\n"


def _build(name: str, where: str, model: Model, note: str = "") -> list[str]:
    length = min(model.context_tokens or _LONGEST_TOKENS, _LONGEST_TOKENS)
    most = f"  # of {model.context_tokens}" if (model.context_tokens or 0) > length else ""
    gguf = model.checkpoint is not None and model.checkpoint.method == "gguf"
    return [
        f"[builds.{json.dumps(name) if '.' in name else name}]",
        *(['engine = "llama.cpp"'] if gguf else []),
        f"model = {json.dumps(where)}" + (f"  # {note}" if note else ""),
        f'quantization = "{name}"',
        f"max_model_len = {length}{most}",
    ]


def _sibling(model: Model, method: str) -> tuple[str, bool]:
    """Where a quantized one lies, or will: beside the folder, under its name."""
    if model.base is None:
        return f"./models/{model.where.rpartition('/')[2]}-{method}", False
    stem = _SIXTEEN.sub("", model.base.name)
    for spelled in (method, method.upper()):
        path = model.base.with_name(f"{stem}-{spelled}")
        found = read_checkpoint(path) if path.is_dir() else None
        if found is not None and found.quantized and found.algorithm in {method, None}:
            return _beside(model, path.name), True
    return _beside(model, f"{stem}-{method}"), False


def _beside(model: Model, name: str) -> str:
    return f"{model.where.rpartition('/')[0]}/{name}"


def _context(path: Path) -> int | None:
    if path.is_file():
        header = read_header(path)
        length = header.get(f"{header.get('general.architecture')}.context_length")
        return length if isinstance(length, int) and length > 0 else None
    config = json.loads((path / "config.json").read_text())
    text = config.get("text_config")
    for holder in (config, text if isinstance(text, dict) else {}):
        length = holder.get("max_position_embeddings")
        if isinstance(length, int) and length > 0:
            return length
    return None
