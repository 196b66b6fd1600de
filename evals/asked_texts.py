"""What a suite asks, as texts by item: to be held against calibration texts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from evals.domain.items import load_items
from evals.errors import NeedError
from evals.perplexity import hub
from evals.perplexity.texts import load_documents

if TYPE_CHECKING:
    from pathlib import Path

    from evals.suite import Suite

HUB = "hub:"


def asked_texts(
    suite: Suite, base_dir: Path, python: Path | None, *, fetch: bool
) -> dict[str, str]:
    """Return item → text of all that a suite could ask, whatever its limit.

    Args:
        suite: a domain or perplexity suite.
        base_dir: what its relative paths count from.
        python: a Python with the `datasets` package, for `hub:`, `.parquet` and `.arrow`.
        fetch: whether what is not on this machine may be fetched.

    Raises:
        NeedError: it cannot be read here, or is a suite of lm-eval.
        SuiteError: it is wrong.
    """
    if suite.domain is not None:
        items, _ = load_items(suite.domain, base_dir)
        return {item.id: item.input for item in items}
    if suite.perplexity is not None:
        name = suite.perplexity.text
        if name.startswith(HUB) and not fetch and not hub.kept(name.removeprefix(HUB)).is_file():
            raise NeedError(f"{name} was not fetched to this machine")
        documents = load_documents(name, base_dir, python)
        return {str(place): document.text for place, document in enumerate(documents)}
    raise NeedError("its items are read by lm-eval alone")
