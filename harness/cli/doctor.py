"""`harness doctor`."""

from dataclasses import asdict
from pathlib import Path

from rich.markup import escape

from harness.cli.tables import print_json, print_table
from harness.doctor import Check, examine
from harness.errors import ExitCode

_MARKS = {"ok": "[green]ok[/]", "warning": "[yellow]note[/]", "missing": "[red]MISSING[/]"}


def doctor(*, json: bool = False, config: Path | None = None) -> int:
    """Say what is installed, what is missing, and how to get it.

    Args:
        json: Print a JSON array of checks on stdout instead of a table.
        config: The harness.toml to look at.
    """
    checks = examine(config)
    if json:
        print_json([asdict(check) for check in checks])
    else:
        print_table(["", "", ""], [_row(check) for check in checks])
    missing = any(check.status == "missing" for check in checks)
    return ExitCode.SERVER if missing else ExitCode.OK


def _row(check: Check) -> tuple[str, str, str]:
    fix = f"\n[bold]→ {escape(check.fix)}[/]" if check.fix else ""
    return _MARKS[check.status], check.name, escape(check.text) + fix
