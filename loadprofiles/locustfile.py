"""For locustfiles of one's own: our streaming client as a user, our profiles as a shape.

    from locust import task
    from loadprofiles.locustfile import StreamingUser

    class Mine(StreamingUser):
        host = "http://127.0.0.1:8000/v1"

        @task
        def ask(self) -> None:
            self.stream("Why is the sky blue?", max_tokens=64)

docs/locust.md says more. This module is for processes that `locust` has started.
"""

from __future__ import annotations

import locust  # isort: skip - patches the standard library, so before everything else
import os
import tomllib
from pathlib import Path
from time import perf_counter_ns as now_ns
from typing import TYPE_CHECKING, ClassVar

import gevent
import gevent.event
import gevent.queue
import numpy as np
from locust import LoadTestShape, User, constant, task
from locust.runners import LocalRunner, WorkerRunner

from loadprofiles.client import Client, Target
from loadprofiles.driving.cell import show_in_statistics
from loadprofiles.errors import ProfileError
from loadprofiles.profile import Profile, builtin_profiles
from loadprofiles.traffic.schedule import OpenArrival
from loadprofiles.traffic.timetable import departures_of
from loadprofiles.wire.clock import TimerFd

if TYPE_CHECKING:
    from collections.abc import Mapping

    from locust.env import Environment

    from loadprofiles.dialects import Prompt
    from loadprofiles.records import Sample

SAMPLES_VARIABLE = "SAMPLES"
"""Environment variable with the file that every request's exact record is added to."""
_clients: dict[Target, Client] = {}


class StreamingUser(User):
    """A user whose requests go through our engine: one for all users of a process.

    Every request is one entry of Locust's statistics (from sending to the last token), and its
    time to first token one of the row `ttft`.
    """

    abstract = True
    wait_time = constant(0)
    model: str | None = None
    """The model to ask for; None: the first that the server lists."""
    dialect = "openai-completions"
    headers: ClassVar[Mapping[str, str]] = {}
    api_key_env: str | None = None
    """Environment variable whose value is sent as a bearer token."""
    timeout_s = 60.0
    """A request without its end after this long has failed."""

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        self.client = self._client()

    def _client(self) -> Client:
        """The process's client for what this class asks; made when the first user wants it."""
        target = Target(
            url=self.host or "",
            model=self.model,
            dialect=self.dialect,
            headers=tuple(sorted(self.headers.items())),
            api_key_env=self.api_key_env,
            timeout_s=self.timeout_s,
        )
        if target not in _clients:
            _clients[target] = made = Client(target, _samples_file(self.environment))
            self.environment.events.quitting.add_listener(made.flush)
        return _clients[target]

    def stream(self, prompt: Prompt, max_tokens: int = 128, name: str | None = None) -> Sample:
        """Ask, wait for the end of the answer, and return its record.

        Args:
            prompt: a text, or a list of `loadprofiles.dialects.Message`.
            max_tokens: the longest answer.
            name: of the row in Locust's statistics; the path unless given.
        """
        sample = self.client.request(prompt, max_tokens)
        show_in_statistics(self.environment, name or self.client.name, sample)
        return sample


