"""Calibration samples must not hold what a suite asks; the rule is `evals.contamination`'s."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from evals.asked_texts import asked_texts
from evals.contamination import contamination
from evals.errors import EvalError, NeedError
from harness.errors import BadInputError
from harness.quantizing.card import Checked, ContaminationNote

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from harness.quantizing.request import QuantizeRequest
    from harness.quantizing.samples import Sample

_EXAMPLES: Final = 3
_SHOWN: Final = 70


def check(
    request: QuantizeRequest, samples: Sequence[Sample], python: Path | None
) -> ContaminationNote:
    """Hold the samples against all suites.

    Raises:
        BadInputError: a suite that was named cannot be read; or samples hold what one asks, and
            that was not allowed.
    """
    checked: list[Checked] = []
    unread: list[str] = []
    told: list[str] = []
    texts = [sample.text for sample in samples]
    for suite, base_dir in request.suites:
        try:
            items = asked_texts(suite, base_dir, python, fetch=request.named)
        except NeedError as error:
            if request.named:
                raise BadInputError(f"--evaluation: {suite.name}: {error}") from error
            unread.append(suite.name)
            continue
        except EvalError as error:
            raise BadInputError(f"--evaluation: {suite.name}: {error}") from error
        found = contamination(items, texts)
        examples = (*found.exact, *(name for name in found.overlapping if name not in found.exact))
        examples = examples[:_EXAMPLES]
        checked.append(
            Checked(
                suite=suite.name,
                items=found.items,
                short=found.short,
                exact=len(found.exact),
                overlapping=len(found.overlapping),
                examples=examples,
            )
        )
        if found.overlapping:
            shown = "".join(f"\n  {name}: {_line(items[name])}" for name in examples)
            told.append(
                f"{suite.name}: {len(found.overlapping)} of {found.items} items share 13 words in "
                f"a row with samples, {len(found.exact)} stand in them whole, e.g.{shown}"
            )
    if told and not request.allow_contaminated:
        raise BadInputError(
            "calibration samples hold what is asked: the build would look better than it is\n"
            + "\n".join(told),
            hint="Calibrate on other texts; --allow-contaminated goes on, and the card says so.",
        )
    return ContaminationNote(
        suites=tuple(checked), not_checked=tuple(unread), allowed=request.allow_contaminated
    )


def _line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _SHOWN else f"{line[: _SHOWN - 1]}…"
