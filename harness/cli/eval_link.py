"""`harness eval link`: lm-eval's task files for your own copies of data sets."""

import sys
from importlib.util import find_spec
from pathlib import Path

from evals.lmeval.link import link
from harness.errors import BadInputError, ExitCode
from launchers.environments import installed

ENVIRONMENT = "lm-eval"


def link_copies(  # noqa: PLR0913 - one parameter for each data set
    *,
    mmlu: Path | None = None,
    hellaswag: Path | None = None,
    arc_challenge: Path | None = None,
    arc_easy: Path | None = None,
    winogrande: Path | None = None,
    gsm8k: Path | None = None,
    wikitext: Path | None = None,
    c4: Path | None = None,
    out: Path = Path("lmeval-tasks"),
) -> int:
    """Write task files that make lm-eval read your own copies of data sets, without a network.

    Prompts, metrics and few-shot examples stay lm-eval's: each file includes its own and says where
    the data lies. Folders may hold the authors' own files, JSON lines named by split, or Parquet
    as on the hub. Files in other fields than the hub's are written anew into the folder.

    Args:
        mmlu: Folder with data/test/*_test.csv and data/dev/*_dev.csv, or a folder a subject.
        hellaswag: Folder with hellaswag_train.jsonl and hellaswag_val.jsonl.
        arc_challenge: Folder with ARC-Challenge-Train.jsonl, -Dev.jsonl and -Test.jsonl.
        arc_easy: Folder with ARC-Easy-Train.jsonl, -Dev.jsonl and -Test.jsonl.
        winogrande: Folder with train_xl.jsonl and dev.jsonl.
        gsm8k: Folder with train.jsonl and test.jsonl.
        wikitext: Folder with wiki.test.raw of WikiText-2 raw, or that file.
        c4: Folder with c4-validation.*.json.gz, or a text file.
        out: Folder to write; name it as lmeval.include_path in your suite.
    """
    given = {
        "mmlu": mmlu,
        "hellaswag": hellaswag,
        "arc_challenge": arc_challenge,
        "arc_easy": arc_easy,
        "winogrande": winogrande,
        "gsm8k": gsm8k,
        "wikitext": wikitext,
        "c4": c4,
    }
    sources = {name: path for name, path in given.items() if path is not None}
    if not sources:
        named = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise BadInputError(f"name at least one data set: {named}")
    linked = link(sources, out, _task_files())
    for note in linked.notes:
        print(f"harness: {note}", file=sys.stderr)
    print(f"{len(linked.tasks)} task files in {linked.folder}. In your suite:\n")
    print("[lmeval]")
    print(f'include_path = "{linked.folder}"')
    print("[lmeval.tasks] # few-shot examples")
    for name in sources:
        print(f"{name} = {_SHOTS.get(name, -1)}")
    return ExitCode.OK


_SHOTS = {"mmlu": 5, "hellaswag": 10, "arc_challenge": 25, "winogrande": 5, "gsm8k": 5}


def _task_files() -> Path:
    """Find lm-eval's own task files, in its environment or this one."""
    if (python := installed(ENVIRONMENT)) is not None:
        found = sorted((python.parents[1] / "lib").glob("python3*/site-packages/lm_eval/tasks"))
        if found:
            return found[0]
    spec = find_spec("lm_eval")
    if spec is not None and spec.submodule_search_locations:
        return Path(spec.submodule_search_locations[0]) / "tasks"
    raise BadInputError(f"lm-eval is not installed: harness engines install {ENVIRONMENT}")
