"""docs/method.md has a section for every field of measurements.json, in the order of the file."""

from __future__ import annotations

import json
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "method.md").read_text()
HEADINGS = re.findall(r"^#{2,4} (.+)$", TEXT, re.MULTILINE)
RUN = ROOT / "tests" / "fixtures" / "recomputed" / "bursts" / "measurements.json"


def anchor(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def test_a_section_for_each_field_in_the_order_of_the_file() -> None:
    part = TEXT.split("\n## measurements.json, field by field\n")[1].split("\n## ")[0]
    told = [name for line in re.findall(r"^### (`.+)$", part, re.MULTILINE)
            for name in re.findall(r"`(\w+)`", line)]  # fmt: skip
    facts = re.findall(r"`(\w+)`", part.split("### Facts of a cell\n")[1].split("\n### ")[0])
    numbers = json.loads(RUN.read_text())
    fields = [name for name in numbers["cells"][0] if name not in facts]
    fields += [name for name in numbers if name not in {"schema", "run", "cells"}]
    assert told == fields
    assert set(facts) >= {"id", "build", "level", "lengths"}


def test_headings_are_different_and_links_between_them_lead_to_one() -> None:
    anchors = [anchor(heading) for heading in HEADINGS]
    assert len(set(anchors)) == len(anchors)
    own = set(re.findall(r"\]\(#([^)]+)\)", TEXT))
    assert len(own) > 40
    assert own <= set(anchors)
