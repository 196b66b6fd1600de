"""One of several choices, by letter or by text.

What counts, the strongest first: an answer that is nothing but a choice; a statement (`The answer
is (B)`); a choice that the answer begins with and sets apart (`B. Paris`, `Yes, because …`); a
choice that is named anywhere. Of each, only one may be named: an answer that names several is
`unparsed`, and so is one that denies a choice (`not B`).
"""

from __future__ import annotations

import re
import string
from typing import Literal

from pydantic import Field

from evals.grading import Grade, Grader, Item, as_text, without_edges

LETTERS = string.ascii_uppercase
_BOXED = re.compile(r"\\(?:boxed|text|mathbf|textbf)\s*\{([^{}]*)\}")
_MARKUP = re.compile(r"[*`$]|(?<!\w)_+|(?<!_)_++(?!\w)")
_STATED = (
    r"(?:(?:answer|option|choice|solution)\s*(?:is|was|would\s+be|should\s+be|:|=|-|→)"
    r"|\#{4}|therefore,?|hence,?|(?<!\w)choose|(?<!\w)pick|correct\s+(?:answer|option|choice))"
    r"\s*[:=]?\s*(?:option|choice|answer|letter)?\s*[\"'“(\[]*\s*"
)
_DENIED = re.compile(
    r"(?:\b(?:not|neither|nor|except|than|never)|n['’]t)\s+[\"'“(\[]*\Z", re.IGNORECASE
)
_NEAR = 16
"""Characters in front of a choice in which it may be denied."""
_ARTICLE = re.compile(r"[AIai]\s+(?!(?:is|because|since|or|and|nor)\b)\w")
"""`A` or `I` that is a word of the sentence and no choice."""


class Choice(Grader):
    """One of the item's `choices`, or of those here, which hold for all items that have none."""

    kind: Literal["choice"]
    choices: tuple[str, ...] = Field(default=(), max_length=len(LETTERS))
    letters: bool = True
    """Answers are letters (A is the first choice) or a choice's text; otherwise its text only."""

    def of(self, item: Item) -> tuple[str, ...]:
        """Return an item's choices, in order."""
        return item.choices or self.choices

    def names(self, item: Item) -> tuple[str, ...]:
        """Return what a model should answer for each choice: its letter, or its text."""
        texts = self.of(item)
        return tuple(LETTERS[: len(texts)]) if self.letters else texts

    def place(self, item: Item) -> int | None:
        """Return the place of the right choice, from 0; None where `expected` is none."""
        expected = as_text(item.expected).strip()
        texts = self.of(item)
        by_text = [i for i, text in enumerate(texts) if text.strip() == expected]
        if len(by_text) == 1:
            return by_text[0]
        if self.letters and len(expected) == 1 and expected in LETTERS[: len(texts)]:
            return LETTERS.index(expected)
        return None

    def problem(self, item: Item) -> str | None:
        """See `Grader.problem`."""
        texts = [text.strip() for text in self.of(item)]
        if not 2 <= len(texts) <= len(LETTERS):  # noqa: PLR2004
            return f"choices: {len(texts)} are there; write 2 to {len(LETTERS)}"
        if self.letters and all(text in LETTERS for text in texts):
            return "choices: they are letters themselves; set letters = false in [domain.grader]"
        if not all(texts) or len({text.casefold() for text in texts}) < len(texts):
            return "choices: one is empty or there twice; write each once"
        if self.place(item) is None:
            letters = f", or a letter from A to {LETTERS[len(texts) - 1]}" if self.letters else ""
            shown = as_text(item.expected)[:60]
            return f"expected {shown!r} is none of the choices ({', '.join(texts)[:120]}){letters}"
        return None

    def grade(self, text: str, item: Item, *, cut: bool = False) -> Grade:
        """See `Grader.grade`."""
        del cut  # a choice that has been named stays named
        plain = _MARKUP.sub("", _BOXED.sub(r" \1 ", text))
        plain = re.sub(r"\n\s+", "\n", re.sub(r"[^\S\n]+", " ", plain)).strip()
        named = _Reading(self.of(item), letters=self.letters).read(plain)
        if len(named) != 1:
            found = " and ".join(sorted(self.names(item)[place] for place in named))
            return Grade("unparsed", 0.0, f"names {found}" if found else "names no choice")
        (place,) = named
        return Grade("scored", float(place == self.place(item)), self.names(item)[place])


