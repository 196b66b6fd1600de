"""The limits of a user or a gate, as text: `ttft_p95_ms@c8<=500, retained(domain)>=95%`.

    limits     = limit, (comma or space), …
    limit      = subject, operator, value
    subject    = METRIC[@LEVEL]                 of a load: as an SLO names it
               | ratio(METRIC[@LEVEL])          the same ÷ the baseline's
               | FUNCTION[(SUITE[/PART])]       of answers; a part is a task or a category
    LEVEL      = c8 (8 streams), r2.5 (2.5 requests per second); without one: every level measured
    operator   = "<=" | ">="

How a limit is held against what was measured: `harness.comparing.held`.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from harness.errors import BadInputError, did_you_mean
from harness.evidence.metrics import DISTRIBUTIONS, canonical
from harness.measuring.slo import LATENCIES, SPEEDS, STATISTIC, WHOLE_CELL, parse_slo, spelled

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from harness.measuring.slo import Operator

Kind = Literal["load", "server", "quality"]

FUNCTIONS: Final[Mapping[str, Operator]] = {
    "score": ">=", "retained": ">=", "difference": ">=", "perplexity": "<=",
    "perplexity_rise": "<=",
}  # fmt: skip
"""Of a suite's answers: the score; ours ÷ the baseline's; ours − the baseline's; the perplexity;
ours ÷ the baseline's − 1 of that."""
SERVER: Final[Mapping[str, Operator]] = {
    "memory_peak_gib": "<=", "weights_gib": "<=", "kv_cache_gib": ">=", "kv_cache_tokens": ">=",
    "ready_s": "<=", "first_token_s": "<=",
}  # fmt: skip
"""Of a server as a whole. `memory_peak_gib` may be of one level, too."""
_PER_LEVEL: Final = "memory_peak_gib"
_RATIO: Final = "ratio"
_SLIP_OF_RATIO: Final = 10
"""A ratio from here on without a percent sign is a slip: `<=150` means 150 %."""
_EXAMPLE: Final = (
    "limits look like ttft_p95_ms@c8<=500,aggregate_tps>=100,ratio(e2e_p50_ms)<=1.2,"
    "memory_peak_gib<=20,retained(domain)>=95%,perplexity_rise<=5%"
)
_LIMIT = re.compile(
    r"(?:(?P<function>[A-Za-z]\w*)\s*\(\s*(?P<argument>[^()]*?)\s*\)|(?P<metric>[A-Za-z][\w.]*))"
    r"(?:\s*@\s*(?P<level>[\w.]+))?\s*(?P<operator>[<>=!~]+)\s*(?P<value>[^\s,<>=]+(?:\s*%)?)"
)
_LEVEL = re.compile(r"([cr])(\d+\.?\d*|\.\d+)")
_NUMBER = re.compile(r"([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*(%?)(.*)")


@dataclass(frozen=True, kw_only=True)
class Level:
    """One level of a load."""

    kind: Literal["concurrency", "rate"]
    value: float

    def __str__(self) -> str:
        return f"{self.kind[0]}{self.value:g}"

    def is_(self, level: Mapping[str, float]) -> bool:
        """Whether a cell's level is this one."""
        return level.get(self.kind) == self.value


_NOTHING: Final = {"retained": "99%", "difference": "-1%", "perplexity_rise": "1%"}
"""Functions that compare with the baseline, and a limit of each that some number of items shows."""


@dataclass(frozen=True, kw_only=True)
class Limit:
    """One bound."""

    text: str
    """As it was written, without blanks."""
    kind: Kind
    metric: str
    """`ttft_p95_ms`, `memory_peak_gib`, … or the name of a function of answers."""
    ratio: bool = False
    """Of ours ÷ the baseline's."""
    suite: str | None = None
    """A suite, or a task of one; None: all that there are."""
    part: str | None = None
    """A task or category of the suite."""
    level: Level | None = None
    """None: every one."""
    operator: Operator
    value: float
    """In the metric's unit; shares and ratios as such, 5 % is 0.05."""

    @property
    def needs_baseline(self) -> bool:
        """Whether it cannot be judged of a build alone."""
        return self.ratio or self.metric in {"retained", "difference", "perplexity_rise"}

    def holds(self, value: float) -> bool:
        """Whether `value` is within the bound."""
        return value <= self.value if self.operator == "<=" else value >= self.value


