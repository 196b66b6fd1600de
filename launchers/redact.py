"""Keeps secrets out of whatever is printed or kept: by their names, and by how values look."""

from __future__ import annotations

import json
import re
import shlex
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

MASK = "***"

_SECRET = re.compile(
    r"(?:key|token|secret|pass(?:word|wd|phrase|code)?|pwd|auth(?:orization|entication)?|cookie"
    r"|credential|signature|bearer)s?\b"
    r"|\b(?:pat|sig|cred|jwt|dsn)s?\b|\bpw$"
)
# Parts of names, as words joined by dashes, that look like secrets and are none in the arguments
# and model configurations of engines, or in the harness's own arguments.
_HARMLESS = re.compile(
    r"\b(?:max|min|num|total|prompt|input|output|generation|spec|speculative|special|suppress|soft)"
    r"-(?:[a-z]+-)*tokens\b"
    r"|\btokens?-(?:as|budgets?|count|distribution|dropout|ids?|index|len|length|map|num|only|per"
    r"|prob|ratio|threshold|type)\b"
    r"|\b(?:audio|bos|cls|eos|image|mask|pad|per|size|unk|video)-tokens?\b"
    r"|\bkey-(?:bias|dim|heads?|multiplier|value)\b|\bpass-config\b|\ballow-credentials\b"
    r"|^.*-env$"  # holds the name of a variable
)
_SHOWN_VARIABLES = re.compile(
    r"(?:VLLM|SGLANG|CUDA|NVIDIA|HIP|ROCR|OMP|GOMP|KMP|MKL|OPENBLAS|TORCH|TORCHINDUCTOR|PYTORCH"
    r"|TRITON|FLASHINFER|NCCL|GLOO|HF_HUB|TRANSFORMERS)_\w+"
    r"|HF_HOME|HF_ENDPOINT|TOKENIZERS_PARALLELISM|RAYON_NUM_THREADS|LD_PRELOAD|LD_LIBRARY_PATH"
    r"|DO_NOT_TRACK"
)
_NOTHING = re.compile(r"0|1|true|false|none|null|[\"'\\]*(?:\*\*\*)?[\"'\\,;)}\]]*", re.IGNORECASE)
"""Values that give nothing away, whatever their name: switches, none, hidden already."""

_MARK = r"(?:=|:(?!//|\d{1,5}(?:[/?#]|$)))"  # a colon before slashes or a port belongs to a URL
_PAIR = re.compile(rf"(?P<name>-{{0,2}}\w[\w.-]*)(?P<mark>{_MARK}\s*)(?P<value>.*)", re.DOTALL)
_NAMED = re.compile(rf"(?<!//)(?<![\w.-])(?P<name>[\w.-]+)\\?[\"']?\s*{_MARK}\s*")
_BARE = r"(?:[^\s&\"']|[\"'](?=\w))+"
_VALUE = re.compile(
    rf"(?:bearer|basic)\s+{_BARE}|[\[{{].*|(?P<quote>\\?[\"'])(?:\\.|.)*?(?P=quote)|{_BARE}|.*",
    re.IGNORECASE | re.DOTALL,
)
_BEARER = re.compile(rf"\b((?i:bearer)|Basic)\s+{_BARE}")
# Up to the last @, as passwords hold slashes and more; an image's digest follows one, too.
_USER = re.compile(r"(?<=://)\S*@|(?<![\w.%+-])[\w.%+-]+:(?!/)\S*@(?!sha256:)")
_KNOWN_KEY = re.compile(
    r"\b(?:sk-|gh[oprsu]_|github_pat_|glpat-|xox[a-z]-|nvapi-|gsk_"
    r"|hf_(?=[a-z]*[A-Z\d]|[a-z]{16}))[\w-]{8,}"  # no hf_overrides, hf_checkpoints
    r"|\bAKIA[A-Z\d]{12,}|\beyJ[\w-]+\.[\w-]+\.[\w-]*"
)
_WORD = re.compile(r"(?:\\.|'[^']*'|\"(?:\\.|[^\"\\])*\"|[^ \t\r\n'\"\\])+", re.DOTALL)  # as shlex
_PIECE = re.compile(r"\S+")


def is_secret(name: str) -> bool:
    """Whether what an option, variable, header or field of this name holds must not be shown."""
    words = re.findall(r"[a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", "-", name).lower())
    return bool(_SECRET.search(_HARMLESS.sub("", "-".join(words))))


