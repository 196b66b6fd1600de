"""What passes between the harness and the child process that has lm-eval: plain JSON.

The child reads one `Plan` from its standard input, which stays open as its life-line, and writes
one `Event` a line to its standard output.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

from evals.endpoint import Endpoint  # noqa: TC001 - msgspec reads it
from evals.errors import EvalError, NeedError, ReachError, ResumeError, RouteError, SuiteError
from evals.records import Route  # noqa: TC001 - msgspec reads it

if TYPE_CHECKING:
    from typing import Final

RESULTS_FILE = "lmeval.json"
"""What lm-eval itself says of each task, and what was noted."""
REQUESTS_FILE = "requests.jsonl"
"""One answer of the server a line, so that nothing is asked twice."""
LOG_FILE = "lmeval.log"

ERRORS: Final[dict[str, type[EvalError]]] = {
    kind.__name__: kind
    for kind in (EvalError, NeedError, ReachError, ResumeError, RouteError, SuiteError)
}


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """All that decides what is asked."""

    do: Literal["size", "ask", "read"]
    tasks: dict[str, int | None]
    """Task or group → few-shot examples; None: its own."""
    endpoint: Endpoint
    folder: str
    metrics: dict[str, str] = {}
    include_path: str | None = None
    limit: int | None = None
    """Items of each entry of `tasks` at most."""
    seed: int = 0
    route: Route = "echo"
    bos: Literal["auto", "always", "never"] = "auto"
    window: int | None = None
    pack: int = 32


class Sized(msgspec.Struct, frozen=True, kw_only=True, tag="sized"):
    """How much would be asked."""

    items: int
    requests: int
    prompt_tokens: int | None
    categories: dict[str, int]


class Asked(msgspec.Struct, frozen=True, kw_only=True, tag="asked"):
    """How far it is."""

    done: int
    total: int


class Texts(msgspec.Struct, frozen=True, kw_only=True, tag="texts"):
    """What a task asks."""

    task: str
    items: list[list[str]]
    """Of each item its text, and its parts as the data set has them."""


class Unread(msgspec.Struct, frozen=True, kw_only=True, tag="unread"):
    """A task whose items cannot be read here."""

    task: str
    text: str
    """Why, and what to do."""


class Failed(msgspec.Struct, frozen=True, kw_only=True, tag="failed"):
    """Why it ended."""

    error: str
    """A key of `ERRORS`."""
    text: str


Event = Sized | Asked | Texts | Unread | Failed
encode = msgspec.json.Encoder().encode
decode_plan = msgspec.json.Decoder(Plan).decode
decode_event = msgspec.json.Decoder(Event).decode
