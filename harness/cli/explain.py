"""`harness explain`."""

import sys
from pathlib import Path
from typing import Literal

import msgspec
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness.errors import ExitCode
from harness.explaining import shown
from harness.explaining.explain import explain as explain_run
from harness.explaining.explanation import Explanation
from harness.reports.figures import plain
from harness.rundir import RunFolder, write_atomically


def explain(
    run: Path,
    /,
    *,
    like: str,
    json: bool = False,
    format: Literal["terminal", "markdown", "json"] = "terminal",  # noqa: A002 - the option's name
    out: Path | None = None,
) -> int:
    """This run's numbers by another tool's definitions, and why they differ from ours.

    Computed from the samples in the run's folder: nothing is sent. What the samples cannot tell,
    such as how late that tool's own client would have been, is said so.

    Args:
        run: The folder of a load run, or of a comparison or gate with load in it.
        like: vllm, guidellm, aiperf or genai-bench.
        json: The same as --format json.
        format: terminal, markdown or json.
        out: File to write in place of stdout; .md and .json choose the format.
    """
    found = explain_run(RunFolder.open(run), like)
    suffixes = {".md": "markdown", ".json": "json"}
    name = "json" if json else suffixes.get(out.suffix, format) if out else format
    if name == "terminal" and out is None:
        _print(found, Console(markup=False))
        return ExitCode.OK
    text = shown.markdown(found)
    if name == "json":
        text = msgspec.json.format(msgspec.json.encode(found), indent=2).decode() + "\n"
    if out is None:
        sys.stdout.write(text)
    else:
        write_atomically(out, text.encode())
        print(out)
    return ExitCode.OK


def _print(found: Explanation, console: Console) -> None:
    def say(text: str, style: str = "") -> None:
        console.print(Text(text, style))

    say(f"{plain(found.run.id)} by the definitions of {found.like}", "bold")
    for text in found.general:
        say(f"- {text}")
    for cell in found.cells:
        say(f"\n{shown.label(cell)}", "bold")
        table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
        for at, name in enumerate(shown.HEADER):
            table.add_column(name, justify="left" if at < shown.NAMED else "right")
        for row in shown.rows(cell, found.like):
            table.add_row(*map(Text, row))
        console.print(table)
        for text in shown.remarks(cell):
            say(f"- {text}")
    say("\nHow they are defined", "bold")
    for name, text in shown.definitions(found).items():
        say(f"- {name}: {text}")
    say(f"\nRead in the source: {'; '.join(found.sources)}")
