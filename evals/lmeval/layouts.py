"""Where the files of each data set lie in the copies that people have.

Of each split the first pattern that matches anything is taken: the authors' own distribution
first, then files named by split, then the hub's Parquet.
"""

from __future__ import annotations

from typing import Final

Layout = dict[str, tuple[str, ...]]
"""Split → patterns, relative to the folder that the user names."""


def _named(split: str, *folders: str) -> tuple[str, ...]:
    """Files named by split, in the folder itself or one of these."""
    return tuple(
        f"{prefix}{split}{ending}"
        for prefix in ("", *(f"{folder}/" for folder in folders))
        for ending in (".jsonl", ".json", ".parquet", "-*.parquet")
    )


def _arc(name: str) -> Layout:
    return {
        split: (
            f"{name}-{said}.jsonl",
            f"{name}/{name}-{said}.jsonl",
            *_named(split, name),
        )
        for split, said in (("train", "Train"), ("validation", "Dev"), ("test", "Test"))
    }


LAYOUTS: Final[dict[str, Layout]] = {
    "mmlu": {
        split: (
            f"{split}/{{subject}}_{split}.csv",
            f"data/{split}/{{subject}}_{split}.csv",
            *(f"{{subject}}/{split}{end}" for end in (".jsonl", ".json", ".parquet", "-*.parquet")),
            *(f"{{subject}}_{split}{end}" for end in (".csv", ".jsonl", ".json", ".parquet")),
        )
        for split in ("test", "dev")
    },
    "hellaswag": {
        "train": ("hellaswag_train.jsonl", *_named("train", "data")),
        "validation": ("hellaswag_val.jsonl", *_named("validation", "data")),
    },
    "arc_challenge": _arc("ARC-Challenge"),
    "arc_easy": _arc("ARC-Easy"),
    "winogrande": {
        "train": ("train_xl.jsonl", *_named("train", "winogrande_xl", "data")),
        "validation": ("dev.jsonl", *_named("validation", "winogrande_xl", "data")),
    },
    "gsm8k": {
        "train": _named("train", "main", "data"),
        "test": _named("test", "main", "data"),
    },
    "wikitext": {
        "test": ("wiki.test.raw", "wiki.test.tokens", *_named("test", "wikitext-2-raw-v1", "data")),
    },
    "c4": {
        "validation": (
            "c4-validation.*.json.gz",
            "en/c4-validation.*.json.gz",
            *_named("validation", "en", "data"),
            "*.txt",
        ),
    },
}

SUBJECTS: Final = tuple(
    """
    abstract_algebra anatomy astronomy business_ethics clinical_knowledge college_biology
    college_chemistry college_computer_science college_mathematics college_medicine college_physics
    computer_security conceptual_physics econometrics electrical_engineering elementary_mathematics
    formal_logic global_facts high_school_biology high_school_chemistry
    high_school_computer_science high_school_european_history high_school_geography
    high_school_government_and_politics high_school_macroeconomics high_school_mathematics
    high_school_microeconomics high_school_physics high_school_psychology high_school_statistics
    high_school_us_history high_school_world_history human_aging human_sexuality international_law
    jurisprudence logical_fallacies machine_learning management marketing medical_genetics
    miscellaneous moral_disputes moral_scenarios nutrition philosophy prehistory
    professional_accounting professional_law professional_medicine professional_psychology
    public_relations security_studies sociology us_foreign_policy virology world_religions
    """.split()  # noqa: SIM905 - 57 names in one piece
)
