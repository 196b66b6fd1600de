"""What the mock can be told."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING

from launchers.errors import LauncherError, suggest
from launchers.mock.counting import PAGE_LIES
from launchers.mock.engines import ENGINES
from launchers.mock.faults import FAULTS
from launchers.mock.lies import LIES, text_of_lies

if TYPE_CHECKING:
    from pathlib import Path

_PORTS = 65536
_MOST = 1e9


class OptionsError(LauncherError):
    """The mock was told what it cannot do; one line a mistake."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """Everything the mock can be told. Without `step_ms` tokens come at fixed intervals."""

    host: str = "127.0.0.1"
    """Address to listen on."""
    port: int = 0
    """0: a free one."""
    ttft_ms: float = 50.0
    """From the request (or from its slot) to the first token."""
    itl_ms: float = 10.0
    """Between tokens."""
    jitter_ms: float = 0.0
    """Up to so much is added to an answer's TTFT."""
    slots: int = 0
    """Answers at once, others wait; 0: any number."""
    step_ms: float = 0.0
    """One engine step every so often gives every running answer one token, all at once."""
    step_per_answer_ms: float = 0.0
    """Each answer that gets a token makes the step so much longer."""
    tokens_per_step: int = 1
    """Tokens that a step gives each running answer; their events leave in one write."""
    prefill_tokens_per_step: int = 0
    """Prompt tokens that one step can take in; 0: any number."""
    kv_tokens: int = 0
    """Tokens that fit into the KV cache; 0: any number. The latest answers are pushed back when it
    is full, and computed anew."""
    natural_tokens: int = 0
    """Mean length at which answers end by themselves, unless told to `ignore_eos`; 0: never."""
    words: bool = False
    """Answer with varied words instead of one token over and over."""
    stamps: bool = False
    """Each token's text is the moment it was sent, in CLOCK_MONOTONIC ns."""
    seed: int = 0
    """Of faults, jitter, lengths and words."""
    faults: tuple[tuple[str, float], ...] = ()
    """Names and shares of the requests."""
    close: bool = False
    """Close the connection after every answer."""
    api_key: str = field(default="", repr=False)
    """The bearer token to insist on."""
    tls_cert: Path | None = None
    """PEM file of the certificate (chain): speak https."""
    tls_key: Path | None = None
    """PEM file of its key, where the certificate's file does not hold it."""
    tokenizer: Path | None = None
    """Folder with a `tokenizer.json`; without one every byte is a token."""
    max_model_len: int = 1 << 20
    """Context length in tokens."""
    knows: Path | None = None
    """JSON lines of prompts and the answers that are known to them (`knowledge.py`)."""
    accuracy: float = 1.0
    """Share of the known prompts that are answered right."""
    wrong_in: tuple[tuple[str, float], ...] = ()
    """Categories, and the share of each that is answered wrong."""
    damage: float = 0.0
    """0…1: how much of what the model has learnt is lost, as by quantizing."""
    race: tuple[float, float] = (0.0, 0.0)
    """With so many other requests under way, that share of the right answers becomes wrong."""
    lies: tuple[tuple[str, float | None], ...] = ()
    """Names of lies and their numbers, None for the usual one."""
    page_lies: tuple[tuple[str, float], ...] = ()
    """Names of lies of the metrics page, and their numbers."""
    engine: str = "any"
    """Whose pages it has, and whose limits."""
    truth: Path | None = None
    """Write what was sent when to this file, one JSON object an answer."""
    bodies: Path | None = None
    """Write each request's body to this file, one JSON object a request: its id, its number (which
    `words` depend on) and the body."""
    die_after: int = 0
    """Exit with 3 after so many answers."""

    @property
    def graded(self) -> bool:
        """Whether streams, too, are the model's. One token over and over is cheaper for load."""
        return bool(self.tokenizer or self.knows or self.lies or self.engine != "any")

    def check(self) -> None:
        """Look at all of it.

        Raises:
            OptionsError: naming every mistake.
        """
        problems = [
            f"{item.name}: {value} is no number from 0 to {_MOST:.0e}"
            for item in fields(self)
            if isinstance(value := getattr(self, item.name), int | float)
            and not 0 <= value <= _MOST
        ]
        if self.port >= _PORTS:
            problems.append(f"port: {self.port} is above {_PORTS - 1}")
        problems += [
            f"fault: no fault {name!r}: {suggest(name, FAULTS)}"
            for name, _ in self.faults
            if name not in FAULTS
        ]
        shares = [share for _, share in self.faults]
        if not all(0 <= share <= 1 for share in shares) or sum(shares) > 1 + 1e-9:
            problems.append("fault: shares lie between 0 and 1, and add up to no more than 1")
        if not self.tokens_per_step:
            problems.append("tokens_per_step: must be 1 or more")
        if not self.step_ms:
            given = {
                "step_per_answer_ms": self.step_per_answer_ms,
                "tokens_per_step": self.tokens_per_step > 1,
                "prefill_tokens_per_step": self.prefill_tokens_per_step,
                "kv_tokens": self.kv_tokens,
            }
            problems += [
                f"{name}: needs step_ms, the time that one engine step takes"
                for name, value in given.items()
                if value
            ]
        problems += [
            f"{name}: {value} is no share from 0 to 1"
            for name, value in [
                ("accuracy", self.accuracy),
                ("damage", self.damage),
                ("race", self.race[1]),
                *self.wrong_in,
            ]
            if not 0 <= value <= 1
        ]
        problems += [
            f"lie: no lie {name!r}: {suggest(name, LIES)}"
            for name, _ in self.lies
            if name not in LIES
        ]
        if self.engine not in ENGINES:
            problems.append(f"engine: no engine {self.engine!r}: {suggest(self.engine, ENGINES)}")
        if self.race[1] and self.knows is None:
            problems.append("race: needs knows, the prompts that are answered")
        if not self.max_model_len:
            problems.append("max_model_len: must be 1 or more")
        if self.tls_key is not None and self.tls_cert is None:
            problems.append("tls_key: needs tls_cert, the certificate")
        problems += [
            f"{name}: {path} is no file"
            for name in ("tls_cert", "tls_key")
            if (path := getattr(self, name)) is not None and not path.is_file()
        ]
        if problems:
            raise OptionsError("\n".join(problems))


