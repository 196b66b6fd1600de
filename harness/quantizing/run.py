"""One quantization end to end: texts, samples, the check, the child, the folder."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import msgspec

from evals.errors import EvalError
from evals.vocabulary import load_vocabulary
from harness import __version__
from harness.errors import BadInputError
from harness.provenance import machine
from harness.quantizing.card import (
    CARD_FILE,
    CalibrationNote,
    ModelNote,
    Quantization,
    SampleNote,
    SourceNote,
    encode_card,
)
from harness.quantizing.contaminated import check
from harness.quantizing.model import quantized_build
from harness.quantizing.readme import build_toml, readme
from harness.quantizing.request import USUAL_SAMPLES
from harness.quantizing.samples import draw, windows
from harness.quantizing.sources import documents_of
from launchers.environments import install
from launchers.model import weights_hash
from launchers.quantize.plan import BITS, FORMAT, SYMMETRIC, Plan
from launchers.quantize.process import compress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from evals.perplexity.documents import Document
    from evals.vocabulary import Vocabulary
    from harness.quantizing.card import ContaminationNote
    from harness.quantizing.request import QuantizeRequest, Role
    from harness.quantizing.samples import Sample
    from launchers.quantize.plan import Written

ENVIRONMENT: Final = "llm-compressor"
BUILD_FILE: Final = "build.toml"
README_FILE: Final = "README.md"
_SAMPLES_FILE: Final = "samples.json"
_FULL: Final = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EROFS))
_FAR: Final = 0.1
"""Share of tokens that may differ from the mix before it is said."""


def quantize(request: QuantizeRequest, say: Callable[[str], None]) -> Quantization:
    """Make the checkpoint's folder; nothing is left of it where this raises.

    Raises:
        BadInputError: a text, the samples, what they hold, or the folder.
        LauncherError: the environment or llm-compressor.
    """
    found: list[Path] = [request.python] if request.python else []

    def python() -> Path:
        if not found:
            found.append(install(ENVIRONMENT, say))
        return found[0]

    try:
        vocabulary = load_vocabulary(str(request.source.folder))
    except EvalError as error:
        text = str(error).removeprefix("--tokenizer: ")
        raise BadInputError(f"MODEL: {text}") from error
    samples, sources = _draw(request, vocabulary, python, say)
    contamination = check(request, samples, found[0] if found else None)
    with _folder(request.out) as (partial, scratch):
        samples_file = scratch / _SAMPLES_FILE
        samples_file.write_text(json.dumps([sample.ids for sample in samples]))
        plan = Plan(
            model=str(request.source.folder),
            out=str(partial),
            samples=str(samples_file),
            method=request.method,
            group_size=request.group_size,
            sequence_length=request.sequence_length,
            skip=request.skip,
            seed=request.seed,
            threads=request.threads,
        )
        written = compress(plan, python(), say)
        calibration = CalibrationNote(
            mix=str(request.mix),
            samples=len(samples),
            tokens=sum(len(sample.ids) for sample in samples),
            sequence_length=request.sequence_length,
            packed=request.pack,
            seed=request.seed,
            tokenizer_sha256=vocabulary.sha256,
            sources=tuple(sources),
            drawn=tuple(
                SampleNote(
                    role=sample.role,
                    documents=sample.documents,
                    tokens=len(sample.ids),
                    sha256=sample.sha256,
                )
                for sample in samples
            ),
        )
        card = _card(request, written, calibration, contamination)
        build = quantized_build(
            request.source, _name(request.out.name), request.method, written.dtype
        )
        (partial / CARD_FILE).write_bytes(encode_card(card))
        (partial / README_FILE).write_text(readme(card, request.out.name))
        (partial / BUILD_FILE).write_text(build_toml(build))
        partial.rename(request.out)
    return card


def check_out(out: Path) -> None:
    """Raise unless a folder of this name can be made.

    Raises:
        BadInputError: it is there and holds something, or its parent cannot be written.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise BadInputError(f"--out: {out} is there already; give another name, or remove it")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInputError(f"--out: cannot make {out.parent}: {error.strerror}") from error
    if not os.access(out.parent, os.W_OK):
        raise BadInputError(f"--out: {out.parent} cannot be written")


