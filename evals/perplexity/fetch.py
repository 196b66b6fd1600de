"""A program for a Python that has `datasets`: `python fetch.py NAME|FILE` → JSON lines on stdout.

It imports nothing of the harness, so any Python can run it. The rows are those that the papers'
code reads (GPTQ's datautils.py, github.com/IST-DASLab/gptq): WikiText-2 raw, `test`, every row a
line of it; C4, the first 1,100 documents of the first validation file. For calibration C4's first
training file, of which the first 2,000 documents are enough here.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

C4_DOCUMENTS = 1100
C4_TRAIN_DOCUMENTS = 2000
COLUMNS = ("text", "page")


def wikitext2() -> Iterable[str]:
    """Return the rows of WikiText-2's raw test split."""
    from datasets import load_dataset

    rows = load_dataset("Salesforce/wikitext", "wikitext-2-raw-v1", split="test")
    return (str(row["text"]) for row in rows)


def c4() -> Iterable[str]:
    """Return the first documents of C4's validation split."""
    from datasets import load_dataset

    files = {"validation": "en/c4-validation.00000-of-00008.json.gz"}
    rows = load_dataset("allenai/c4", data_files=files, split="validation")
    return (str(row["text"]) for row in rows.select(range(C4_DOCUMENTS)))


def c4_train() -> Iterable[str]:
    """Return the first documents of C4's training split, of which no more is fetched."""
    from datasets import load_dataset

    files = {"train": "en/c4-train.00000-of-01024.json.gz"}
    rows = load_dataset("allenai/c4", data_files=files, split="train", streaming=True)
    return (str(row["text"]) for row in rows.take(C4_TRAIN_DOCUMENTS))


def table(path: Path) -> Iterable[str]:
    """Return the documents of a Parquet or Arrow file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if path.suffix == ".parquet":
        found = pq.read_table(path)
    else:
        with pa.memory_map(str(path)) as source:
            try:
                found = pa.ipc.open_stream(source).read_all()  # as `datasets` keeps them
            except pa.ArrowInvalid:
                found = pa.ipc.open_file(source).read_all()
    columns = [name for name in COLUMNS if name in found.column_names]
    if not columns:
        raise SystemExit(f"no column text or page; there are {', '.join(found.column_names)}")
    return (str(text) for text in found.column(columns[0]).to_pylist())


def main() -> None:
    """Write the documents."""
    what = sys.argv[1]
    known = {"wikitext2": wikitext2, "c4": c4, "c4-train": c4_train}
    documents = known[what]() if what in known else table(Path(what))
    for text in documents:
        sys.stdout.write(json.dumps({"text": text}) + "\n")


if __name__ == "__main__":
    main()
