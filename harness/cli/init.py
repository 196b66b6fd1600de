"""`harness init`."""

import json
from pathlib import Path

from harness.config import CONFIG_FILE, load_config
from harness.configschema import SCHEMA_FILE, json_schema
from harness.errors import BadInputError, ExitCode
from harness.rundir import write_atomically
from harness.starter import Model, look_at, starter


def init(*, model: str | None = None, out: Path = Path(CONFIG_FILE), force: bool = False) -> int:
    """Write a commented harness.toml: builds, servers, profiles, suites, rules, prices, defaults.

    Beside it goes its JSON Schema, by which editors complete and check it.

    Args:
        model: Fill builds in for this model: a folder, a GGUF file, or ORGANISATION/NAME of the
            model hub.
        out: Where to write it.
        force: Write over what is there.
    """
    found = None if model is None else look_at(model, out.absolute().parent)
    schema = out.with_name(SCHEMA_FILE)
    there = next((path for path in (out, schema) if path.exists()), None)
    if there is not None and not force:
        raise BadInputError(f"{there} is there already", hint="Write over it with --force.")
    if not out.parent.is_dir():
        raise BadInputError(f"--out: there is no folder {out.parent}")
    write_atomically(schema, (json.dumps(json_schema(), indent=2) + "\n").encode())
    write_atomically(out, starter(found).encode())
    load_config(out)
    print(f"{out}: {_told(found)}\nharness list servers --config {out}")
    return ExitCode.OK


def _told(model: Model | None) -> str:
    if model is None:
        return "a harness.toml in which everything is commented out; --model fills builds in"
    return f"builds {', '.join(model.builds)}"
