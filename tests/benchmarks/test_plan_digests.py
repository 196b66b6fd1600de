"""Plans are the kept ones, byte for byte, on whatever Python and in whatever locale this runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import plan_digests
import pytest

PROFILES = Path(plan_digests.ROOT / "loadprofiles/profiles").glob("*.toml")


@pytest.mark.parametrize(
    "how",
    [
        {"PYTHONHASHSEED": "1", "TZ": "Asia/Tokyo", "LC_ALL": "C"},
        {"PYTHONHASHSEED": "4242", "TZ": "America/New_York", "LC_ALL": "C.UTF-8"},
    ],
    ids=lambda how: how["TZ"],
)
def test_plans_are_the_kept_ones(how: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, plan_digests.__file__, "--check"],
        env=os.environ | how,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_profile_has_its_digests_and_no_two_are_alike() -> None:
    kept = json.loads(plan_digests.KEPT.read_text())
    assert {name.partition(",")[0] for name in kept if "," in name} == {
        path.stem for path in PROFILES
    }
    assert len(set(kept.values())) == len(kept)


def test_another_plan_would_be_seen(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["plan_digests.py", "--check"])
    monkeypatch.setattr(plan_digests, "plans", dict)
    with pytest.raises(SystemExit) as ended:
        plan_digests.main()
    assert ended.value.code == 1
    assert "steady, openai-chat differs" in capsys.readouterr().out
