from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from harness import __version__, calibration, ladder
from harness.__main__ import main
from harness.calibration import Calibration, Step, find, save, sentence, summarize
from harness.doctor import Check, examine
from harness.ladder import Load, climb, loads, server_is_full
from harness.measuring.truth import Spread
from harness.provenance import machine

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Climb = Callable[["Tries"], Calibration]

SPREAD = Spread(p50=4.2, p99=21.0, max=30.0, n=400)


def step(level: float = 32, tokens_per_s: float = 1255, **fields: object) -> Step:
    return Step(
        **{
            "pattern": "staggered", "level": level, "window_s": 4.0, "answers": 400,
            "tokens_per_s": tokens_per_s, "offered_tokens_per_s": tokens_per_s,
            "ttft_kernel_us": SPREAD,
            "ttft_user_us": Spread(p50=53.0, p99=165.0, max=900.0, n=400),
            "itl_kernel_us": SPREAD, "itl_user_us": SPREAD,
            "unsure": 0.0, "hidden_gaps": 0.0, "hidden_firsts": 0.0,
            "merged_reads": 0, "late_merges": 0,
            "lag_us": SPREAD, "late_us": None,
            "cpu": 0.05, "cpu_us_per_token": 32.5, "run_delay": 0.001, "server_cpu": 0.05,
            "server_cpu_us_per_token": 9.0, "rss_peak_mib": 80.0, "valid": True, "caveats": [],
            "problems": [], "tries": 1, **fields,
        }
    )  # fmt: skip


def calibrated(*steps: Step, **fields: object) -> Calibration:
    return Calibration(
        **{
            "made": "2026-11-25T19:00:00+00:00", "harness_version": __version__,
            "machine": machine(), "server_cpus": [0], "client_cpus": [1], "window_s": 4.0,
            "kernel_stamps": True, "steps": list(steps), "ended": "client", **fields,
        }
    )  # fmt: skip


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path))
    return tmp_path