def parse_fault(text: str) -> tuple[str, float]:
    """Read `NAME[:SHARE]`.

    Raises:
        OptionsError: there is no such fault, or the share is no number.
    """
    name = text.partition(":")[0]
    if name not in FAULTS:
        raise OptionsError(f"no fault {name!r}: {suggest(name, FAULTS)}")
    return parse_share(text, "fault")


def parse_share(text: str, what: str) -> tuple[str, float]:
    """Read `NAME[:SHARE]`.

    Raises:
        OptionsError: the share is no number.
    """
    name, _, share = text.partition(":")
    try:
        return name, float(share or 1.0)
    except ValueError:
        raise OptionsError(f"{what} {name}: {share!r} is no number") from None


def parse_lie(text: str) -> tuple[str, float | None]:
    """Read `NAME[:NUMBER]`.

    Raises:
        OptionsError: there is no such lie, or the number is none.
    """
    name, _, number = text.partition(":")
    if name not in LIES:
        raise OptionsError(f"no lie {name!r}; there are:\n{text_of_lies()}")
    return name, parse_share(text, "lie")[1] if number else None


def parse_page_lie(text: str) -> tuple[str, float]:
    """Read `NAME[:NUMBER]`.

    Raises:
        OptionsError: there is no such lie, or the number is none.
    """
    name, _, number = text.partition(":")
    if name not in PAGE_LIES:
        told = "\n".join(f"{one}  {words}" for one, (words, _) in PAGE_LIES.items())
        raise OptionsError(f"no lie {name!r} of the metrics page; there are:\n{told}")
    return name, parse_share(text, "page-lie")[1] if number else PAGE_LIES[name][1]


def parse_race(text: str) -> tuple[float, float]:
    """Read `REQUESTS:SHARE`.

    Raises:
        OptionsError: one of them is no number.
    """
    count, share = parse_share(text, "race")
    if not count.isdigit():
        raise OptionsError(f"race: {text!r} is not REQUESTS:SHARE, e.g. 4:0.2")
    return float(count), share
