"""A `tokenizer.json` as all of `evals` reads it: one rule about BOS."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from evals.errors import NeedError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_NAMES = ("special_tokens_map.json", "tokenizer_config.json")
"""Files that name special tokens; what the second one says holds."""


@dataclass(frozen=True, kw_only=True)
class Vocabulary:
    """The tokenizer that a server uses. It cuts nothing off and fills nothing up."""

    tokenizer: Tokenizer
    file: Path
    sha256: str
    bos: int | None
    """Id of BOS: what the tokenizer puts in front of a text by itself, else its `bos_token`; None
    where there is neither."""
    bos_name: str
    eos: int | None
    eos_name: str
    adds_bos: bool
    """Whether a text begins with BOS by the tokenizer's own rule: its post-processor's, or
    `add_bos_token` of `tokenizer_config.json`."""


def load_vocabulary(folder: str | None) -> Vocabulary:
    """Read the tokenizer of a folder.

    Raises:
        NeedError: there is none, or it cannot be read.
    """
    from tokenizers import Tokenizer

    if folder is None:
        raise NeedError(
            "scoring prompts needs the tokenizer that the server uses: give --tokenizer DIR, "
            "a folder with its tokenizer.json"
        )
    path = Path(folder) / "tokenizer.json"
    try:
        data = path.read_bytes()
        tokenizer = Tokenizer.from_str(data.decode())
    except OSError as error:
        raise NeedError(f"--tokenizer: cannot read {path}: {error.strerror}") from error
    except Exception as error:  # tokenizers raises bare Exception
        raise NeedError(f"--tokenizer: {path} is no tokenizer.json: {error}") from error
    tokenizer.no_truncation()  # some files cut every text at 512 tokens, or fill it up
    tokenizer.no_padding()
    told: dict[str, object] = {}
    for name in _NAMES:
        told |= _table(path.with_name(name))
    begin = _begins_with(tokenizer)
    bos = begin if begin is not None else tokenizer.token_to_id(_text(told.get("bos_token")))
    eos_name = _text(told.get("eos_token"))
    return Vocabulary(
        tokenizer=tokenizer,
        file=path,
        sha256=hashlib.sha256(data).hexdigest(),
        bos=bos,
        bos_name="" if bos is None else str(tokenizer.id_to_token(bos)),
        eos=tokenizer.token_to_id(eos_name),
        eos_name=eos_name,
        adds_bos=begin is not None or (bos is not None and told.get("add_bos_token") is True),
    )


def _begins_with(tokenizer: Tokenizer) -> int | None:
    """Id that the tokenizer puts in front of a text, e.g. by its post-processor."""
    with_special = tokenizer.encode("a", add_special_tokens=True).ids
    plain = tokenizer.encode("a", add_special_tokens=False).ids
    return int(with_special[0]) if with_special[:1] != plain[:1] else None


def _text(named: object) -> str:
    """Return a special token's text, which is given as it is or in a table."""
    content = named.get("content") if isinstance(named, dict) else named
    return content if isinstance(content, str) else ""


def _table(path: Path) -> dict[str, object]:
    try:
        table = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return table if isinstance(table, dict) else {}