def parse_limits(text: str, where: str = "--slo", *, recorded: bool = False) -> tuple[Limit, ...]:
    """Read limits separated by commas or blanks.

    Args:
        text: what the user wrote.
        where: the flag or field that it stands in, for the text of an error.
        recorded: a run keeps it, perhaps an older one's: numbers in which a percent sign may be
            missing are read as they were then.

    Raises:
        BadInputError: naming every limit that cannot be read, and what to write instead.
    """
    found: list[Limit] = []
    problems: list[BadInputError] = []
    rest = text.strip()
    while rest:
        match = _LIMIT.match(rest)
        if match is None:
            piece = rest.split(",")[0].strip()
            problems.append(BadInputError(f'{where}: cannot read "{piece}"', hint=_EXAMPLE))
            rest = rest.partition(",")[2].strip()
            continue
        try:
            found.append(_limit(match, recorded=recorded))
        except BadInputError as error:
            problems.append(BadInputError(f"{where}: {error.text}", hint=error.hint))
        rest = rest[match.end() :].lstrip(", \t\n")
    if len(problems) == 1:
        raise problems[0]
    if problems:
        hints = dict.fromkeys(error.hint for error in problems if error.hint)
        raise BadInputError("\n".join(e.text for e in problems), hint="\n".join(hints) or None)
    if not found:
        raise BadInputError(f"{where}: it names no limit", hint=_EXAMPLE)
    return tuple(found)


def parse_limit(text: str, where: str = "--slo", *, recorded: bool = False) -> Limit:
    """Read exactly one limit, as `parse_limits` does.

    Raises:
        BadInputError: it cannot be read, or there are several.
    """
    found = parse_limits(text, where, recorded=recorded)
    if len(found) != 1:
        raise BadInputError(
            f'{where}: "{text}" holds {len(found)} limits', hint="Write one, or several apart."
        )
    return found[0]


def metrics_of(limits: Iterable[Limit]) -> list[str]:
    """Return the load metrics that limits speak of, each once."""
    return list(dict.fromkeys(limit.metric for limit in limits if limit.kind == "load"))


def _limit(found: re.Match[str], *, recorded: bool) -> Limit:
    text = re.sub(r"\s+", "", found[0])
    function, argument = found["function"], found["argument"]
    operator, value = found["operator"], re.sub(r"\s+", "", found["value"])
    if function is None:
        name = found["metric"]
        if name in FUNCTIONS:
            return _of_answers(text, name, "", found["level"], operator, value, recorded=recorded)
        return _of_load(text, name, found["level"], operator, value, recorded=recorded)
    if function == _RATIO:
        metric, _, level = argument.partition("@")
        if level and found["level"]:
            raise BadInputError(f'"{text}": it names two levels', hint=_EXAMPLE)
        return _of_load(
            text,
            metric.strip(),
            level.strip() or found["level"],
            operator,
            value,
            ratio=True,
            recorded=recorded,
        )
    if function not in FUNCTIONS:
        near = did_you_mean(function, [*FUNCTIONS, _RATIO])
        raise BadInputError(
            f'"{text}": unknown function "{function}"{near}',
            hint=f"one of {', '.join([*FUNCTIONS, _RATIO])}",
        )
    return _of_answers(text, function, argument, found["level"], operator, value, recorded=recorded)


def _of_load(
    text: str,
    name: str,
    level: str | None,
    operator: str,
    value: str,
    *,
    ratio: bool = False,
    recorded: bool,
) -> Limit:
    at, name = _level(text, level), canonical(name)
    if name in SERVER:
        if at is not None and name != _PER_LEVEL:
            raise BadInputError(
                f'"{text}": {name} is of the server, not of a level', hint=f"write {name} alone"
            )
        _check_operator(text, name, operator, SERVER[name])
        return Limit(
            text=text,
            kind="server" if at is None else "load",
            metric=name,
            ratio=ratio,
            level=at,
            operator=SERVER[name],
            value=_ratio(text, value, recorded=recorded) if ratio else _positive(text, name, value),
        )
    _known(text, name)
    try:  # names, units and sides are those of an SLO
        [one] = parse_slo(
            f"{name}{operator}{1 if ratio else value}", recorded=recorded or ratio
        ).limits
    except BadInputError as error:
        complaint = error.text.removeprefix("--slo ").removeprefix("--slo: ")
        raise BadInputError(complaint, hint=error.hint) from error
    statistic = one.statistic if one.metric in WHOLE_CELL else one.statistic or "p95"
    return Limit(
        text=text,
        kind="load",
        metric=spelled(one.metric, statistic),
        ratio=ratio,
        level=at,
        operator=one.operator,
        value=_ratio(text, value, recorded=recorded) if ratio else one.value,
    )


def _known(text: str, name: str) -> None:
    """Refuse a name that is neither a load's nor a server's nor a function's."""
    found = STATISTIC.search(name)
    base = STATISTIC.sub("", name, count=1) if found else name
    stems = {metric.rpartition("_")[0] for metric in (*LATENCIES, *SPEEDS)}
    loads = (*LATENCIES, *SPEEDS, *WHOLE_CELL, *stems)
    if base in loads or base.rpartition("_")[0] in stems:
        return
    near = did_you_mean(name, [*DISTRIBUTIONS, *WHOLE_CELL, *SERVER, *FUNCTIONS])
    raise BadInputError(f'"{text}": unknown metric "{name}"{near}', hint=_EXAMPLE)


