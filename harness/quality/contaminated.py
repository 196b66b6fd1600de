"""What a build was calibrated on must not hold what is asked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from evals.domain.planning import overlap
from evals.errors import SuiteError
from evals.kinds import Job
from harness.errors import BadInputError
from harness.measuring.measurement import Caveat

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.quality.request import EvalRequest

_SHOWN: Final = 3


def contaminated(request: EvalRequest) -> Iterator[Caveat]:
    """Yield a caveat for each domain suite whose items the calibration file holds.

    Raises:
        BadInputError: the file cannot be read.
    """
    if request.calibration is None:
        return
    for suite, base_dir in request.suites:
        if suite.domain is None:
            continue
        job = Job(suite=suite, base_dir=base_dir, folder=base_dir, route="generative")
        try:
            found = overlap(job, request.calibration)
        except SuiteError as error:
            raise BadInputError(str(error)) from error
        if found.overlapping:
            named = ", ".join((found.exact or found.overlapping)[:_SHOWN])
            yield Caveat(
                "contaminated",
                f"{suite.name}: {len(found.overlapping)} of {found.items} items "
                f"({found.share:.1%}) share 13 words in a row with {request.calibration.name}, "
                f"{len(found.exact)} stand in it whole ({named}, …). A build calibrated on it has "
                "seen the questions: leave them out of the suite or of the calibration text.",
                invalidates=bool(found.exact),
            )
