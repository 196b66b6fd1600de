"""Task files for a user's own copies of data sets, so that lm-eval needs no hub.

Each YAML includes lm-eval's own and only says where the data lies: prompts, metrics and few-shot
examples stay what they are. Files in another layout than the hub's (MMLU's CSV, ARC's and
WikiText's originals) are written anew beside it. `link.json` names every file with its SHA-256.
"""

from __future__ import annotations

import csv
import hashlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from evals.errors import NeedError
from evals.lmeval.layouts import LAYOUTS, SUBJECTS, Layout

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

MANIFEST_FILE: Final = "link.json"
_FORMATS: Final = {".jsonl": "json", ".json": "json", ".gz": "json", ".parquet": "parquet"}
_LETTERS: Final = "ABCD"
_SHOWN: Final = 5
_TITLE: Final = ("= ", " =")


@dataclass
class Linked:
    """What was written."""

    folder: Path
    tasks: dict[str, dict[str, list[Path]]] = field(default_factory=dict)
    """Task → split → files that it reads."""
    notes: list[str] = field(default_factory=list)


def link(sources: Mapping[str, Path], folder: Path, tasks: Path) -> Linked:
    """Write task files into `folder`, the `lmeval.include_path` of a suite.

    Args:
        sources: data set (a key of `LAYOUTS`) → folder with the user's copy, or one file.
        folder: is made.
        tasks: lm-eval's own task files, `lm_eval/tasks` in its environment.

    Raises:
        NeedError: a data set is unknown or not found; one line a mistake.
    """
    mistakes: list[str] = []
    found: dict[str, dict[str, list[Path]]] = {}
    linked = Linked(folder.absolute())
    for name, where in sources.items():
        try:
            found |= _find(name, where.absolute(), linked.notes)
        except NeedError as error:
            mistakes.append(str(error))
    if mistakes:
        raise NeedError("\n".join(mistakes))
    linked.folder.mkdir(parents=True, exist_ok=True)
    for task, splits in found.items():
        files = {
            split: _readable(task, split, paths, linked.folder) for split, paths in splits.items()
        }
        own = _own_yaml(task, tasks)
        _write(linked.folder / f"{task}.yaml", _yaml(task, own, files))
        linked.tasks[task] = files
    subjects = [task for task in linked.tasks if task.startswith("mmlu_")]
    if subjects:
        _write(linked.folder / "mmlu.yaml", _group("mmlu", subjects))
    _write(linked.folder / MANIFEST_FILE, _manifest(linked, sources, tasks))
    return linked


def _find(name: str, where: Path, notes: list[str]) -> dict[str, dict[str, list[Path]]]:
    if name not in LAYOUTS:
        raise NeedError(f"{name}: known are {', '.join(LAYOUTS)}")
    layout = LAYOUTS[name]
    if name != "mmlu":
        return {name: _splits(name, layout, where)}
    found, missing = {}, []
    for subject in SUBJECTS:
        try:
            found[f"mmlu_{subject}"] = _splits(name, layout, where, subject)
        except NeedError:
            missing.append(subject)
    if not found:
        raise NeedError(_not_found(name, "test", where, layout["test"]))
    if missing:
        notes.append(
            f"mmlu: {len(found)} of {len(SUBJECTS)} subjects were found, and mmlu is those alone; "
            f"missing: {', '.join(missing[:_SHOWN])}" + (" …" if len(missing) > _SHOWN else "")
        )
    return found


def _splits(name: str, layout: Layout, where: Path, subject: str = "") -> dict[str, list[Path]]:
    if where.is_file():
        if len(layout) > 1:
            raise NeedError(f"{name}: {where} is one file; {', '.join(layout)} are needed")
        return {split: [where] for split in layout}
    found: dict[str, list[Path]] = {}
    for split, patterns in layout.items():
        for pattern in patterns:
            if paths := sorted(where.glob(pattern.format(subject=subject))):
                found[split] = paths
                break
        else:
            raise NeedError(_not_found(name, split, where, patterns))
    return found


def _not_found(name: str, split: str, where: Path, patterns: Sequence[str]) -> str:
    wanted = ", ".join(patterns).replace("{subject}", "SUBJECT")
    return f"{name}: no {split} files in {where}; looked for {wanted}"


def _readable(task: str, split: str, paths: list[Path], folder: Path) -> list[Path]:
    """Return files with the hub's fields: the user's own, or ones written anew from them."""
    first = paths[0]
    records: Iterator[dict[str, Any]]
    if first.suffix == ".csv":
        records = (record for path in paths for record in _mmlu_csv(path))
    elif task.startswith("arc_") and first.suffix in {".jsonl", ".json"} and _is_nested(first):
        records = (record for path in paths for record in _arc_original(path))
    elif first.suffix in {".raw", ".txt", ".tokens"}:
        records = (record for path in paths for record in _documents(task, path))
    else:
        return [path.absolute() for path in paths]
    written = folder / "data" / f"{task}-{split}.jsonl"
    lines = [json.dumps(record, ensure_ascii=False) for record in records]
    _write(written, "\n".join(lines) + "\n")
    return [written]