def _of_answers(
    text: str,
    function: str,
    argument: str,
    level: str | None,
    operator: str,
    value: str,
    *,
    recorded: bool,
) -> Limit:
    if level is not None:
        raise BadInputError(
            f'"{text}": answers are not graded at a level', hint=f"write {function}({argument})"
        )
    right = FUNCTIONS[function]
    _check_operator(text, function, operator, right)
    suite, slash, part = (word.strip() for word in argument.partition("/"))
    if argument and (not suite or (slash and not part)):
        raise BadInputError(
            f'"{text}": "{argument}" names no suite', hint="write SUITE, or SUITE/CATEGORY"
        )
    if function == "perplexity":
        number = _positive(text, function, value)
    else:
        number = _share(text, function, value, recorded=recorded)
    return Limit(
        text=text,
        kind="quality",
        metric=function,
        suite=suite or None,
        part=part or None,
        operator=right,
        value=number,
    )


def _level(text: str, level: str | None) -> Level | None:
    if level is None:
        return None
    found = _LEVEL.fullmatch(level)
    if found is None or float(found[2]) <= 0:
        raise BadInputError(
            f'"{text}": "@{level}" is no level',
            hint="write @c8 for 8 streams, @r2.5 for 2.5 requests per second",
        )
    return Level(kind="concurrency" if found[1] == "c" else "rate", value=float(found[2]))


def _check_operator(text: str, name: str, operator: str, right: Operator) -> None:
    if operator != right:
        kind = "an upper" if right == "<=" else "a lower"
        raise BadInputError(
            f'"{text}": {name} has {kind} limit, so its operator is {right}, not {operator}',
            hint=f"write {text.replace(operator, right)}",
        )


def _number(text: str, value: str) -> tuple[float, bool, str]:
    found = _NUMBER.fullmatch(value)
    if found is None or not math.isfinite(float(found[1])):
        raise BadInputError(f'"{text}": "{value}" is no number', hint=_EXAMPLE)
    return float(found[1]), bool(found[2]), found[3]


def _ratio(text: str, value: str, *, recorded: bool) -> float:
    number, percent, unit = _number(text, value)
    if unit or number <= 0:
        raise BadInputError(
            f'"{text}": a ratio is a positive number without a unit', hint="write 1.2 or 120%"
        )
    if not percent and number >= _SLIP_OF_RATIO and not recorded:
        raise BadInputError(
            f'"{text}": {value} is {value} times the baseline\'s',
            hint=f"write {value}% or {number / 100:g} if a percentage was meant, "
            f"{100 * number:g}% if not",
        )
    return number / 100 if percent else number


def _positive(text: str, name: str, value: str) -> float:
    number, percent, unit = _number(text, value)
    own = name.rpartition("_")[2] if name in SERVER and not name.endswith("_tokens") else ""
    if percent or unit.lower() not in ("", own) or number <= 0:
        wanted = f"in {own}" if own else "as a plain number"
        raise BadInputError(f'"{text}": {name} is given {wanted} above 0', hint=_EXAMPLE)
    return number


def _share(text: str, function: str, value: str, *, recorded: bool) -> float:
    """Read a share. Of 1 and more it needs its percent sign: `<=2` means 2 %, and reads 200 %.

    Refused is also what no number of items could show, that nothing at all is lost.
    """
    number, percent, unit = _number(text, value)
    share = number / 100 if percent else number
    low = -1.0 if function == "difference" else 0.0
    high = 1.0 if function in {"score", "difference"} else 2.0
    plain = not percent and not unit and not (recorded and share <= high)
    if plain and 1 <= abs(number) <= 100 and not (function == "retained" and number == 1):  # noqa: PLR2004
        raise BadInputError(
            f'"{text}": a {function} of {value} needs its percent sign',
            hint=f"write {value}% or {number / 100:g}",
        )
    if unit or not low <= share <= high:
        raise BadInputError(
            f'"{text}": a {function} is a share between {low:g} and {high:g}', hint=_EXAMPLE
        )
    if not recorded and function in _NOTHING and not _loses(function, share):
        raise BadInputError(
            f'"{text}": that nothing is lost cannot be shown',
            hint=f"write e.g. {_NOTHING[function]}",
        )
    return share


def _loses(function: str, share: float) -> bool:
    """Whether a limit allows any loss, so that it can be shown to be kept."""
    if function == "perplexity_rise":
        return share > 0
    return share < (1 if function == "retained" else 0)
