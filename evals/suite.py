"""A suite: what is asked, and how it is graded. One TOML of `evals/suites/`, or a user's own."""

from __future__ import annotations

from pathlib import Path
from string import Formatter
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from evals.endpoint import Endpoint
from evals.graders import AnyGrader  # noqa: TC001 - pydantic reads it at run time
from evals.graders.exact import Exact

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

    items: str = Field(min_length=1)
    """`embedded:transactions`, or a JSONL file's path (relative to the TOML file)."""
    embedded_items: int = Field(default=1400, gt=0, le=20_000)
    """Items that the generator makes; fewer are the beginning of more."""
    embedded_seed: int = Field(default=1, ge=0)
    template: str = "{input}"
    """Prompt; `{input}` and any other field of an item may be used, `{choices}` is a lettered list,
    and `{{` stands for a brace."""
    examples: tuple[dict[str, Any], ...] = ()
    """Few-shot: solved items in front of each question, with `expected` and what the template
    wants."""
    answer_prefix: str = " "
    """Between an example's prompt and its answer, and before each choice that is scored."""
    separator: str = "\n\n"
    """After an example, in plain prompts."""
    system: str | None = None
    chat: bool = False
    """Ask at `/v1/chat/completions`."""
    method: Literal["generate", "choices"] = "generate"
    """generate: what the model writes is graded. choices: the likeliest of an item's choices is
    its answer, by log-probabilities where the server was proved to tell them."""
    grader: AnyGrader = Exact(kind="exact")
    """`kind` and that grader's settings; see `evals/graders/`."""
    max_tokens: int = Field(default=64, gt=0)
    stop: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    report_by: tuple[str, ...] = ()
    """Further fields of the items by which results are told, e.g. how hard one is."""

    @field_validator("template")
    @classmethod
    def _readable(cls, template: str) -> str:
        fields_of(template)
        return template

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.method == "choices" and self.grader.kind != "choice":
            raise ValueError('method: "choices" needs [domain.grader] kind = "choice"')
        if self.method == "choices" and self.chat:
            raise ValueError(
                'method: "choices" scores plain prompts, which chat = true does not send; '
                "leave one of both out"
            )
        if self.system is not None and not self.chat:
            raise ValueError(
                "system: a plain prompt has no system message; set chat = true, or write it into "
                "the template"
            )
        return self


class JudgeSettings(BaseModel):
    """`[judge]` of a `harness.toml`: the model that judges answers where a suite's grader asks."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str = Field(pattern=r"^https?://[^@?#]+$")
    """The API's base, e.g. `https://judge.example/v1`; no user name and no query, which would be
    written into the run's folder: a key comes from `api_key_env`."""
    model: str = Field(min_length=1)
    api_key_env: str | None = None
    """Name of the environment variable that holds the key."""
    timeout_s: float = Field(default=120.0, gt=0)
    concurrency: int = Field(default=8, gt=0)

    def endpoint(self) -> Endpoint:
        """Return it as the client wants it."""
        return Endpoint(
            base_url=self.url,
            model=self.model,
            build="judge",
            api_key_env=self.api_key_env,
            timeout_s=self.timeout_s,
            concurrency=self.concurrency,
        )


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

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        there = [kind for kind in KINDS if getattr(self, kind) is not None]
        if len(there) != 1:
            found = f"has {' and '.join(there)}" if there else "has none of them"
            tables = ", ".join(f"[{kind}]" for kind in KINDS)
            raise ValueError(f"{found}: a suite is exactly one of the tables {tables}")
        return self

    @property
    def kind(self) -> Literal["domain", "perplexity", "lmeval"]:
        """The one table that is there, and the package that asks it."""
        return next(kind for kind in KINDS if getattr(self, kind) is not None)


KINDS: tuple[Literal["domain", "perplexity", "lmeval"], ...] = ("domain", "perplexity", "lmeval")


def builtin_suites() -> dict[str, Path]:
    """The suites shipped with the package: name → TOML file, sorted by name."""
    return {file.stem: file for file in sorted(SUITES.glob("*.toml"))}


def fields_of(template: str) -> tuple[str, ...]:
    """Return the fields that a template wants, in order.

    Raises:
        ValueError: a brace stands alone, or holds more than a name.
    """
    fix = "write {{ and }} for braces that are text"
    try:
        parts = [part[1:] for part in Formatter().parse(template) if part[1] is not None]
    except ValueError as error:
        raise ValueError(f"{error}; {fix}") from error
    for name, form, conversion in parts:
        if not name or not name.isidentifier() or form or conversion:
            raise ValueError(f"{{{name}}} is no field's name; {fix}")
    return tuple(str(name) for name, _, _ in parts)