def is_key(value: str) -> bool:
    """Whether a value has the look of a key, whatever its name."""
    return bool(_KNOWN_KEY.search(value) or _BEARER.search(value))


def redact_mapping(values: Mapping[str, str]) -> dict[str, str]:
    """Environment variables; only those known to hold no secrets keep their value."""
    return {name: _redact_variable(name, value) for name, value in values.items()}


def redact_argv(argv: Sequence[str]) -> list[str]:
    """A command line, as many words as before.

    Hidden are the word after a secret option, whatever it begins with, and all others up to the
    next option; each header's value; variables after `-e` as in `redact_mapping`; and what
    `redact_text` hides.
    """
    shown: list[str] = []
    show: Callable[[str], str] = redact_text
    is_owed = False
    for word in argv:
        option = word.strip("\"'")
        if is_owed or not option.startswith("-"):
            shown.append(show(word))
            show = _hide if show is _hide else redact_text
            is_owed = False
        else:
            shown.append(redact_text(word))
            show = redact_text if "=" in option else _redactor(option)
            is_owed = show is not redact_text
    return shown


def redact_text(text: str) -> str:
    """An argument, header, URL, JSON or shell script: names and values are both looked at."""
    if text.startswith(("{", "[")):
        with suppress(ValueError, RecursionError):
            page = json.loads(text)
            shown = redact_json(page)
            return text if shown == page else json.dumps(shown, ensure_ascii=False)
    pair = _PAIR.fullmatch(text)
    if pair and (pair["mark"].startswith("=") or is_secret(pair["name"])):
        return f"{pair['name']}{pair['mark']}{_redactor(pair['name'])(pair['value'])}"
    text = _hide_named(_USER.sub(f"{MASK}@", _redact_script(text)))
    return _KNOWN_KEY.sub(MASK, _BEARER.sub(rf"\1 {MASK}", text))


def redact_json(value: object) -> object:
    """What JSON or TOML has brought, with the values of secret names hidden at any depth."""
    if isinstance(value, dict):
        return {
            key: MASK if is_secret(key) and item and item is not True else redact_json(item)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [redact_json(item) for item in value]
    return redact_text(value) if isinstance(value, str) else value


def _redactor(option: str) -> Callable[[str], str]:
    """What shows the values of an option or name."""
    if option in {"-H", "--header"}:
        return _redact_header
    if option in {"-e", "--env"}:
        return _redact_assignment
    return _hide if is_secret(option) else redact_text


def _hide(value: str) -> str:
    return value if _NOTHING.fullmatch(value) else MASK


def _redact_header(header: str) -> str:
    """`K=V` or `K: V` without V."""
    name = re.match(r"[^=:]*[=:]\s*", header)
    return f"{name[0] if name else ''}{MASK}"


def _redact_assignment(word: str) -> str:
    name, equals, value = word.partition("=")
    return f"{name}={_redact_variable(name, value)}" if equals else redact_text(word)


def _redact_variable(name: str, value: str) -> str:
    is_shown = _SHOWN_VARIABLES.fullmatch(name) and not is_secret(name)
    return redact_text(value) if is_shown else _hide(value)


def _hide_named(text: str) -> str:
    """Hide what follows a secret name anywhere in a text: `?api_key=x`, `{'token': 'x'}`."""
    shown, end = "", 0
    for named in _NAMED.finditer(text):
        if named.start() < end or not is_secret(named["name"]):
            continue
        if value := _VALUE.match(text, named.end()):
            shown += text[end : named.end()] + _hide(value[0])
            end = value.end()
    return shown + text[end:]


def _redact_script(text: str) -> str:
    """Words as a shell splits them are a command line, too; quoting stays, but around secrets."""
    pattern = _WORD
    words: list[str] = []
    with suppress(ValueError):
        words = shlex.split(text)
    if len(words) != len(pattern.findall(text)):  # a stray quote
        pattern, words = _PIECE, text.split()
    if words == [text]:
        return text
    pairs = zip(words, redact_argv(words), strict=True)

    def show(raw: re.Match[str]) -> str:
        word, shown = next(pairs)
        if shown == word:
            return raw[0]
        return shlex.quote(shown) if re.search(r"[\s\"']", shown) else shown

    return pattern.sub(show, text)
