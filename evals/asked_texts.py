"""What a suite asks, as texts by item: to be held against calibration texts."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from evals.domain.items import load_items
from evals.errors import NeedError
from evals.lmeval import read_texts
from evals.lmeval.process import INSTALL
from evals.perplexity import hub
from evals.perplexity.texts import load_documents

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from evals.suite import Suite

HUB = "hub:"
_NO_SETS = frozenset(("json", "csv", "text", "parquet", "arrow", "generator", "downloads"))
"""Folders of files that were on this machine before: what `datasets` makes of somebody's own."""
LINK = "`harness eval link` makes copies of yours known to lm-eval"


class AskedTexts(NamedTuple):
    """What could be read of a suite."""

    items: Mapping[str, Sequence[str]]
    """Item → its text, and where they are known its parts."""
    unread: Mapping[str, str]
    """Part of the suite whose items could not be read → why, and what to do."""


def asked_texts(
    suite: Suite, base_dir: Path, python: Path | None, lmeval: Path | None, *, fetch: bool
) -> AskedTexts:
    """Return all that a suite could ask, whatever its limit.

    Args:
        suite: of any kind.
        base_dir: what its relative paths count from.
        python: a Python with the `datasets` package, for `hub:`, `.parquet` and `.arrow`.
        lmeval: a Python with lm-eval, for its tasks.
        fetch: whether what is not on this machine may be fetched.

    Raises:
        NeedError: nothing of it can be read here; the message says how it could be.
        SuiteError: it is wrong.
    """
    if suite.domain is not None:
        items, _ = load_items(suite.domain, base_dir)
        return AskedTexts({item.id: [item.input] for item in items}, {})
    if suite.perplexity is not None:
        name = suite.perplexity.text
        text = name.removeprefix(HUB)
        wanted = name.startswith(HUB) and text in hub.TEXTS  # what is mistyped is wrong, not absent
        if wanted and not fetch and not hub.kept(text).is_file():
            raise NeedError(
                f"{name} was not fetched to this machine; --evaluation {suite.name} fetches it"
            )
        documents = load_documents(name, base_dir, python)
        return AskedTexts({str(n): [document.text] for n, document in enumerate(documents)}, {})
    if lmeval is None:
        raise NeedError(f"its items are lm-eval's, which is not installed: {INSTALL}")
    settings = suite.lmeval
    if settings is not None and settings.include_path is None and not fetch and not _has_sets():
        raise NeedError(f"no data set of lm-eval's is in this machine's cache; {LINK}")
    found, unread = read_texts(suite, base_dir, lmeval, fetch=fetch)
    if not found:
        raise NeedError(f"{'; '.join(unread.values()) or 'its tasks have no items'}; {LINK}")
    return AskedTexts(found, {name: f"{why}; {LINK}" for name, why in unread.items()})


def _has_sets() -> bool:
    """Whether the cache of `datasets`, or of the hub, holds any data set.

    The places are theirs: huggingface_hub 1.x `constants.py`, datasets 5.x `config.py`.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser()
    home = Path(os.environ.get("HF_HOME", cache / "huggingface")).expanduser()
    made = Path(os.environ.get("HF_DATASETS_CACHE", home / "datasets")).expanduser()
    fetched = Path(os.environ.get("HF_HUB_CACHE", home / "hub")).expanduser()
    there = (path.name for path in made.glob("*/"))
    return any(name not in _NO_SETS for name in there) or any(fetched.glob("datasets--*"))
