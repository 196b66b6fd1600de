"""Who may join a run, without processes: what a master asks for, and what it believes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from loadprofiles.records import Fleet
from loadprofiles.workers.crew import Crew
from loadprofiles.workers.joining import Door, is_loopback, is_proof, prove
from loadprofiles.workers.messages import (
    Challenge,
    Hello,
    Joined,
    Lines,
    Refused,
    code_of_this_package,
)

if TYPE_CHECKING:
    from collections.abc import Callable

SECRET = "one-4711"
NUMBER, CODE = code_of_this_package()


class Heard:
    """A crew, and what it says."""

    def __init__(self, secret: str | None) -> None:
        self.said: list[Any] = []
        self.door = Door(secret)
        self.crew = Crew(
            Fleet(local=1, remote=1), lambda _, said: self.said.append(said), self.door
        )

    def hello(self, client: str = "c1", **fields: Any) -> Any:  # noqa: ANN401
        base = Hello(token="t", slot=None, host="there", pid=5, version=NUMBER, code=CODE)
        self.crew.take(client, msgspec.structs.replace(base, **fields))
        return self.said[-1]


def proof(heard: Heard, secret: str, side: str = "worker", of: str = "t") -> str:
    return prove(secret, side, of, heard.door.nonce)


def test_one_who_proves_to_know_the_secret_joins_and_can_know_the_master() -> None:
    heard = Heard(SECRET)
    assert heard.hello() == Challenge(nonce=heard.door.nonce)
    assert heard.crew.members == {}
    joined = heard.hello(proof=proof(heard, SECRET))
    assert isinstance(joined, Joined)
    assert joined.index == 1
    assert is_proof(joined.proof, SECRET, "master", "t", heard.door.nonce)
    assert heard.hello() == joined, "said again where it was not heard"


@pytest.mark.parametrize(
    "false",
    [
        lambda heard: proof(heard, "another"),
        lambda heard: proof(heard, SECRET, side="master"),
        lambda heard: proof(heard, SECRET, of="u"),
        lambda _: prove(SECRET, "worker", "t", "of another cell"),
        lambda _: SECRET,
        lambda _: "",
    ],
)
def test_others_do_not_and_nothing_of_theirs_is_kept(false: Callable[[Heard], str]) -> None:
    heard = Heard(SECRET)
    heard.hello()
    refused = heard.hello(proof=false(heard))
    assert isinstance(refused, Refused)
    assert SECRET not in refused.why
    assert "does not know this run's HARNESS_JOIN_TOKEN" in heard.crew.refused[0]
    heard.crew.take("c1", Lines(count=1, data=b"a sample"))
    assert (heard.crew.members, heard.crew.problem) == ({}, None)


def test_a_local_slot_is_for_those_that_the_master_has_started() -> None:
    heard = Heard(None)
    assert isinstance(heard.hello(slot=0), Challenge)
    assert isinstance(heard.hello(slot=0, proof=proof(heard, SECRET)), Refused)
    assert isinstance(heard.hello(slot=0, proof=proof(heard, heard.door.local)), Joined)


def test_without_a_secret_all_are_let_in() -> None:
    assert Heard(None).hello() == Joined(index=1)


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "[::1]", "localhost", "0.0.0.0", "*", "[::]", "10.0.0.5", "gpu7"]
)
def test_which_addresses_others_reach(host: str) -> None:
    assert is_loopback(host) == host.startswith(("127.", "[::1", "local"))
