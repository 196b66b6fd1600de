"""Any TOML either loads or is bad input that names file and line: never another exception."""

from __future__ import annotations

import copy
import json
import re
import tempfile
import tomllib
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from evals.suite import builtin_suites
from harness.config import (
    CONFIG_FILE,
    Config,
    find_build,
    find_profile,
    find_rules,
    find_suite,
    load_config,
)
from harness.errors import BadInputError
from harness.gating.rules import builtin_rules
from harness.starter import TEMPLATE
from launchers.model import builtin_builds
from loadprofiles.profile import builtin_profiles
from tests.fuzzing.damage import Damage, changed, damaged, damages, place_of, within

FINDS = {"builds": find_build, "profiles": find_profile, "suites": find_suite, "rules": find_rules}
SHIPPED: dict[str, list[Path]] = {
    "builds": sorted(builtin_builds().values()),
    "profiles": sorted(builtin_profiles().values()),
    "suites": sorted(builtin_suites().values()),
    "rules": sorted(builtin_rules().values()),
}
DOCUMENTS: list[tuple[str, dict[str, Any]]] = [
    (kind, tomllib.loads(path.read_text())) for kind, paths in SHIPPED.items() for path in paths
]
STARTER = re.sub(r"(?m)^(#(?![ :])|@.*)", "", TEMPLATE.read_text())
"""What `harness init` writes, with all that is commented out."""
WHOLE: dict[str, Any] = {
    **tomllib.loads(STARTER),
    "builds": {one["name"]: one for kind, one in DOCUMENTS if kind == "builds"},
}


def text_of(value: object) -> str:
    """A value as TOML writes it within a line; what it cannot write is left out."""
    if isinstance(value, dict):
        pairs = (f"{json.dumps(str(key))} = {text_of(one)}" for key, one in value.items())
        return "{" + ", ".join(pair for pair in pairs if not pair.endswith(" = ")) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(filter(None, map(text_of, value))) + "]"
    if isinstance(value, str):
        return json.dumps(value.encode(errors="replace").decode()).replace("\x7f", "\\u007f")
    return "" if value is None else str(value).lower() if isinstance(value, bool) else repr(value)


def document(content: dict[str, Any]) -> str:
    return "".join(f"{json.dumps(str(key))} = {text_of(one)}\n" for key, one in content.items())


def load(kind: str, path: Path) -> object:
    if kind == "whole":
        return load_config(path)
    return FINDS[kind](str(path), Config())


def check(kind: str, text: bytes, folder: Path) -> str | None:
    """Load it; return what was said, None where nothing was wrong."""
    path = folder / (CONFIG_FILE if kind == "whole" else "one.toml")
    path.write_bytes(text)
    try:
        load(kind, path)
    except BadInputError as error:
        said = error.text
    else:
        return None
    assert re.search(rf"{path.name}:(\d+:)* \S", said), said
    return said


def test_the_documents_are_good(tmp_path: Path) -> None:
    for kind, content in DOCUMENTS:
        assert check(kind, document(content).encode(), tmp_path) is None
    assert check("whole", document(WHOLE).encode(), tmp_path) is None
    assert len(DOCUMENTS) > 30


@given(st.sampled_from([*DOCUMENTS, *[("whole", WHOLE)] * 20]), damages)
@settings(max_examples=100, deadline=None, derandomize=True)
def test_a_value_that_is_another_is_told_with_its_field(
    good: tuple[str, dict[str, Any]], damage: Damage
) -> None:
    kind, content = good
    places = list(within(content))
    *around, last = places[place_of(damage, len(places))]
    text = document(changed(copy.deepcopy(content), damage))
    with tempfile.TemporaryDirectory() as folder:
        said = check(kind, text.encode(), Path(folder))
    if said is not None and around and "not TOML" not in said:
        names = [name for name in (*around, last) if isinstance(name, str)]
        assert any(name in said for name in names[-2:]), (names, said)


@given(st.sampled_from(["whole", *FINDS]), st.integers(0, 1 << 32), st.binary(max_size=12))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_any_text_is_read_or_refused(kind: str, place: int, noise: bytes) -> None:
    text = STARTER if kind == "whole" else SHIPPED[kind][place % len(SHIPPED[kind])].read_text()
    for way in ("cut", "garbled"):
        garbled = damaged(text.encode(), (way, place, None, noise), lines=False)
        with tempfile.TemporaryDirectory() as folder:
            check(kind, garbled, Path(folder))
