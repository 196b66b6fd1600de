"""A user's own conversations as the prompts of a cell: which, in what order, and how long.

Pure and streamed, as `conversations`. The texts are those of the file, the answers within a
session the server's own; of the recorded answers only their length is used.
"""

from __future__ import annotations

from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from loadprofiles.errors import ProfileError
from loadprofiles.prompts.conversations import MAX_TURNS, Conversation, Turn
from loadprofiles.prompts.datasets import Entries
from loadprofiles.prompts.lengths import FromDataset, sample_lengths
from loadprofiles.prompts.texts import WORDS_PER_TOKEN
from loadprofiles.records import DatasetUse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy as np
    from tokenizers import Tokenizer

    from loadprofiles.profile import Profile
    from loadprofiles.prompts.datasets import Entry

_BLOCK = 1024


class Recorded:
    """The conversations of a profile's dataset, in an order drawn for this cell.

    Args:
        profile: one that names a dataset.
        rng: hands out one independent generator for each purpose.
        tokenizer: the model's; None to estimate lengths from the number of words.
        room: tokens that a request may have, prompt and answer; None where nobody knows.
        template_tokens: of them, those that the server puts around each of a user's turns.

    Raises:
        ProfileError: the file cannot be used.
    """

    def __init__(
        self,
        profile: Profile,
        rng: Callable[[str], np.random.Generator],
        tokenizer: Tokenizer | None,
        room: int | None,
        template_tokens: int = 0,
    ) -> None:
        assert profile.dataset is not None  # noqa: S101 - the caller asked
        self._profile = profile
        self._dataset = profile.dataset
        self._rng = rng
        self._tokenizer = tokenizer
        self._special = (
            0 if tokenizer is None else tokenizer.num_special_tokens_to_add(is_pair=False)
        )
        self._room = room
        self._template = template_tokens
        self._entries = Entries(Path(self._dataset.file), self._dataset.layout)
        self._order = rng("dataset").permutation(len(self._entries)).tolist()
        self._used = self._again = self._longer = self._unfit = self._longest = 0

    def __len__(self) -> int:
        """How many conversations there are."""
        return len(self._entries)

    def warm_up(self) -> Iterator[Conversation]:
        """Yield first turns without end: those that the measured ones come to last."""
        for conversation in self._conversations(self._order[::-1], "warm-up"):
            yield conversation._replace(turns=conversation.turns[:1])

    def measured(self) -> Iterator[Conversation]:
        """Yield conversations without end, each once before any comes again."""
        for number, conversation in enumerate(self._conversations(self._order, "measured")):
            self._used += 1
            self._again += number >= len(self._order) - self._longer
            yield conversation

    def close(self) -> DatasetUse:
        """Let go of the file and say what was used of it.

        Raises:
            ProfileError: conversations that were to be used are too long for the model.
        """
        self._entries.close()
        if self._unfit and not self._dataset.skip_longer:
            raise ProfileError(
                "dataset",
                f"{self._unfit} of {self._longer + self._used} conversations drawn from "
                f"{self._dataset.file} are longer than the model's {self._room} tokens "
                f"(max_model_len), the longest {self._longest}: leave them out with skip_above = "
                f"{self._room} (--skip-above), or for each build those that it does not take with "
                "skip_longer = true (--skip-longer), or serve the model with a longer context",
            )
        return DatasetUse(
            entries=len(self._entries),
            silent=self._entries.silent,
            longer=self._longer,
            used=self._used,
            again=self._again,
        )

    def _conversations(self, order: list[int], purpose: str) -> Iterator[Conversation]:
        """Yield those that fit, over and over."""
        outputs = self._outputs(purpose)
        turns = self._turns(purpose)
        fitted = 0
        for number in count():
            if number == len(order) and not fitted:
                raise ProfileError(
                    "dataset",
                    f"not one conversation of {self._dataset.file} fits {self._limit()}",
                )
            entry = self._entries[order[number % len(order)]]
            conversation = self._told(entry, outputs, next(turns))
            tokens = sum(turn.tokens + turn.output_tokens for turn in conversation.turns)
            tokens += self._template * len(conversation.turns)
            above = self._dataset.skip_above is not None and tokens > self._dataset.skip_above
            if above or (self._room is not None and tokens > self._room):
                if purpose == "measured" and number < len(order):
                    self._longer += 1
                    self._unfit += not above
                    self._longest = max(self._longest, 0 if above else tokens)
                continue
            fitted += 1
            yield conversation

    def _limit(self) -> str:
        room, above = self._room, self._dataset.skip_above
        if above is not None and (room is None or above < room):
            return f"skip_above = {above}; raise it (--skip-above)"
        return f"the model's {room} tokens (max_model_len); serve the model with a longer context"

    def _outputs(self, purpose: str) -> Iterator[int | None]:
        """Yield the output lengths that replace the recorded ones; None where nothing does."""
        length = self._profile.output_tokens
        rng = self._rng(f"{purpose} output lengths")
        while True:
            if isinstance(length, FromDataset):
                yield None
            else:
                yield from sample_lengths(length, _BLOCK, rng).tolist()

    def _turns(self, purpose: str) -> Iterator[int]:
        """Yield how many turns each conversation may have at most."""
        session = self._profile.session
        rng = self._rng(f"{purpose} turns")
        while True:
            if session is None:
                yield 1
            elif session.turns is None:
                yield MAX_TURNS
            else:
                yield from sample_lengths(session.turns, _BLOCK, rng).tolist()

    def _told(self, entry: Entry, outputs: Iterator[int | None], most: int) -> Conversation:
        """Bring an entry into the form of a plan; turns whose answer has no length end it."""
        turns = []
        for said in entry.turns[:most]:
            output = next(outputs) or said.output_tokens
            if output is None and said.answer is not None:
                output = max(1, self._count(said.answer))
            if output is None:
                break
            turns.append(Turn(said.user, self._count(said.user), output))
        if not turns:
            raise ProfileError(
                "output_tokens",
                f'{self._dataset.file} does not say how long the answer to "'
                f'{entry.turns[0].user[:40]}" is to be; set output_tokens (--output-tokens)',
            )
        head = self._special
        if entry.system is not None:
            head += self._count(entry.system)
        turns[0] = turns[0]._replace(tokens=turns[0].tokens + head)
        return Conversation(entry.system, turns, exact=self._tokenizer is not None)

    def _count(self, text: str) -> int:
        if self._tokenizer is None:
            return max(1, round(len(text.split()) / WORDS_PER_TOKEN))
        return len(self._tokenizer.encode(text, add_special_tokens=False))


def check_dataset(profile: Profile) -> None:
    """Refuse a profile whose dataset cannot be read to its end.

    Raises:
        ProfileError: with the line.
    """
    if profile.dataset is not None:
        Entries(Path(profile.dataset.file), profile.dataset.layout).close()
