"""What the pages of docs/tasks tell to type is typed; those with real servers: …_vllm.py."""

from __future__ import annotations

import re
import shutil
from typing import TYPE_CHECKING

import pytest

from tests.contract.taskpages import ROOT, TASKS, Reader, blocks, codes

if TYPE_CHECKING:
    from pathlib import Path

    from tests.contract.conftest import Follow

VLLM = {"choose-a-quantization", "gate-in-ci", "write-a-profile", "write-a-suite"}
PAGES = sorted(path.stem for path in TASKS.glob("*.md"))
CLONE = ("harness", "launchers", "loadprofiles", "evals")
ITS_TESTS = ("conftest.py", "launchers/conftest.py", "launchers/test_vllm.py")
MOST_WORDS = 750


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", sorted({*PAGES} - VLLM - {"add-an-engine"}))
def test_what_a_page_tells_to_type_works(name: str, follow: Follow) -> None:
    assert follow(name).told.run


@pytest.mark.timeout(600)
def test_the_engine_of_the_page_is_found_and_serves(tmp_path: Path, follow: Follow) -> None:
    clone = tmp_path / "clone"
    for part in CLONE:
        shutil.copytree(ROOT / part, clone / part, ignore=shutil.ignore_patterns("__pycache__"))
    (clone / "tests" / "launchers").mkdir(parents=True)
    for name in ITS_TESTS:
        shutil.copy(ROOT / "tests" / name, clone / "tests" / name)
    shutil.copy(ROOT / "pyproject.toml", clone)
    reader = follow("add-an-engine", clone)
    assert re.search(r"^toy +toy +demo:fp16 .* yes *$", reader.shown, re.MULTILINE)
    [run] = (clone / "runs").iterdir()
    assert (run / "servers" / "toy" / "server.log").is_file()


@pytest.mark.parametrize("name", PAGES)
def test_a_page_can_be_followed(name: str) -> None:
    """It is short, leads on, and says of each command how it ends and of each file its name."""
    page = (TASKS / f"{name}.md").read_text()
    words = len(re.sub(r"^```.*?^```", "", page, flags=re.MULTILINE | re.DOTALL).split())
    assert words <= MOST_WORDS
    assert "## Next" in page
    assert page.count("```") == 2 * len(blocks(page))
    typed = [block for block in blocks(page) if block.language == "sh"]
    assert [block for block in typed if block.commands]
    assert all(block.info.keys() <= {"needs", "not-run"} for block in typed)
    documented = {int(code) for code in re.findall(r"^\| (\d+) \|", page, re.MULTILINE)}
    asked = {code for block in typed for command in block.commands for code in codes(command)}
    assert asked - {0, 2, 3} <= documented


def test_a_wrong_page_is_found_to_be_wrong(tmp_path: Path) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    reader = Reader(folder, tmp_path / "programs")
    with pytest.raises(AssertionError, match=r"ended with 2 instead of \{0\}"):
        reader.follow("```sh\nharness list profils\n```\n")
    with pytest.raises(AssertionError, match=r"ended with 0 instead of \{1\}"):
        reader.follow("```sh\ntrue  # exit code 1\n```\n")
    with pytest.raises(AssertionError, match="does not say to write"):
        reader.follow('```toml file="a.toml"\n```\n')
    with pytest.raises(AssertionError, match="ended:"):
        reader.follow("```sh\necho no server &\n```\n")
    reader.leave()
    reader.follow('```sh not-run="wants a GPU"\nfalse\n```\n')
    assert reader.told.left_out == ["false (wants a GPU)"]
