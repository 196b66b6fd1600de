"""Every `harness …` line that the pages show is one that `harness` takes.

Nothing is run here: test_task_pages.py types what docs/tasks tells to type.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from harness.cli import build_app
from harness.cli.eval import evaluate

if TYPE_CHECKING:
    from cyclopts import App

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "launchers/models/MODEL_CARD.md", *ROOT.glob("docs/**/*.md")]
BLOCK = re.compile(r"^ *```\w*[^`\n]*\n(.*?)^ *```", re.MULTILINE | re.DOTALL)


def commands(page: Path) -> list[str]:
    """Those in a page's blocks, without what a shell does with them."""
    blocks = "\n".join(BLOCK.findall(page.read_text()))
    lines = re.sub(r"\\\n\s*", " ", blocks).splitlines()
    found = [match[1] for line in lines if (match := re.match(r" *(harness .*)", line))]
    return [re.split(r" [|>&]", line)[0] for line in found]


@pytest.fixture(scope="module")
def app() -> App:
    made = build_app()
    made["eval"].default(evaluate)  # as `harness.cli.run` does
    return made


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_are_as_the_page_says(page: Path, app: App) -> None:
    for line in commands(page):
        words = shlex.split(re.sub(r"(?<!--url) …", "", line), comments=True)
        app.parse_args(words[1:], exit_on_error=False, print_error=False)


def test_commands_are_found() -> None:
    assert len([line for page in PAGES for line in commands(page)]) > 50
