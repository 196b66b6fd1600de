"""Text to token ids, the way that lm-eval splits context and continuation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from evals.errors import NeedError
from evals.vocabulary import load_vocabulary

if TYPE_CHECKING:
    from collections.abc import Sequence

    from evals.endpoint import Endpoint

Ids = list[int]


class Tokens:
    """The served model's tokenizer, with one rule about BOS."""

    def __init__(self, endpoint: Endpoint, bos: str) -> None:
        """Read the tokenizer.

        Raises:
            NeedError: it is not there, or has no BOS token where one is asked for.
        """
        vocabulary = load_vocabulary(endpoint.tokenizer)
        self.file = vocabulary.file
        self._tokenizer = vocabulary.tokenizer
        self.bos_id = vocabulary.bos
        self.eos_text = vocabulary.eos_name or None
        self.eos_id = vocabulary.eos
        folder = vocabulary.file.parent
        prefix = self.eos_id if self.bos_id is None else self.bos_id
        if prefix is None:
            raise NeedError(f"{folder} names neither a bos_token nor an eos_token")
        self.prefix_id = prefix
        """In front of texts that have no context: BOS, else EOS."""
        if bos == "always" and self.bos_id is None:
            raise NeedError(f'lmeval.bos = "always", and {folder} names no bos_token')
        self.adds_bos = bos == "always" or (bos == "auto" and vocabulary.adds_bos)

    def encode(self, texts: Sequence[str], *, bos: bool) -> list[Ids]:
        """Encode texts; `bos` puts the token in front where the rule says so and it is not yet."""
        found = [e.ids for e in self._tokenizer.encode_batch_fast(texts, add_special_tokens=False)]
        if bos and self.adds_bos and self.bos_id is not None:
            first = self.bos_id
            return [ids if ids[:1] == [first] else [first, *ids] for ids in found]
        return found

    def encode_pairs(self, pairs: Sequence[tuple[str, str]]) -> list[tuple[Ids, Ids]]:
        """Encode (context, continuation) pairs.

        As `lm_eval.api.model.TemplateLM` does: spaces at a context's end belong to the
        continuation; the whole is encoded and cut where the context's own ids end; an empty
        context is BOS (or EOS).
        """
        split = [_spaces_to_the_right(context, more) for context, more in pairs]
        contexts = sorted({context for context, _ in split if context})
        ids_of = dict(zip(contexts, self.encode(contexts, bos=True), strict=True))
        wholes = self.encode([context + more for context, more in split if context], bos=True)
        alone = self.encode([more for context, more in split if not context], bos=False)
        with_context, without = iter(wholes), iter(alone)
        found = []
        for context, _ in split:
            if context:
                before = ids_of[context]
                found.append((before, next(with_context)[len(before) :]))
            else:
                more_ids = next(without)
                starts = more_ids[:1] == [self.prefix_id]
                found.append(
                    (more_ids[:1], more_ids[1:]) if starts else ([self.prefix_id], more_ids)
                )
        return found


def _spaces_to_the_right(context: str, continuation: str) -> tuple[str, str]:
    kept = context.rstrip() if context else context
    return kept, context[len(kept) :] + continuation
