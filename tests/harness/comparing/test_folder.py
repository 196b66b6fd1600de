"""A comparison's folder that `harness compare` wrote, weighed again."""

from pathlib import Path

from harness.comparing.compare import compare
from harness.comparing.record import read_comparison
from harness.evidence.evidence import read_evidence
from harness.rundir import RunFolder

FOLDER = Path(__file__).parents[3] / "tests/fixtures/runs/schema-1-comparison"


def test_a_real_folder_gives_the_same_numbers_from_its_samples() -> None:
    run = RunFolder(FOLDER)
    was = read_comparison(run)
    found = compare(
        read_evidence([run], anew=True),
        baseline=was.baseline,
        limits="e2e_p50_ms<=10000",
        allow_different=True,
    )
    assert found.builds == was.builds
    assert [(row.build, row.level, row.repeats) for row in found.load] == [
        (row.build, row.level, row.repeats) for row in was.load
    ]
    for row, before in zip(found.load, was.load, strict=True):
        for name, value in before.metrics.items():
            assert row.metrics[name].repeats == value.repeats, name
        for name, against in before.against.items():
            assert row.against[name].ratio == against.ratio, name
    assert {one.limit for held in found.recommendation.limits.values() for one in held} >= {
        "e2e_p50_ms<=10000"
    }
    assert all(server.ready_s is not None for server in found.servers)
