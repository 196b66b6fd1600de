"""The model as lm-eval sees it: its three kinds of request, through the strict client.

What differs from lm-eval's own `local-completions`: nothing is cut to fit, a dead item costs only
itself, the stop strings are the same at every concurrency, and BOS is put where one rule says.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING, Any

from lm_eval.api.model import LM
from lm_eval.api.registry import register_model
from lm_eval.models.utils import handle_stop_sequences, normalize_gen_kwargs
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

from evals.errors import SuiteError
from evals.lmeval.packing import Prompt
from evals.records import Failure

if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Sequence

    from lm_eval.api.instance import Instance

    from evals.lmeval.asking import Asker, Record
    from evals.lmeval.packing import Owner
    from evals.lmeval.tokens import Tokens

BLOCK = 512
"""Requests that are encoded at a time, and the rest of the last one's document."""
NAME = "harness-completions"
GENERATED_TOKENS = 256
"""Where a task does not say how many it may write; lm-eval's default."""
SEED = 1234
"""lm-eval's default; a repeat of a request has the next number."""
_UNDERSTOOD = {"until", "max_gen_toks", "temperature", "do_sample"}
_ONLY_SAMPLING = {"top_p", "top_k", "min_p"}


@register_model(NAME)
class StrictCompletions(LM):  # type: ignore[misc]
    """Answers lm-eval's requests.

    What failed is NaN or empty text here, and a `Failure` in `asker.records`: the item is taken
    out of the score afterwards.

    Args:
        asker: sends.
        tokens: encodes.
        window: tokens of context that a rolling log-likelihood may use, the generated one included.
        bare: tasks that do not ask whether a text would be written greedily.
    """

    def __init__(
        self, asker: Asker, tokens: Tokens, window: int, bare: Container[str] = ()
    ) -> None:
        super().__init__()
        self._bare = bare
        self._asker = asker
        self._tokens = tokens
        self._window = window

    def loglikelihood(self, requests: Sequence[Instance]) -> list[tuple[float, bool]]:
        """Return (ln p, greedy) of each (context, continuation)."""

        def blocks() -> Iterator[list[Prompt]]:
            for start, end in _blocks(requests):
                block = requests[start:end]
                pairs = self._tokens.encode_pairs([request.args for request in block])
                yield [
                    Prompt(
                        owner=_owner(request),
                        place=start + n,
                        ids=context + more,
                        scored_from=len(context),
                        greedy=request.task_name not in self._bare,
                    )
                    for n, (request, (context, more)) in enumerate(zip(block, pairs, strict=True))
                ]

        found = self._asker.ask(blocks(), Counter(map(_owner, requests)))
        return [_scored(found[place]) for place in range(len(requests))]

    def loglikelihood_rolling(self, requests: Sequence[Instance]) -> list[float]:
        """Return ln p of whole texts, by lm-eval's windows, which share no token but one."""
        texts = [request.args[0] for request in requests]
        blocks: list[list[Prompt]] = []
        places: list[list[int]] = []
        count: Counter[Owner] = Counter()
        place = 0
        for request, ids in zip(requests, self._tokens.encode(texts, bos=False), strict=True):
            windows = get_rolling_token_windows(
                token_list=ids,
                prefix_token=self._tokens.prefix_id,
                max_seq_len=self._window - 2,
                context_len=1,
            )
            block = []
            for context, more in map(make_disjoint_window, windows):
                prompt = Prompt(
                    owner=_owner(request),
                    place=place,
                    ids=context + more,
                    scored_from=len(context),
                    greedy=False,
                )
                block.append(prompt)
                place += 1
            blocks.append(block)
            places.append([prompt.place for prompt in block])
            count[_owner(request)] += len(block)
        found = self._asker.ask(blocks, count)
        return [sum(_scored(found[one])[0] for one in of_text) for of_text in places]

    def generate_until(self, requests: Sequence[Instance]) -> list[str]:
        """Return what is written after each context."""
        asked: Counter[tuple[object, ...]] = Counter()

        def blocks() -> Iterator[list[Prompt]]:
            for start in range(0, len(requests), BLOCK):
                block = requests[start : start + BLOCK]
                ids = self._tokens.encode([request.args[0] for request in block], bos=True)
                prompts = []
                for n, (request, one) in enumerate(zip(block, ids, strict=True)):
                    stop, max_tokens, temperature = generation(request.args[1], self._tokens)
                    twin = (*_owner(request), request.idx)
                    seed = SEED + asked[twin] if temperature else SEED
                    asked[twin] += 1
                    prompts.append(
                        Prompt(
                            owner=_owner(request),
                            place=start + n,
                            ids=one,
                            stop=stop,
                            max_tokens=max_tokens,
                            temperature=temperature,
                            seed=seed,
                        )
                    )
                yield prompts

        found = self._asker.ask(blocks(), Counter(map(_owner, requests)))
        return [_written(found[place]) for place in range(len(requests))]


def generation(settings: dict[str, Any], tokens: Tokens) -> tuple[tuple[str, ...], int, float]:
    """Return stop strings, output limit and temperature; the EOS text is always a stop string.

    Raises:
        SuiteError: the task samples in a way that cannot be asked for.
    """
    known = normalize_gen_kwargs(settings, GENERATED_TOKENS)
    ignored = set() if known["do_sample"] else _ONLY_SAMPLING
    if odd := {key for key, value in known.items() if value is not None} - _UNDERSTOOD - ignored:
        raise SuiteError(
            f"generation_kwargs {', '.join(sorted(odd))} cannot be asked for; what can: "
            + ", ".join(sorted(_UNDERSTOOD))
        )
    stop = handle_stop_sequences(list(known["until"]), tokens.eos_text)
    temperature = float(known["temperature"]) if known["do_sample"] else 0.0
    return tuple(text for text in stop if text), int(known["max_gen_toks"]), temperature


def _blocks(requests: Sequence[Instance]) -> Iterator[tuple[int, int]]:
    """Cut requests between documents."""
    start = 0
    while start < len(requests):
        end = min(start + BLOCK, len(requests))
        while end < len(requests) and _owner(requests[end]) == _owner(requests[end - 1]):
            end += 1
        yield start, end
        start = end


def _owner(request: Instance) -> Owner:
    return request.task_name, request.doc_id


def _scored(record: Record) -> tuple[float, bool]:
    if isinstance(record.answer, Failure):
        return math.nan, False
    return record.answer.loglikelihood, record.answer.greedy


def _written(record: Record) -> str:
    return "" if isinstance(record.answer, Failure) else record.answer.text
