"""A number in the answer is the expected one, within a tolerance."""

from __future__ import annotations

import re
from decimal import Context, Decimal
from typing import Annotated, Literal, NamedTuple

from pydantic import Field

from evals.grading import Grade, Grader, Item, as_text

Tolerance = Annotated[float, Field(ge=0, allow_inf_nan=False)]

_SHAPE = r"""
(?P<sign> (?<![\w)]) [-+−–] )?
(?: [$€£¥₹] \s? (?P<inner> [-+−–] )? )?
(?: (?<![\w.])(?<!\d,) | (?<=USD) | (?<=EUR) | (?<=GBP) | (?<=CHF) | (?<=JPY) )
(?P<whole> \d{1,3}(?:[THOUSANDS'’\u00a0\u2009\u202f]\d{3})+(?!\d) | \d+ )?
(?P<part> (?<=\d)DECIMAL\d+ | (?<![\w.,])DECIMAL\d+ )?
(?P<exponent> (?<=\d)[eE][-+]?\d{1,3} )?
(?<=\d) (?! [.,]?\d | [eE][-+]?\d )
(?P<percent> \s?% )?
(?: \s(?P<scale> thousand | million | billion | trillion )\b )?
"""
"""What is no number by the rules (`1.2.3`, `1,50` where the point is decimal) is none at all."""
_SCALES = {"thousand": 3, "million": 6, "billion": 9, "trillion": 12}
_EXACT = Context(prec=400)
"""More digits than anybody means, and no number of three-digit exponent overflows."""


def _pattern(thousands: str, decimal: str) -> re.Pattern[str]:
    shape = _SHAPE.replace("THOUSANDS", thousands).replace("DECIMAL", re.escape(decimal))
    return re.compile(shape, re.VERBOSE)


_PATTERNS = {".": _pattern(",", "."), ",": _pattern(".", ",")}


class _Number(NamedTuple):
    value: Decimal
    shown: str
    end: int


class Number(Grader):
    """A number that is at most the tolerance away from `expected`.

    Signs, currency signs, separators between thousands, exponents, per-cent signs and the words
    thousand to trillion are understood; `2k` and numbers in words are not.
    """

    kind: Literal["number"]
    which: Literal["first", "last"] = "last"
    """Of several numbers in the answer."""
    absolute: Tolerance = 0.0
    relative: Tolerance = 0.0
    """Of `expected`; the wider of both tolerances holds."""
    decimal: Literal[".", ","] = "."
    """The sign in front of decimals; the other one of both then separates thousands."""
    percent: Literal["number", "fraction"] = "number"
    """What `45 %` is: 45, or 0.45."""

    def problem(self, item: Item) -> str | None:
        """See `Grader.problem`."""
        if isinstance(item.expected, bool) or self._expected(item) is None:
            return f"expected should be one number, not {as_text(item.expected)[:60]!r}"
        return None

    def grade(self, text: str, item: Item, *, cut: bool = False) -> Grade:
        """See `Grader.grade`; digits up to the very end of what was cut off may go on."""
        numbers = self._numbers(text)
        expected = self._expected(item)
        if not numbers or expected is None:
            return Grade("unparsed", 0.0, "no number")
        read = numbers[0 if self.which == "first" else -1]
        if cut and text[read.end :] in ("", ",", "."):
            return Grade("unparsed", 0.0, read.shown)
        away = abs(_EXACT.subtract(read.value, expected))
        allowed = max(
            Decimal(str(self.absolute)), _EXACT.multiply(Decimal(str(self.relative)), abs(expected))
        )
        return Grade("scored", float(away <= allowed), read.shown)

    def _expected(self, item: Item) -> Decimal | None:
        if isinstance(item.expected, int | float):  # JSON's own numbers have a point, always
            return Decimal(str(item.expected))
        numbers = self._numbers(as_text(item.expected))
        return numbers[0].value if len(numbers) == 1 else None

    def _numbers(self, text: str) -> list[_Number]:
        return [self._read(match) for match in _PATTERNS[self.decimal].finditer(text)]

    def _read(self, match: re.Match[str]) -> _Number:
        whole = "".join(filter(str.isdecimal, match["whole"] or "0"))
        digits = whole + (match["part"] or "").replace(",", ".") + (match["exponent"] or "")
        value = _EXACT.create_decimal(digits)
        if (match["sign"] or match["inner"] or "+") != "+":
            value = -value
        value = value.scaleb(_SCALES.get(match["scale"] or "", 0), _EXACT)
        if match["percent"] and self.percent == "fraction":
            value = value.scaleb(-2, _EXACT)
        return _Number(value, match[0].strip(), match.end())


GRADER: type[Grader] = Number
