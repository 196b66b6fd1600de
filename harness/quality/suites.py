"""The files that suites and servers are made of: by them, the same is known again."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from evals.suite import Suite
from harness.errors import BadInputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from harness.quality.record import SuiteFacts

_TASK_FILES = {".yaml", ".yml", ".py"}


def files_of(suite: Suite, base_dir: Path) -> dict[str, str]:
    """Return the SHA-256 of each file of the user's that decides what is asked or how it is graded.

    By name as the suite has it; of lm-eval's `include_path` its task files by their paths in it.
    """
    return {name: _sha256(path) for name, path in _files(suite, base_dir) if path.is_file()}


def _files(suite: Suite, base_dir: Path) -> Iterator[tuple[str, Path]]:
    if suite.domain is not None:
        yield suite.domain.items, base_dir / suite.domain.items
        rules = getattr(suite.domain.grader, "rules", None)
        if isinstance(rules, str):
            yield rules, base_dir / rules
    if suite.perplexity is not None:
        yield suite.perplexity.text, base_dir / suite.perplexity.text
    if suite.lmeval is not None and suite.lmeval.include_path is not None:
        folder = base_dir / suite.lmeval.include_path
        for path in sorted(folder.rglob("*")):
            if path.suffix in _TASK_FILES:
                yield str(path.relative_to(folder)), path


def tokenizer_sha256(folder: Path | str | None) -> str | None:
    """Return the SHA-256 of a folder's `tokenizer.json`; None where there is none."""
    file = None if folder is None else Path(folder) / "tokenizer.json"
    return None if file is None or not file.is_file() else _sha256(file)


def demand_same(
    known: Sequence[SuiteFacts], suites: Sequence[tuple[Suite, Path]], folder: Path
) -> None:
    """Make sure that suites are as they were when a run was begun.

    Raises:
        BadInputError: one was edited since, or its files; names what differs.
    """
    now = {suite.name: (suite, base_dir) for suite, base_dir in suites}
    found = [
        f"{facts.name}: {', '.join(differing)}"
        for facts in known
        if facts.name in now and (differing := _differing(facts, *now[facts.name]))
    ]
    if found:
        raise BadInputError(
            f"not the suites that {folder} was begun with, {'; '.join(found)}",
            hint="Answers to both would be mixed: undo the change, or start a run of its own.",
        )


def _differing(facts: SuiteFacts, suite: Suite, base_dir: Path) -> list[str]:
    found = []
    if facts.settings:
        try:  # fields that came with a newer version have their defaults
            before = _flat(Suite.model_validate(facts.settings).model_dump(mode="json"))
        except ValidationError:
            before = _flat(facts.settings)
        now = _flat(suite.model_dump(mode="json"))
        found += [
            f"{name} was {before.get(name)!r} and is {now.get(name)!r}"
            for name in sorted({*before, *now})
            if before.get(name) != now.get(name)
        ]
    if facts.files:
        files = files_of(suite, base_dir)
        found += [
            f"{name} has changed" if name in files else f"{name} is gone"
            for name, digest in facts.files.items()
            if files.get(name) != digest
        ]
        found += [f"{name} is new" for name in files if name not in facts.files]
    return found


def _flat(value: Any, name: str = "") -> dict[str, Any]:  # noqa: ANN401 - any JSON
    """Return the leaves of nested dicts by their dotted paths."""
    if not isinstance(value, dict):
        return {name: value}
    return {
        path: leaf
        for key, part in value.items()
        for path, leaf in _flat(part, f"{name}.{key}" if name else key).items()
    }


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
