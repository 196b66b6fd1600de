"""From an item to what is sent: a text, or messages."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import msgspec

from evals.graders.choice import LETTERS, Choice
from evals.grading import Item, as_text
from evals.suite import fields_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from evals.domain.items import Mistakes
    from evals.suite import DomainSettings

Messages = list[dict[str, str]]
_HASH_DIGITS = 16


class Prompts:
    """Makes the prompts of one suite.

    Args:
        settings: the suite's table.

    Raises:
        ValueError: an example lacks what the template wants.
    """

    def __init__(self, settings: DomainSettings) -> None:
        self._settings = settings
        self._wanted = fields_of(settings.template)
        self._examples = [
            (self._filled(example, f"examples[{number}]"), self._answer(example, number))
            for number, example in enumerate(settings.examples)
        ]

    def check(self, items: list[Item], mistakes: Mistakes) -> None:
        """Note each item that lacks a field of the template or of `report_by`."""
        for item in items:
            for name in dict.fromkeys((*self._wanted, *self._settings.report_by)):
                if name not in item.fields:
                    wants = "template wants" if name in self._wanted else "report_by names"
                    mistakes.add(item.line, f"the {wants} {name}, which is not in this item")

    def text(self, item: Item) -> str:
        """Return a plain prompt: the examples, then the question."""
        settings = self._settings
        solved = [
            asked + settings.answer_prefix + answer + settings.separator
            for asked, answer in self._examples
        ]
        return "".join(solved) + self._filled(item.fields, item.id)

    def messages(self, item: Item) -> Messages:
        """Return a conversation: the system's message, the examples as turns, the question."""
        system = self._settings.system
        messages = [] if system is None else [{"role": "system", "content": system}]
        for asked, answer in self._examples:
            messages.append({"role": "user", "content": asked})
            messages.append({"role": "assistant", "content": answer})
        return [*messages, {"role": "user", "content": self._filled(item.fields, item.id)}]

    def _filled(self, known: Mapping[str, object], where: str) -> str:
        values = {}
        for name in self._wanted:
            if name not in known:
                raise ValueError(f"{where}: the template wants {name}, which is not there")
            values[name] = _shown(known[name], name)
        return self._settings.template.format(**values)

    def _answer(self, example: dict[str, object], number: int) -> str:
        if "expected" not in example:
            raise ValueError(f"examples[{number}]: expected is missing; write its right answer")
        return as_text(example["expected"])


def _shown(value: object, name: str) -> str:
    if name == "choices" and isinstance(value, list | tuple):
        pairs = zip(LETTERS, value, strict=False)
        return "\n".join(f"{letter}. {as_text(text)}" for letter, text in pairs)
    return as_text(value)


def hash_of(settings: DomainSettings, sent: object) -> str:
    """Return the hash of all that is sent for an item and decides its answer and its grade."""
    grader = settings.grader
    names = grader.letters if isinstance(grader, Choice) else None
    decides = [sent, settings.max_tokens, settings.stop, settings.method, names]
    decides.append(grader.model_dump(mode="json"))
    return hashlib.sha256(msgspec.json.encode(decides)).hexdigest()[:_HASH_DIGITS]
