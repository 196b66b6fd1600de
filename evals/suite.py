"""A suite: what is asked, and how it is graded. One TOML of `evals/suites/`, or a user's own."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

SUITES = Path(__file__).parent / "suites"


class PerplexitySettings(BaseModel):
    """`[perplexity]`: one text, scored by sliding windows."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    text: str
    """`embedded:NAME`, a file's path (relative to the TOML file), or `hub:wikitext2`, `hub:c4`."""
    window: int | None = Field(default=None, gt=1)
    """Tokens a window, BOS included; None: what the context holds, at most 2,048."""
    stride: int | None = Field(default=None, gt=0)
    """Tokens scored in each window after the first; None: half a window. Equal to the window:
    windows do not overlap."""
    bos: Literal["auto", "always", "never"] = "auto"
    """auto: where the tokenizer itself puts it in front of a text."""
    documents: Literal["joined", "apart"] = "joined"
    """joined: all documents are one text · apart: no window reaches into another document."""
    join: str = "\n\n"
    """Between joined documents."""
    tokens: int | None = Field(default=None, gt=0)
    """Take so many tokens of the text, from its start; None: all."""
    top_k: int = Field(default=0, ge=0)
    """Keep so many of the likeliest tokens at each place, for KL divergence and top-1 agreement."""


class LmEvalSettings(BaseModel):
    """`[lmeval]`: tasks of lm-eval by name, each with its few-shot convention."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tasks: dict[str, int | None]
    """Task or group → few-shot examples; null is not TOML, so -1 stands for the task's own."""
    metrics: dict[str, str] = {}
    """Task or group → the metric that is its score; the first of its own where not said."""
    include_path: str | None = None
    """Folder of further task YAMLs (relative to the TOML file), e.g. of `harness eval link`."""
    bos: Literal["auto", "always", "never"] = "auto"
    """Whether the BOS token is put before each prompt. auto: where the tokenizer itself does."""
    window: int | None = Field(default=None, gt=2)
    """Tokens of context that a rolling perplexity (wikitext, c4) may use; None: what the context
    holds, at most lm-eval's own 2,048."""
    pack: int = Field(default=32, gt=0)
    """Prompts in one request, at most; the choices of an item stay together."""


class DomainSettings(BaseModel):
    """`[domain]`: questions with categories, from JSONL or a generator, and one grader."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    items: str
    """`embedded:transactions`, or a JSONL file's path (relative to the TOML file)."""
    template: str = "{input}"
    """Prompt; `{input}` and any other field of an item may be used."""
    system: str | None = None
    chat: bool = False
    """Ask at `/v1/chat/completions`."""
    grader: dict[str, object] = {"kind": "exact"}
    """`kind` and that grader's settings; see `evals/graders/`."""
    max_tokens: int = Field(default=64, gt=0)
    stop: tuple[str, ...] = ()


class Suite(BaseModel):
    """One TOML file. Exactly one of the tables says of which kind it is."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    description: str = ""
    limit: int | None = Field(default=None, gt=0)
    """Items asked unless --limit says otherwise: a seeded random subset, spread over categories."""
    domain: DomainSettings | None = None
    perplexity: PerplexitySettings | None = None
    lmeval: LmEvalSettings | None = None
