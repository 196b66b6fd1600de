"""Who drives a cell: the workers as they join, speak, and are lost.

Knows no event loop: `master` hands in what Locust has received, and how to send.
"""

from __future__ import annotations

from time import perf_counter_ns as now_ns
from typing import TYPE_CHECKING, BinaryIO

from loadprofiles.workers import messages
from loadprofiles.workers.fleet import Member, how_it_died
from loadprofiles.workers.joining import JOIN_VARIABLE, is_proof, prove
from loadprofiles.workers.messages import PIECE_BYTES

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Mapping

    from loadprofiles.prompts.bodies import Bodies
    from loadprofiles.records import Fleet
    from loadprofiles.workers.joining import Door
    from loadprofiles.workers.messages import FromMaster, FromWorker


class Crew:
    """The workers of one cell. The first thing that goes wrong is its `problem`."""

    def __init__(self, fleet: Fleet, send: Callable[[str, FromMaster], None], door: Door) -> None:
        self._fleet = fleet
        self._door = door
        self._send = send
        self.wanted = fleet.local + fleet.remote
        self.members: dict[int, Member] = {}
        self._by_client: dict[str, Member] = {}
        self.refused: list[str] = []
        """Who wanted to join and could not, and why."""
        self.problem: str | None = None
        self.start_ns: int | None = None
        """When the window was opened."""
        self.over = False
        """Whether the cell is; a worker that comes now wants the next."""
        self.samples: BinaryIO | None = None
        self.bodies: Bodies | None = None
        self._code = messages.code_of_this_package()

    @property
    def everyone(self) -> list[Member]:
        """All that have joined, by index."""
        return [self.members[index] for index in sorted(self.members)]

    def say(self, member: Member, message: FromMaster) -> None:
        """Tell one worker something."""
        self._send(member.client_id, message)

    def take(self, client_id: str, message: FromWorker) -> None:  # noqa: C901 - one case a message
        """Do what a worker's message asks for."""
        if isinstance(message, messages.Hello):
            self._greet(client_id, message)
            return
        member = self._by_client.get(client_id)
        if member is None:
            return
        member.heard_ns = now_ns()
        match message:
            case messages.Ping():
                self.say(member, messages.Pong(sent_ns=message.sent_ns, master_ns=now_ns()))
            case messages.Want():
                self._send_bodies(member, message.first)
            case messages.Ready():
                member.ready = True
            case messages.Beat():
                member.progress = message.progress
            case messages.Measured():
                member.measured_ns = message.at_ns
            case messages.Lines():
                self._keep(member, message)
            case messages.Manifest():
                member.hand_over(message)
                if member.problem is not None:
                    self.fail(member, member.problem)
            case messages.Trouble() if member.here:
                self.lose(member, message.text)

    def _greet(self, client_id: str, hello: messages.Hello) -> None:
        """Take a worker in, or say why not."""
        known = self._by_client.get(client_id)
        if known is not None:  # it has not heard our answer yet
            self._welcome(known)
            return
        if self.over:
            return  # it wants the next cell's master
        who = f"process {hello.pid} on {hello.host}"
        if not self._has_proved(client_id, hello, who):
            return
        number, code = self._code
        member = Member(index=self._index_of(hello), client_id=client_id, hello=hello)
        if hello.code != code:
            why = (
                f"{who} runs version {hello.version} (code {hello.code}) and this master {number} "
                f"(code {code}): install the same version of serving-load-harness on both"
            )
            self.refused.append(why)
            self.say(member, messages.Refused(why=why))
            return
        twice = next((m for m in self.members.values() if m.hello.token == hello.token), None)
        if twice is not None:
            self.say(member, messages.Refused(why="it has joined this run already"))
            self.fail(twice, f"joined twice, the second time as {who}")
        elif member.index >= self.wanted:
            why = f"{who} joined as one worker more than the {self.wanted} that were asked for"
            self.say(member, messages.Refused(why=why))
            self.problem = self.problem or why
        else:
            self.members[member.index] = self._by_client[client_id] = member
            self._welcome(member)

    def _has_proved(self, client_id: str, hello: messages.Hello, who: str) -> bool:
        """Whether a worker knows the secret; if not, ask it to prove that, or refuse it."""
        secret, nonce = self._door.secret_of(hello), self._door.nonce
        if secret is None or is_proof(hello.proof, secret, "worker", hello.token, nonce):
            return True
        if hello.proof is None:
            self._send(client_id, messages.Challenge(nonce=nonce))
        else:
            why = f"does not know this run's {JOIN_VARIABLE}"
            self.refused.append(f"{who} {why}")
            hint = f"it {why}: set the variable there to what the master has, or has printed"
            self._send(client_id, messages.Refused(why=hint))
        return False

    def _welcome(self, member: Member) -> None:
        hello, secret = member.hello, self._door.secret_of(member.hello)
        proof = secret and prove(secret, "master", hello.token, self._door.nonce)
        self.say(member, messages.Joined(index=member.index, proof=proof))

    def knows(self, client_id: str) -> bool:
        """Whether a worker has joined under that name."""
        return client_id in self._by_client

    def _index_of(self, hello: messages.Hello) -> int:
        if hello.slot is not None:
            return hello.slot
        taken = sum(member.hello.slot is None for member in self.members.values())
        return self._fleet.local + taken

    def _send_bodies(self, member: Member, first: int) -> None:
        assert self.bodies is not None  # noqa: S101 - it has its task
        assert member.share is not None  # noqa: S101 - and that has bodies
        lines: list[bytes] = []
        size = 0
        for position in range(first, len(member.share.lines)):
            lines.append(self.bodies[member.share.lines[position]] + b"\n")
            size += len(lines[-1])
            if size > PIECE_BYTES:
                break
        self.say(member, messages.Pieces(first=first, data=b"".join(lines)))

    def _keep(self, member: Member, lines: messages.Lines) -> None:
        """Write a worker's samples down."""
        assert self.samples is not None  # noqa: S101 - it has its task
        if self.samples.closed:
            return  # from one that was given up
        self.samples.write(lines.data)
        member.digest.update(lines.data)
        member.received += lines.count
        self.say(member, messages.Got())

    def fail(self, member: Member, what: str) -> None:
        """Note the first thing that went wrong: what follows may be its consequence."""
        member.problem = member.problem or f"{what}, {self._when()}"
        self.problem = self.problem or f"{member.title} {member.problem}"

    def lose(self, member: Member, why: str) -> None:
        """Expect nothing more from a worker."""
        member.lost = True
        self.fail(member, why)

    def _when(self) -> str:
        if self.start_ns is None:
            return "before the window was opened"
        return f"{(now_ns() - self.start_ns) / 1e9:.1f} s after the window was opened"

    def watch(self, local: Mapping[int, subprocess.Popen[bytes]]) -> None:
        """Notice who has died, of those that this machine runs, and who is silent."""
        for index, process in local.items():
            status = process.poll()
            member = self.members.get(index)
            if status is None or self.over or (member is not None and not member.here):
                continue
            if member is not None:
                self.lose(member, how_it_died(status))
            else:
                self.problem = self.problem or (
                    f"worker {index} (process {process.pid}) {how_it_died(status)} before it joined"
                )
        at_ns = now_ns()
        for member in self.members.values():
            if member.silent(at_ns):
                self.lose(member, f"has said nothing for {messages.SILENCE_S:g} s")
