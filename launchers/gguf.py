"""The header of a GGUF file: what llama.cpp's weights are."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, BinaryIO, Final

if TYPE_CHECKING:
    from pathlib import Path

MAGIC: Final = b"GGUF"
FILE_TYPES: Final = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 8: "Q5_0", 9: "Q5_1", 10: "Q2_K",
    11: "Q3_K_S", 12: "Q3_K_M", 13: "Q3_K_L", 14: "Q4_K_S", 15: "Q4_K_M", 16: "Q5_K_S",
    17: "Q5_K_M", 18: "Q6_K", 19: "IQ2_XXS", 20: "IQ2_XS", 21: "Q2_K_S", 22: "IQ3_XS",
    23: "IQ3_XXS", 24: "IQ1_S", 25: "IQ4_NL", 26: "IQ3_S", 27: "IQ3_M", 28: "IQ2_S", 29: "IQ2_M",
    30: "IQ4_XS", 31: "IQ1_M", 32: "BF16", 36: "TQ1_0", 37: "TQ2_0", 38: "MXFP4",
}  # fmt: skip
"""`general.file_type` → name: `llama_ftype` of llama.cpp's include/llama.h."""
_SCALARS: Final = {
    0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?",
    10: "<Q", 11: "<q", 12: "<d",
}  # fmt: skip
_TEXT, _ARRAY = 8, 9
_VERSIONS: Final = (2, 3)
_MOST_KEYS: Final = 10_000
_MOST_BYTES: Final = 64 * 2**20
"""A vocabulary's arrays stand in the header, too."""


def read_header(path: Path) -> dict[str, object]:
    """Return a file's metadata: key → number, text or truth; arrays are left out.

    Source: "GGUF", ggml's docs/gguf.md (versions 2 and 3, little-endian).

    Raises:
        ValueError: it is no such file; names what is wrong.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        if file.read(4) != MAGIC:
            raise ValueError(f"{path} does not begin with GGUF")
        version = _number(file, "<I")
        if version not in _VERSIONS:
            raise ValueError(f"{path} is GGUF version {version}; known are 2 and 3, little-endian")
        _number(file, "<Q")  # tensors
        keys = _number(file, "<Q")
        if keys > _MOST_KEYS:
            raise ValueError(f"{path} claims {keys} keys, which no model has")
        found: dict[str, object] = {}
        for _ in range(int(keys)):
            name = _text(file)
            value = _value(file, int(_number(file, "<I")))
            if value is not None:
                found[name] = value
        return found


def file_type(header: dict[str, object]) -> str | None:
    """Return what most of the weights are, e.g. Q4_K_M; None where the file does not say."""
    number = header.get("general.file_type")
    return FILE_TYPES.get(number, f"type {number}") if isinstance(number, int) else None


def _value(file: BinaryIO, kind: int) -> object:
    if kind in _SCALARS:
        return _number(file, _SCALARS[kind])
    if kind == _TEXT:
        return _text(file)
    if kind != _ARRAY:
        raise ValueError(f"{file.name} has a value of the unknown type {kind}")
    inner, count = int(_number(file, "<I")), int(_number(file, "<Q"))
    if inner in _SCALARS:
        _skip(file, count * struct.calcsize(_SCALARS[inner]))
        return None
    for _ in range(count):
        _value(file, inner)
    return None


def _number(file: BinaryIO, form: str) -> int | float:
    data = file.read(struct.calcsize(form))
    try:
        [number] = struct.unpack(form, data)
    except struct.error:
        raise ValueError(f"{file.name} ends within its header") from None
    found: int | float = number
    return found


def _text(file: BinaryIO) -> str:
    size = int(_number(file, "<Q"))
    if size > _MOST_BYTES:
        raise ValueError(f"{file.name} has a text of {size} bytes in its header")
    data = file.read(size)
    if len(data) < size:
        raise ValueError(f"{file.name} ends within its header")
    return data.decode(errors="replace")


def _skip(file: BinaryIO, size: int) -> None:
    if size > _MOST_BYTES:
        raise ValueError(f"{file.name} has an array of {size} bytes in its header")
    file.seek(size, 1)