def _mmlu_csv(path: Path) -> Iterator[dict[str, Any]]:
    """Read MMLU's own CSV: question, four choices, letter."""
    with path.open(newline="", encoding="utf-8") as file:
        for number, row in enumerate(csv.reader(file), 1):
            if len(row) != len(_LETTERS) + 2 or row[-1].strip() not in _LETTERS:
                raise NeedError(f"{path}:{number}: no question, four choices and a letter A–D")
            answer = _LETTERS.index(row[-1].strip())
            yield {"question": row[0], "choices": row[1:-1], "answer": answer}


def _is_nested(path: Path) -> bool:
    with path.open(encoding="utf-8") as file:
        return isinstance(json.loads(file.readline()).get("question"), dict)


def _arc_original(path: Path) -> Iterator[dict[str, Any]]:
    """Read AI2's own JSON lines, in which question and choices are nested."""
    for line in path.read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        choices = record["question"]["choices"]
        yield {
            "id": record["id"],
            "question": record["question"]["stem"],
            "choices": {
                "text": [choice["text"] for choice in choices],
                "label": [choice["label"] for choice in choices],
            },
            "answerKey": record["answerKey"],
        }


def _documents(task: str, path: Path) -> Iterator[dict[str, Any]]:
    """Read a text. WikiText's is cut before each title of a page, as `wikitext_document_level` is.

    Source of the rule: EleutherAI, wikitext_document_level.py, Hugging Face data sets.
    """
    text = path.read_text(encoding="utf-8")
    if task != "wikitext":
        yield {"text": text}
        return
    lines: list[str] = []
    for line in text.split("\n"):
        told = line.replace("= = =", "===").replace("= =", "==").strip()
        if told.startswith(_TITLE[0]) and told.endswith(_TITLE[1]):
            if "\n".join(lines).strip():
                yield {"page": "\n".join(lines)}
            lines = []
        lines.append(line)
    if "\n".join(lines).strip():
        yield {"page": "\n".join(lines)}


def _own_yaml(task: str, tasks: Path) -> Path:
    """Return lm-eval's own file of a task."""
    folder = {"mmlu": "mmlu/default", "arc": "arc"}.get(task.partition("_")[0], task)
    name = "default" if task == "winogrande" else task
    path = tasks / folder / f"{name}.yaml"
    if not path.is_file():
        raise NeedError(f"lm-eval has no {path}: harness engines install lm-eval")
    return path


def _yaml(task: str, own: Path, files: Mapping[str, Sequence[Path]]) -> str:
    """JSON is YAML: strings are quoted by it."""
    kind = _FORMATS[next(iter(files.values()))[0].suffix]
    where = {split: [str(path) for path in paths] for split, paths in files.items()}
    lines = [
        f"include: {json.dumps(str(own))}",
        f"task: {task}",
        f"dataset_path: {kind}",
        "dataset_name: null",
        f"dataset_kwargs: {json.dumps({'data_files': where})}",
    ]
    # Splits that lm-eval's file names and that were not linked; null is "there is none".
    absent = {"train": "training_split", "validation": "validation_split", "test": "test_split"}
    lines += [f"{key}: null" for split, key in absent.items() if split not in files]
    return "\n".join(lines) + "\n"


def _group(name: str, tasks: Sequence[str]) -> str:
    metrics = [{"metric": "acc", "weight_by_size": True}]
    return (
        f"group: {name}\ntask: {json.dumps(list(tasks))}\n"
        f"aggregate_metric_list: {json.dumps(metrics)}\n"
    )


def _manifest(linked: Linked, sources: Mapping[str, Path], tasks: Path) -> str:
    digests: dict[Path, str] = {}
    for splits in linked.tasks.values():
        for path in (path for paths in splits.values() for path in paths):
            if path not in digests:
                with path.open("rb") as file:
                    digests[path] = hashlib.file_digest(file, "sha256").hexdigest()
    told = {
        "lm_eval_tasks": str(tasks),
        "sources": {name: str(path.absolute()) for name, path in sources.items()},
        "notes": linked.notes,
        "tasks": {
            task: {
                split: [{"path": str(path), "sha256": digests[path]} for path in paths]
                for split, paths in splits.items()
            }
            for task, splits in linked.tasks.items()
        },
    }
    return json.dumps(told, indent=2, ensure_ascii=False) + "\n"


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
