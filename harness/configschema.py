"""The JSON Schema of `harness.toml`, by which editors complete and check it."""

from __future__ import annotations

from typing import Any, Final

from pydantic.json_schema import models_json_schema

from harness.config import NAMED, SINGLE

SCHEMA_FILE: Final = "harness.schema.json"
DRAFT: Final = "https://json-schema.org/draft/2020-12/schema"


def json_schema() -> dict[str, Any]:
    """Return the schema of the whole file, all of its tables' own in `$defs`."""
    models = [(model, "validation") for model in (*NAMED.values(), *SINGLE.values())]
    refs, schema = models_json_schema(models)  # type: ignore[arg-type]  # a list of such pairs
    definitions: dict[str, Any] = schema["$defs"]
    tables: dict[str, Any] = {}
    for table, model in NAMED.items():
        ref = refs[model, "validation"]
        own = definitions[ref["$ref"].rpartition("/")[2]]
        own["required"] = [name for name in own.get("required", []) if name != "name"]
        description = f"[{table}.NAME]: {own.get('description', '')}"
        tables[table] = {
            "type": "object",
            "description": description,
            "additionalProperties": ref,
        }
    for table, model in SINGLE.items():
        tables[table] = refs[model, "validation"]
    return {
        "$schema": DRAFT,
        "title": "harness.toml",
        "type": "object",
        "properties": tables,
        "additionalProperties": False,
        "$defs": definitions,
    }
