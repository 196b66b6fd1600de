"""What the probe asks about: a few texts, and their token ids by whoever knows the tokenizer."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Final, Protocol

from evals.probe.asking import TELL_IDS
from evals.vocabulary import load_vocabulary

if TYPE_CHECKING:
    from evals.probe.asking import Asker

TEXTS: Final = (
    "The card was used at 10:05 in Oslo and at 10:40 in Rome. Was that possible?",
    "Once upon a time there was a small town by the sea, and",
    "A list of fruits: apple, pear, plum, apple, pear,",
    "def add(a, b):\n    return",
)
_LONG: Final = 1500
"""Tokens of the long prompt at most: stock clients and servers cut at a few powers of two below."""
_SPARE: Final = 16


class Encoder(Protocol):
    """Text → ids."""

    source: str
    bos: int | None
    """What the tokenizer puts in front of a text by its own rule."""

    async def encode(self, text: str, *, special: bool) -> list[int] | None:
        """Return a text's ids, with or without what the tokenizer adds; None: not known."""

    async def piece(self, text: str) -> int | None:
        """Return the one token that has this text; None where none or several have."""


class Folder:
    """A `tokenizer.json` on this disk."""

    source = "folder"

    def __init__(self, folder: str) -> None:
        vocabulary = load_vocabulary(folder)
        self._tokenizer = vocabulary.tokenizer
        self.bos = vocabulary.bos if vocabulary.adds_bos else None

    async def encode(self, text: str, *, special: bool) -> list[int] | None:
        """Return a text's ids."""
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=special).ids
        if special and self.bos is not None and ids[:1] != [self.bos]:
            return [self.bos, *ids]  # the configuration's rule, which tokenizer.json does not know
        return ids

    async def piece(self, text: str) -> int | None:
        """Return the one token that has this text."""
        found = self._pieces.get(text, [])
        return found[0] if len(found) == 1 else None

    @cached_property
    def _pieces(self) -> dict[str, list[int]]:
        """Text → tokens."""
        found: dict[str, list[int]] = {}
        size = self._tokenizer.get_vocab_size()
        for number, text in enumerate(self._tokenizer.decode_batch([[n] for n in range(size)])):
            found.setdefault(text, []).append(number)
        return found


class Page:
    """The server's `/tokenize`, of vLLM's, SGLang's or llama.cpp's shape."""

    source = "server"

    def __init__(self, asker: Asker) -> None:
        self._asker = asker
        self.bos: int | None = None

    async def encode(self, text: str, *, special: bool) -> list[int] | None:
        """Return a text's ids."""
        endpoint = self._asker.endpoint
        names = (
            {"content": text, "add_special": special}
            if endpoint.engine == "llama.cpp"
            else {"model": endpoint.model, "prompt": text, "add_special_tokens": special}
        )
        page = await self._asker.post(f"{endpoint.root}/tokenize", names)
        ids = page.get("tokens") if isinstance(page, dict) else None
        good = isinstance(ids, list) and ids and all(isinstance(n, int) for n in ids)
        return list(ids) if good else None  # type: ignore[arg-type]

    async def piece(self, text: str) -> int | None:
        """Return the token, where the tokenizer makes one of it."""
        ids = await self.encode(text, special=False)
        return ids[0] if ids is not None and len(ids) == 1 else None


class Told:
    """The ids that come along with an answer to a text."""

    source = "answer"

    def __init__(self, asker: Asker) -> None:
        self._asker = asker
        self.bos: int | None = None

    async def encode(self, text: str, *, special: bool) -> list[int] | None:
        """Return a text's ids as the server made them; it cannot be told to add nothing."""
        if not special:
            return None
        answer = await self._asker.write(text, 1, more=TELL_IDS)
        return answer.choices[0].prompt_token_ids if answer and answer.choices else None

    async def piece(self, text: str) -> int | None:  # noqa: ARG002 - it cannot be asked
        """Return None."""
        return None


async def find_encoder(asker: Asker) -> Encoder | None:
    """Return whoever knows the tokenizer, the surest first."""
    path = asker.endpoint.tokenizer_file
    if path is not None and path.is_file():
        return Folder(str(path.parent))
    page = Page(asker)
    plain = await page.encode(TEXTS[0], special=False)
    if plain is not None:
        whole = await page.encode(TEXTS[0], special=True)
        page.bos = whole[0] if whole and whole[1:] == plain else None
        return page
    told = Told(asker)
    return told if await told.encode(TEXTS[0], special=True) else None


class Material:
    """Prompts as ids.

    Args:
        texts: ids of `TEXTS`, with what the tokenizer adds.
        context: tokens that fit, None where that is not known.
    """

    def __init__(self, texts: list[list[int]], bos: int | None, context: int | None) -> None:
        self.texts = texts
        first = texts[0]
        body = first[1:] if bos is not None else first
        # Ids in an order that no tokenizer makes of a text: whoever makes them anew is found out.
        # Among them are tokens that the model does not expect.
        mixed = first[:1] + [n for pair in zip(body[::-1], body, strict=True) for n in pair]
        room = _LONG if context is None else min(_LONG, context - _SPARE)
        around = [n for ids in texts for n in (ids[1:] if bos is not None else ids)]
        odd = [*first[:3], first[0]]
        self.prompts = [*texts, mixed, odd, *([body] if bos is not None else [])]
        """To be scored: with BOS where the tokenizer has one, and one without."""
        self.long = (first[:1] + around * (room // len(around) + 1))[: max(room, 2)]
        self.plain = body
        """Without BOS."""


async def make_material(encoder: Encoder | None, context: int | None) -> Material | None:
    """Return the prompts; None where nobody knows the tokenizer."""
    if encoder is None:
        return None
    texts = [await encoder.encode(text, special=True) for text in TEXTS]
    known = [ids for ids in texts if ids]
    return Material(known, encoder.bos, context) if len(known) == len(TEXTS) else None


async def written_ids(encoder: Encoder, prompt: str, ids: list[int], text: str) -> list[int] | None:
    """Return ids of what was written after a prompt, where they can be told from the text."""
    whole = await encoder.encode(prompt + text, special=True)
    if whole is None or whole[: len(ids)] != ids:
        return None
    return whole[len(ids) :] or None