def _draw(
    request: QuantizeRequest,
    vocabulary: Vocabulary,
    python: Callable[[], Path],
    say: Callable[[str], None],
) -> tuple[list[Sample], list[SourceNote]]:
    counts = request.mix.counts(request.samples)
    names: dict[Role, str] = {"general": request.general, "domain": request.domain}
    documents: dict[Role, Sequence[Document]] = {}
    candidates: dict[Role, list[Sample]] = {}
    for role, count in counts.items():
        if count:
            say(f"reading {role} text: {names[role]}")
            documents[role] = documents_of(role, names[role], python)
            candidates[role] = windows(role, documents[role], vocabulary, request.sequence_length)
    samples = draw(
        counts, candidates, length=request.sequence_length, pack=request.pack, seed=request.seed
    )
    sources = [
        SourceNote(
            role=role,
            name=names[role],
            sha256=_digest(documents[role]),
            documents=len(documents[role]),
            candidates=len(candidates[role]),
            samples=counts[role],
            tokens=sum(len(sample.ids) for sample in samples if sample.role == role),
        )
        for role in documents
    ]
    shown = ", ".join(f"{one.samples} {one.role} ({one.tokens:,} tokens)" for one in sources)
    say(f"calibration samples: {shown}")
    return samples, sources


def _card(
    request: QuantizeRequest,
    written: Written,
    calibration: CalibrationNote,
    contamination: ContaminationNote,
) -> Quantization:
    return Quantization(
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        command=request.command,
        method=request.method,
        bits=BITS,
        group_size=request.group_size,
        symmetric=SYMMETRIC[request.method],
        format=FORMAT,
        model=ModelNote(
            asked=request.source.asked,
            architecture=request.source.architecture,
            weights=msgspec.convert(
                weights_hash(request.source.weight_files), dict[str, str | int] | None
            ),
            dtype=written.dtype,
        ),
        calibration=calibration,
        contamination=contamination,
        skip=request.skip,
        kept=written.kept,
        kept_beside=written.kept_beside,
        left=written.left,
        left_share=written.left_share,
        layers=written.layers,
        error_samples=written.error_samples,
        recipe=written.recipe,
        versions={"serving-load-harness": __version__, **written.versions},
        machine=msgspec.convert(machine(), dict[str, str | int | float | None]),
        device=written.device,
        threads=written.threads,
        seconds=written.seconds,
        caveats=tuple(_caveats(request, written, calibration, contamination)),
    )


def _caveats(
    request: QuantizeRequest,
    written: Written,
    calibration: CalibrationNote,
    contamination: ContaminationNote,
) -> Iterator[str]:
    for one in contamination.suites:
        if one.overlapping:
            yield (
                f"calibration samples share 13 words in a row with {one.overlapping} of "
                f"{one.items} items of {one.suite}, {one.exact} stand in them whole: scores there "
                "are flattered."
            )
    least, most = USUAL_SAMPLES
    if not least <= calibration.samples <= most:
        yield f"{calibration.samples} calibration samples; {least} to {most} are usual."
    for source in calibration.sources:
        share, wanted = source.tokens / calibration.tokens, request.mix.share(source.role)
        if abs(share - wanted) > _FAR:
            yield (
                f"{source.role} text is {wanted:.0%} of the samples and {share:.0%} of the tokens, "
                "and tokens are what both methods weigh: --pack joins short texts."
            )
            break
    if written.left:
        yield (
            f"{', '.join(written.left)} ({written.left_share:.1%} of the weights) kept "
            f"{written.dtype}, though nothing says to skip them: they are no linear layers, as "
            "experts in one tensor are none, or llm-compressor passed over them."
        )
    if written.kept_beside:
        yield (
            f"{', '.join(written.kept_beside)} kept {written.dtype} too: engines fuse "
            f"{'it' if len(written.kept_beside) == 1 else 'them'} with what --skip names."
        )


@contextmanager
def _folder(out: Path) -> Iterator[tuple[Path, Path]]:
    """Yield a folder beside `out` to be renamed to it, and one for what nobody needs later."""
    beside = out.parent / f".{out.name}.{os.getpid()}"
    partial, scratch = beside / "checkpoint", beside / "scratch"
    try:
        partial.mkdir(parents=True)
        scratch.mkdir()
        yield partial, scratch
    except OSError as error:
        told = error.strerror or str(error)
        if isinstance(error.filename, str) and not _is_below(error.filename, beside.parent):
            raise BadInputError(f"MODEL: cannot read {error.filename}: {told}") from error
        if isinstance(error.filename, str) or error.errno in _FULL:
            raise BadInputError(f"--out: cannot write {out}: {told}") from error
        raise
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _is_below(name: str, folder: Path) -> bool:
    return os.path.realpath(name).startswith(os.path.realpath(folder))


def _digest(documents: Sequence[Document]) -> str:
    digest = hashlib.sha256()
    for document in documents:
        digest.update(document.text.encode() + b"\0")
    return digest.hexdigest()


def _name(folder: str) -> str:
    """A folder's name as a build's."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", folder).lstrip("._-") or "quantized"
