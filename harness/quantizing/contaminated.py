"""Calibration samples must not hold what a suite asks; the rule is `evals.contamination`'s."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from evals.asked_texts import asked_texts
from evals.contamination import contamination
from evals.errors import EvalError, NeedError
from harness.errors import BadInputError
from harness.quality.checks import LM_EVAL
from harness.quantizing.card import Checked, ContaminationNote
from launchers.environments import installed

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

    Args:
        request: what is to be made.
        samples: the calibration samples.
        python: a Python with the `datasets` package, where one is there.

    Raises:
        BadInputError: a suite that was named cannot be read; or samples hold what one asks, and
            that was not allowed.
    """
    checked: list[Checked] = []
    unread: dict[str, str] = {}
    told: list[str] = []
    texts = [sample.text for sample in samples]
    for suite, base_dir in request.suites:
        try:
            lmeval = installed(LM_EVAL)
            items, parts = asked_texts(
                suite, base_dir, python or lmeval, lmeval, fetch=request.named
            )
        except NeedError as error:
            if request.named:
                raise BadInputError(f"--evaluation: {suite.name}: {error}") from error
            unread[suite.name] = str(error)
            continue
        except EvalError as error:
            raise BadInputError(f"--evaluation: {suite.name}: {error}") from error
        if parts and request.named:
            listed = "\n".join(parts.values())
            raise BadInputError(f"--evaluation: {suite.name}: {listed}")
        unread |= {f"{suite.name}: {part}": why for part, why in parts.items()}
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
            shown = "".join(f"\n  {name}: {_line(items[name][0])}" for name in examples)
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
        suites=tuple(checked),
        not_checked=tuple(unread),
        why_not=unread,
        allowed=request.allow_contaminated,
    )


def _line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _SHOWN else f"{line[: _SHOWN - 1]}…"