def test_it_is_kept_for_this_machine(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find() is None
    kept = calibrated(step())
    path = save(kept)
    assert path is not None
    assert path.parent == cache
    assert find() == kept
    monkeypatch.setattr(calibration, "machine", lambda: machine() | {"kernel": "another"})
    assert find() is None


def test_it_is_not_kept_for_another_version(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(calibrated(step()))
    monkeypatch.setattr(calibration, "__version__", "another")
    assert find() is None
    assert list(cache.iterdir())


def test_a_damaged_file_is_none(cache: Path) -> None:
    path = save(calibrated(step()))
    assert path is not None
    path.write_text("{")
    assert find() is None
    assert list(cache.iterdir())


def test_one_without_a_valid_step_does_not_replace_one_that_has_any(cache: Path) -> None:
    assert cache.is_dir()
    good, invalid = calibrated(step()), calibrated(step(problems=["invalid"], valid=False))
    assert save(invalid) is not None, "better than nothing"
    assert save(good) is not None
    assert save(invalid) is None
    assert find() == good
    later = calibrated(step(), made="2026-11-26T19:00:00+00:00")
    assert save(later) is not None
    assert find() == later


def test_such_a_one_exits_with_4_and_says_so(
    cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cache.is_dir()
    invalid = calibrated(step(problems=["invalid"], valid=False))
    monkeypatch.setattr("harness.cli.calibrate.climb", lambda *_: invalid)
    save(calibrated(step()))
    assert main(["calibrate"]) == 4
    assert "keep to the calibration of before" in capsys.readouterr().err
    assert find() == calibrated(step())


def test_doctor_says_whether_there_is_one(cache: Path) -> None:
    assert cache.is_dir()

    def check() -> Check:
        return next(one for one in examine() if one.name == "calibration")

    assert check().status == "warning"
    assert "harness calibrate" in str(check().fix)
    save(calibrated(step()))
    assert check().status == "ok"
    assert "calibrated on 2026-11-25" in check().text


def test_floor_and_ceiling_are_of_exact_staggered_steps() -> None:
    found = calibrated(
        step(1, 500),
        step(32, 1255),
        step(256, 10_050),
        step(256, 99_999, pattern="at once"),
        step(1024, 40_000),
        step(1536, 61_000, problems=["too late"]),
    )
    assert found.floor == found.steps[1], "nearest to 32 streams"
    assert found.ceiling == found.steps[4]
    assert sentence(summarize(found)) == (
        "Client calibrated on 2026-11-25: TTFT error p50/p99 4/21 µs by kernel stamps, 53/165 µs "
        "by its own clock (32 streams); exact up to 40,000 tokens/s (1,024 streams)."
    )


def test_the_sentence_says_what_is_special() -> None:
    assert "harness calibrate" in sentence(None)
    assert "harness calibrate" in sentence({})
    assert "exact at no load" in sentence(summarize(calibrated(step(problems=["late"]))))
    invalid = calibrated(step(problems=["invalid"], valid=False))
    assert "no step of the ladder (tokens spread out in time) was valid" in sentence(
        summarize(invalid)
    )
    alone = calibrated(step(), server_cpus=[0], client_cpus=[0], ended="ladder")
    assert sentence(summarize(alone)).endswith("with the server on the same CPU.")
    assert "at least up to" in sentence(summarize(alone))
    blind = calibrated(step(ttft_kernel_us=None, itl_kernel_us=None), kernel_stamps=False)
    assert "53/165 µs by the client's own clock" in sentence(summarize(blind))


def test_a_ladder_has_all_patterns() -> None:
    found = list(loads((1, 32, 256, 1024)))
    assert [(load.pattern, load.level) for load in found] == [
        ("staggered", 1), ("staggered", 32), ("staggered", 256), ("at once", 256),
        ("poisson", 200), ("staggered", 1024),
    ]  # fmt: skip
    for load in found:
        answers = load.offered_answers_per_s * load.window_s(1.0)
        assert answers >= 150 * 0.99, "each window holds enough answers"
    assert {load.pattern for load in loads((8,))} == {"staggered", "at once", "poisson"}


class Tries:
    """In place of `run_step`: says of each load and try what came of it."""

    def __init__(self, *bad: tuple[float, int], full: float | None = None) -> None:
        self.bad, self.full, self.made = bad, full, list[tuple[float, int]]()

    def __call__(self, load: Load, *rest: object) -> Step:
        tries = rest[-1]
        self.made.append((load.level, tries))
        full = {"server_cpu": 0.99, "tokens_per_s": 1000} if load.level == self.full else {}
        problems = ["late"] if (load.level, tries) in self.bad else []
        values = {"problems": problems, "tries": tries, "tokens_per_s": load.level * 40} | full
        offered = {"offered_tokens_per_s": load.level * 40}
        return step(load.level, pattern=load.pattern, **values | offered)


@pytest.fixture
def climbed(monkeypatch: pytest.MonkeyPatch) -> Climb:
    def run(tries: Tries) -> Calibration:
        monkeypatch.setattr(ladder, "run_step", tries)
        return climb((1, 256, 1024, 2048), 1.0, lambda _load, _step: None)

    return run


def test_a_failed_step_is_tried_once_more(climbed: Climb) -> None:
    tries = Tries((1024, 1))
    found = climbed(tries)
    assert [made for made in tries.made if made[0] == 1024] == [(1024, 1), (1024, 2)]
    assert (found.ended, found.ceiling.level) == ("ladder", 2048)


def test_the_ladder_ends_where_the_client_does(climbed: Climb) -> None:
    tries = Tries((1024, 1), (1024, 2))
    found = climbed(tries)
    assert (found.ended, found.ceiling.level) == ("client", 256)
    assert 2048 not in {level for level, _ in tries.made}


def test_a_failed_step_of_few_streams_or_another_pattern_does_not_end_it(climbed: Climb) -> None:
    found = climbed(Tries((1, 1), (1, 2), (200, 1), (200, 2)))
    assert found.ended == "ladder"
    assert sum(not step.exact for step in found.steps) == 2


def test_the_ladder_ends_where_the_server_does(climbed: Climb) -> None:
    found = climbed(Tries(full=1024))
    assert found.ended == "server"
    assert server_is_full(found.steps[-1])