class _Reading:
    """Looks for choices in a text; each step returns their places."""

    def __init__(self, texts: tuple[str, ...], *, letters: bool) -> None:
        self._all = set(range(len(texts)))
        self._letters = LETTERS[: len(texts)] if letters else ""
        self._place = {_folded(text): place for place, text in enumerate(texts)}
        if all(text in LETTERS for text in texts):
            self._letters, self._place = "".join(texts), {}
        longest_first = sorted((re.escape(text) for text in self._place), key=len, reverse=True)
        spaced = (text.replace(r"\ ", r"\s+") for text in longest_first)
        one_of = "|".join(spaced) or r"(?!)"
        self._text = rf"(?<!\w)(?P<text>{one_of})(?!\w)"

    def read(self, text: str) -> set[int]:
        """Return the places of the choices that the answer names by the strongest way it uses."""
        whole = self._of(without_edges(text))
        if whole is not None:
            return {whole}
        return self._stated(text) or self._lettered(text) or self._begun(text) or self._texts(text)

    def _of(self, text: str) -> int | None:
        """Return the place of a choice that is all of a text."""
        if len(text) == 1 and self._letters and text.upper() in self._letters:
            return self._letters.index(text.upper())
        return self._place.get(_folded(text))

    def _told(self, match: re.Match[str] | None) -> set[int]:
        """Return the place of a text that was found."""
        place = self._place.get(_folded(match["text"])) if match else None
        return set() if place is None else {place}

    def _stated(self, text: str) -> set[int]:
        """`The answer is (B)`, `Answer: yes`, `#### B`."""
        found: set[int] = set()
        for match in re.finditer(_STATED + self._text, text, re.IGNORECASE):
            found |= self._told(match)
        if self._letters:
            pattern = rf"{_STATED}(?P<letter>[{self._letters}])(?![\w'’])"
            for match in re.finditer(pattern, text, re.IGNORECASE):
                if not _ARTICLE.match(text, match.start("letter")):
                    found |= self._of_letter(match["letter"])
        return found

    def _of_letter(self, letter: str) -> set[int]:
        """Return a letter's place; some letters of other scripts fold to one of these."""
        place = self._letters.find(letter.upper())
        return {place} if place >= 0 else set()

    def _lettered(self, text: str) -> set[int]:
        """`(B)`, `B. Paris`, `option B`, `B` alone; a text right behind has to be that letter's."""
        found: set[int] = set()
        if not self._letters:
            return found
        behind = re.compile(r"[\s.):\],-]{1,4}" + self._text, re.IGNORECASE)
        for match in re.finditer(rf"(?<![\w'’])[{self._letters}](?![\w'’])", text):
            if _ARTICLE.match(text, match.start()):
                continue
            if _is_denied(text, match.start()):
                return self._all
            found.add(self._letters.index(match[0]))
            found |= self._told(behind.match(text, match.end()))
        return found

    def _begun(self, text: str) -> set[int]:
        """`Yes, because there is no …`: a text at the beginning, set apart."""
        pattern = rf"\W*{self._text}\s*(?:[.,;:!\n–—-]|\Z)"
        return self._told(re.match(pattern, text, re.IGNORECASE))

    def _texts(self, text: str) -> set[int]:
        found: set[int] = set()
        for match in re.finditer(self._text, text, re.IGNORECASE):
            if _is_denied(text, match.start()):
                return self._all
            found |= self._told(match)
        return found


def _is_denied(text: str, place: int) -> bool:
    return _DENIED.search(text[max(0, place - _NEAR) : place]) is not None


def _folded(text: str) -> str:
    return " ".join(text.split()).casefold()


GRADER: type[Grader] = Choice
