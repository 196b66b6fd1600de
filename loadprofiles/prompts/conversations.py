"""What users say: the texts of a cell's requests, and of the sessions that have several turns.

Pure and streamed: one conversation at a time comes out, whatever their number.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Annotated, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, field_validator

from loadprofiles.prompts.lengths import Length, OwnLength, longest, sample_lengths
from loadprofiles.prompts.texts import make_prompts, one_by_one
from loadprofiles.traffic.think import Think  # noqa: TC001 - pydantic reads it at run time

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy as np
    from numpy.typing import NDArray
    from tokenizers import Tokenizer

    from loadprofiles.profile import Profile
    from loadprofiles.prompts.texts import Prompt

MAX_TURNS = 1000


class Session(BaseModel):
    """The `[session]` table of a profile: conversations of several turns instead of requests.

    The first turn is a request like any; `prompt_tokens` is its length. Each later one holds the
    whole conversation so far, with the answers that the server itself gave.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    turns: OwnLength | None = None
    """How many turns a session has; with a dataset: at most (None: as many as are recorded)."""
    user_tokens: OwnLength | None = None
    """How long what the user says in each later turn is; with a dataset, that says it."""
    think_s: Annotated[Think | None, Field()] = None
    """From the end of an answer to the session's next turn; None: none."""

    @field_validator("turns")
    @classmethod
    def _few(cls, turns: Length | None) -> Length | None:
        if turns is not None and longest(turns) > MAX_TURNS:
            raise ValueError(f"up to {longest(turns)} turns are too many; at most {MAX_TURNS}")
        return turns


class Turn(NamedTuple):
    """What a user says once, and how much the server is to answer."""

    text: str
    tokens: int
    """Of the text; in a conversation's first turn, of its system message too."""
    output_tokens: int


class Conversation(NamedTuple):
    """A request, or all turns of a session."""

    system: str | None
    turns: list[Turn]
    exact: bool
    """Every text was counted and has the length asked for."""


class Lengths(NamedTuple):
    """Of each conversation's first prompt, and of its answers; None where a profile draws them."""

    prompt_tokens: NDArray[np.int64] | None = None
    output_tokens: NDArray[np.int64] | None = None
    heads: tuple[list[int], list[Prompt]] | None = None
    """Which prefix each prompt has on top, or -1, and the prefixes; None where a profile says."""


def write_conversations(
    profile: Profile,
    turns: NDArray[np.int64],
    rng: Callable[[str], np.random.Generator],
    purpose: str,
    tokenizer: Tokenizer | None,
    given: Lengths = Lengths(),  # noqa: B008 - it has nothing in it
) -> Iterator[Conversation]:
    """Write a conversation for each number of turns.

    Args:
        profile: lengths and prefixes.
        turns: of each conversation.
        rng: hands out one independent generator for each purpose.
        purpose: "warm-up" or "measured": each has texts of its own.
        tokenizer: the model's; None to estimate.
        given: lengths that are known already.
    """
    count, total = len(turns), int(turns.sum())
    lengths, drawn = given.prompt_tokens, given.output_tokens
    if lengths is None:
        lengths = sample_lengths(profile.prompt_tokens, count, rng(f"{purpose} prompt lengths"))
    if drawn is None:
        drawn = sample_lengths(profile.output_tokens, total, rng(f"{purpose} output lengths"))
    else:
        drawn = drawn.repeat(turns)
    outputs = iter(drawn.tolist())
    which, prefixes = given.heads or _prefixes(profile, count, rng, purpose, tokenizer)
    heads = (prefixes[index].text if index >= 0 else None for index in which)
    first = one_by_one(make_prompts(lengths, rng(f"{purpose} prompts"), tokenizer, heads=heads))
    later: Iterator[Prompt] = iter(())
    if profile.session is not None:
        assert profile.session.user_tokens is not None  # noqa: S101 - the profile looked
        lengths = sample_lengths(
            profile.session.user_tokens, total - count, rng(f"{purpose} turn lengths")
        )
        later = one_by_one(make_prompts(lengths, rng(f"{purpose} turns"), tokenizer, inside=True))
    for number, index, prompt in zip(turns.tolist(), which, first, strict=True):
        system = prefixes[index] if index >= 0 else None
        said = [prompt, *islice(later, number - 1)]
        tokens = [text.tokens for text in said]
        if system is not None:
            tokens[0] += system.tokens
        yield Conversation(
            system=None if system is None else system.text,
            turns=[
                Turn(text.text, length, next(outputs))
                for text, length in zip(said, tokens, strict=True)
            ],
            exact=all(text.exact for text in said) and (system is None or system.exact),
        )


def _prefixes(
    profile: Profile,
    count: int,
    rng: Callable[[str], np.random.Generator],
    purpose: str,
    tokenizer: Tokenizer | None,
) -> tuple[list[int], list[Prompt]]:
    """Return for each conversation which prefix it has, or -1, and the prefixes."""
    shared = profile.shared_prefix
    if shared is None:
        return [-1] * count, []
    which = shared.draw(count, rng(f"{purpose} prefixes of prompts")).tolist()
    if purpose == "warm-up" and shared.warm:
        which[: shared.count] = range(min(shared.count, count))
        purpose = "measured"
    return which, shared.write(rng(f"{purpose} prefixes"), tokenizer)
