"""From conversations to `bodies.jsonl`, one at a time, with a mark where answers belong."""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from loadprofiles.dialects import Message
from loadprofiles.prompts.bodies import answer_mark

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path
    from typing import BinaryIO

    from loadprofiles.dialects import Prompt
    from loadprofiles.prompts.conversations import Conversation

    Encode = Callable[[Prompt, int], bytes]


@dataclass
class Written:
    """What was planned for each body, in the order of the lines."""

    prompt_tokens: list[int] = field(default_factory=list)
    """Answers that the prompt holds are left out."""
    output_tokens: list[int] = field(default_factory=list)
    after: list[int] = field(default_factory=list)
    """The body that it continues, counted from the first of its part, or -1."""
    exact: bool = True

    def extend(self, other: Written) -> None:
        """Add what another one has, behind."""
        self.prompt_tokens += other.prompt_tokens
        self.output_tokens += other.output_tokens
        self.after += other.after
        self.exact = self.exact and other.exact


def write_bodies(file: BinaryIO, conversations: Iterable[Conversation], encode: Encode) -> Written:
    """Write the first turns of all conversations, and behind them the later ones.

    Args:
        file: gets one body a line.
        conversations: what users say.
        encode: from a prompt and an output length to a body on one line.
    """
    first, later = Written(), Written()
    third: list[int] = []
    """Of the later turns, those that continue a later one."""
    with tempfile.TemporaryFile() as others:
        for number, (system, turns, exact) in enumerate(conversations):
            messages = [] if system is None else [Message("system", system)]
            tokens, before = 0, -1
            first.exact = first.exact and exact
            for place, turn in enumerate(turns):
                part, lines = (later, others) if place else (first, file)
                if place:
                    messages.append(Message("assistant", answer_mark(place - 1)))
                messages.append(Message("user", turn.text))
                tokens += turn.tokens
                part.prompt_tokens.append(tokens)
                part.output_tokens.append(turn.output_tokens)
                part.after.append(before)
                if place > 1:
                    third.append(len(later.after) - 1)
                before = len(later.after) - 1 if place else number
                prompt = turn.text if len(messages) == 1 else messages
                lines.write(encode(prompt, turn.output_tokens) + b"\n")
        for position in third:  # first turns lie before them
            later.after[position] += len(first.after)
        others.seek(0)
        shutil.copyfileobj(others, file)
    first.extend(later)
    return first


@contextmanager
def atomic(path: Path) -> Iterator[BinaryIO]:
    """Open a file that appears under its name only once it is complete and on the disk."""
    draft = path.with_name(path.name + ".part")
    try:
        with draft.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
