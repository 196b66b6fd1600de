"""What the master of a cell and its workers say to each other, inside Locust's own messages.

One custom message of Locust's, `CHANNEL`, carries each of these as MessagePack bytes. Everything
long is asked for by its receiver, or acknowledged by it, so that neither side's memory grows and
ZeroMQ never has to drop anything.
"""

from __future__ import annotations

import hashlib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import msgspec

from loadprofiles.records import DriveReport, Progress  # noqa: TC001 - msgspec reads them
from loadprofiles.workers.share import Share  # noqa: TC001 - likewise

CHANNEL = "harness"
SILENCE_S = 10.0
"""Each side says something once a second; after this long without a word the other is lost."""
PIECE_BYTES = 128 * 1024
"""About so much of bodies or samples goes in one message: a worker in its window stands still
for the fraction of a millisecond that it takes to send it."""
UNACKNOWLEDGED = 8
"""So many pieces of samples may be on their way."""
START_LEAD_NS = 500_000_000
"""Between the master's word and the start that all workers share."""

OVER, MORE = 0, 10
"""How a worker's process ends when its cell is over: with nothing to come, or with more cells."""
UNREACHED, REFUSED, LEFT = 3, 4, 130
"""Or else: it has no master, it cannot be used, or it was told to leave."""


RUN_GOES_ON = b"stop"
"""What the master hears on its standard input where only its cell is to end early."""


class Orders(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker's process is told by whoever starts it, as its argument in JSON."""

    host: str
    port: int
    """Of the master."""
    token: str
    """Tells this worker from others, from cell to cell."""
    folder: str
    """An empty folder, of its own; removed by whoever has made it."""
    slot: int | None = None
    """Its index where the master has started it."""
    api_key_env: str | None = None
    """The environment variable with the bearer token; what the plan names is asked for only by
    a worker that the master has started itself."""
    timeout_s: float = 60.0
    """How long to try to reach the master."""


class _Message(msgspec.Struct, kw_only=True, tag=True):
    pass


# --- worker to master ----------------------------------------------------------


class Hello(_Message):
    """I am here. Repeated until it is answered."""

    token: str
    """Who this worker is, from cell to cell."""
    slot: int | None
    """Its index where the master itself has started it."""
    host: str
    pid: int
    version: str
    code: str
    """Of the code that it runs."""
    proof: str | None = None
    """That it knows the secret (`joining`); None before it is asked for one."""


class Ping(_Message):
    """What time is it?"""

    sent_ns: int


class Want(_Message):
    """Send me bodies, from my number `first` on."""

    first: int


class Ready(_Message):
    """I am warm."""


class Beat(_Message):
    """I live, and am so far."""

    progress: Progress | None = None


class Measured(_Message):
    """All of my measured requests have ended; by the master's clock."""

    at_ns: int


class Lines(_Message):
    """Samples, as they are in the file."""

    count: int
    data: bytes


class Manifest(_Message):
    """All that I have sent, and how I fared."""

    samples: int
    digest: str
    report: DriveReport | None
    """None for a worker that had no share."""
    offset_ns: int
    error_ns: int
    drift_ns: int


class Trouble(_Message):
    """I cannot go on."""

    text: str
    """Why, as what is said of this worker: "has no …"."""


# --- master to worker ----------------------------------------------------------


class Challenge(_Message):
    """Prove that you know the secret, for this."""

    nonce: str


class Joined(_Message):
    """You are worker so and so."""

    index: int
    proof: str | None = None
    """That the master knows the secret; None where none is asked for."""


class Pong(_Message):
    """It is `master_ns`, here."""

    sent_ns: int
    master_ns: int


class Task(_Message):
    """Do this; None: nothing is left for you in this cell."""

    share: Share | None
    authorities: bytes | None = None
    """The PEM file of `ca_file`: the plan's is a path of the master's machine."""


class Pieces(_Message):
    """Bodies, a line each."""

    first: int
    data: bytes


class Start(_Message):
    """The window opens then, by the master's clock."""

    at_ns: int


class Release(_Message):
    """All have measured: hold the load no longer."""


class Stop(_Message):
    """Send nothing more, and hand over what you have."""


class Got(_Message):
    """A piece of samples is safe."""


class Bye(_Message):
    """The cell is over."""

    more: bool
    """Whether others follow."""


class Refused(_Message):
    """I do not want you."""

    why: str


FromWorker = Hello | Ping | Want | Ready | Beat | Measured | Lines | Manifest | Trouble
FromMaster = (
    Challenge | Joined | Pong | Task | Pieces | Start | Release | Stop | Got | Bye | Refused
)

_encode = msgspec.msgpack.Encoder().encode
_from_worker = msgspec.msgpack.Decoder(FromWorker).decode
_from_master = msgspec.msgpack.Decoder(FromMaster).decode


def envelope(message: FromWorker | FromMaster) -> dict[str, bytes]:
    """Return a message as the data of one of Locust's."""
    return {"": _encode(message)}


def from_worker(data: dict[str, bytes]) -> FromWorker:
    """Return what a worker has said."""
    message: FromWorker = _from_worker(data[""])
    return message


def from_master(data: dict[str, bytes]) -> FromMaster:
    """Return what the master has said."""
    message: FromMaster = _from_master(data[""])
    return message


def code_of_this_package() -> tuple[str, str]:
    """Return the version, for people, and a digest of the code, which is what has to agree."""
    digest = hashlib.blake2b(digest_size=8)
    for path in sorted(Path(__file__).parents[1].rglob("*.py")):
        digest.update(path.read_bytes())
    try:
        number = version("serving-load-harness")
    except PackageNotFoundError:
        number = "unknown"
    return number, digest.hexdigest()