class OpenLoopUser(StreamingUser):
    """One user that sends a profile's whole schedule, each request at its moment.

    Locust's own users wait for an answer before they ask again, so a slow server gets less load.
    This one does not wait. Override `prompt`. When the last answer is in, the test ends.
    """

    abstract = True
    fixed_count = 1
    profile = "steady"
    """A name of `harness list profiles` with requests per second, or a TOML file."""
    level: float = 1.0
    """Its mean rate, requests per second."""
    duration_s: float | None = None
    """Instead of the profile's own window."""
    seed = 0

    def prompt(self, number: int) -> tuple[Prompt, int]:
        """Return what the request `number` (from 0) asks, and the longest answer."""
        raise NotImplementedError

    @task
    def send_schedule(self) -> None:
        """Send everything, wait for the answers, and end the test."""
        if not isinstance(self.environment.runner, LocalRunner):
            raise RuntimeError(  # noqa: TRY004 - it is about how Locust was started
                "OpenLoopUser sends the whole schedule from one process; to share it out, use "
                "`harness load --workers N` or `--expect-workers N`"
            )
        due = departures_of(_profile(self.profile, self.duration_s), self.level, seed=self.seed)
        # Written ahead: nothing but sending is left to do at a departure.
        asked = [self.prompt(number) for number in range(len(due))]
        answers: gevent.queue.SimpleQueue[Sample] = gevent.queue.SimpleQueue()
        alarm = TimerFd()
        start_ns, position = now_ns() + 50_000_000, 0

        def send() -> None:  # from the hub, where no greenlet can be late
            nonlocal position
            alarm.acknowledge()
            while position < len(due) and (due_ns := start_ns + due[position]) <= now_ns():
                self.client.submit(*asked[position], answers.put, due_ns)
                position += 1
            if position < len(due):
                alarm.arm(start_ns + due[position])

        watcher = gevent.get_hub().loop.io(alarm.fd, 1)
        watcher.start(send)
        alarm.arm(start_ns + due[0])
        try:
            for _ in due:
                show_in_statistics(self.environment, self.client.name, answers.get())
        finally:
            watcher.stop()
            alarm.close()
        runner = self.environment.runner
        if self.environment.web_ui is None:
            gevent.spawn(runner.quit)
        else:
            gevent.spawn(runner.stop)
        gevent.event.Event().wait()  # until it has: Locust would begin the task again


def profile_shape(
    profile: str, level: float, duration_s: float | None = None, users_per_rps: float = 1.0
) -> type[LoadTestShape]:
    """Return a shape that follows a profile with users of one's own.

    Locust asks a shape once a second how many USERS there are to be; it knows no arrivals. So the
    number of users follows the profile's rate, and they send as they will: `users_per_rps` says
    how many of them make one request per second (1 for `wait_time = constant_throughput(1)`). Of
    a closed-loop profile, `level` is the number of users. For exact arrivals: `OpenLoopUser`.

    Raises:
        ProfileError: no such profile, or it cannot be driven at that level.
    """
    shape = _profile(profile, duration_s)
    shape.check_level(level)
    if shape.duration_s is None:
        raise ProfileError("duration_s", "a shape needs a length; give duration_s")
    length_s, arrival = shape.duration_s, shape.arrival

    class ProfileShape(LoadTestShape):
        """See `profile_shape`."""

        abstract = True  # what derives from it is not

        def __init_subclass__(cls, **kwargs: object) -> None:
            super().__init_subclass__(**kwargs)
            cls.abstract = False

        def tick(self) -> tuple[int, float] | None:
            """Return how many users there are to be now, and how fast they may come."""
            now_s = self.get_run_time()  # type: ignore[no-untyped-call]
            if now_s >= length_s:
                return None
            users = level
            if isinstance(arrival, OpenArrival):
                rate = arrival.relative_rate(np.array([now_s]), length_s)
                users = level * float(rate[0]) * users_per_rps
            return round(users), max(users, 1.0)

    return ProfileShape


def _profile(name: str, duration_s: float | None) -> Profile:
    path = builtin_profiles().get(name, Path(name))
    if not path.is_file():
        known = ", ".join(builtin_profiles())
        raise ProfileError("profile", f"no profile {name!r}; there are {known}, or a TOML file")
    fields = tomllib.loads(path.read_text())
    if duration_s is not None:
        fields = {**fields, "duration_s": duration_s, "requests": None}
    return Profile.model_validate({"name": path.stem, **fields})


def _samples_file(environment: Environment) -> Path | None:
    """Where this process's records go: each worker of Locust's has a file of its own."""
    name = os.environ.get(SAMPLES_VARIABLE)
    if not name:
        return None
    runner = environment.runner
    return Path(f"{name}.{runner.worker_index}" if isinstance(runner, WorkerRunner) else name)


__all__ = ["OpenLoopUser", "StreamingUser", "locust", "profile_shape"]
