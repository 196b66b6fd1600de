"""`harness quantize`: all input is checked here; then it runs."""

import shlex
import sys
from pathlib import Path

from evals.suite import builtin_suites
from harness.cli.flags import at_least, names_of
from harness.config import Config, find_suite, load_config
from harness.errors import BadInputError, ExitCode
from harness.quantizing.card import Quantization, encode_card
from harness.quantizing.model import Source, source_of
from harness.quantizing.readme import SUGGESTED, not_checked, share, skip_worst
from harness.quantizing.request import (
    GROUP_SIZES,
    SAMPLES,
    SEQUENCE_LENGTH,
    QuantizeRequest,
    mix_of,
)
from harness.quantizing.run import check_out
from harness.quantizing.run import quantize as run
from harness.quantizing.samples import LEAST_TOKENS
from harness.quantizing.sources import DEMO_DOMAIN, DEMO_GENERAL, GENERAL, text_of
from launchers.model import DEMO
from launchers.quantize.layers import HEAD
from launchers.quantize.plan import Method
from launchers.redact import redact_argv


def quantize(  # noqa: PLR0913 - one parameter for each flag
    model: str,
    /,
    *,
    method: Method,
    general: str | None = None,
    domain: str | None = None,
    mix: str = "70:30",
    samples: int = SAMPLES,
    sequence_length: int | None = None,
    pack: bool = False,
    seed: int = 0,
    skip: str = HEAD,
    group_size: int = 128,
    out: Path | None = None,
    evaluation: str | None = None,
    allow_contaminated: bool = False,
    python: Path | None = None,
    threads: int | None = None,
    config: Path | None = None,
    quiet: bool = False,
    json: bool = False,
) -> int:
    """Make a checkpoint with 4-bit weights, calibrated on a mix of general and domain text.

    Args:
        model: The 16-bit model: a build, a checkpoint's folder, a hub id that is in the hub's
            cache, or demo:NAME.
        method: gptq (symmetric) or awq (with zero points).
        general: General text: a file (.txt, .jsonl, .parquet, .arrow), or hub:c4-train, which is
            taken unless said (for the demo model embedded:python-docs-calibration).
        domain: Text of your domain: a file, or a suite that holds questions back for calibration;
            for the demo model the suite domain unless said.
        mix: GENERAL:DOMAIN, shares of the samples.
        samples: Calibration samples; 128 to 512 are usual.
        sequence_length: Tokens of a sample at most: as long as the deployment's requests; the
            build's max_model_len or the model's context unless said, at most 2048.
        pack: Join short texts up to the sequence length, so that the mix holds for tokens too.
        seed: Decides which samples are drawn.
        skip: Layers that keep their 16 bits: names or patterns (*, ?), by comma. The head does
            anyway: vLLM loads no other one in this layout.
        group_size: Weights that share a scale: 32, 64 or 128.
        out: Folder to make; MODEL-METHOD unless said.
        evaluation: Suites whose items no sample may hold, by comma; unless said, all that are
            shipped or in harness.toml and can be read on this machine.
        allow_contaminated: Go on where samples hold items of a suite; the card says so.
        python: A Python with llm-compressor, e.g. on a CUDA build of torch, in place of the
            managed environment.
        threads: CPU threads; one for a small model and all cores for others unless said.
        config: The harness.toml to read; otherwise the first one from here upwards.
        quiet: Nothing on stderr while it runs.
        json: Print quantization.json on stdout, and nothing else there.
    """
    settings = load_config(config)
    source = source_of(model, settings)
    shares = mix_of(mix)
    if group_size not in GROUP_SIZES:
        raise BadInputError(
            f"--group-size: {group_size} should be one of {', '.join(map(str, GROUP_SIZES))}"
        )
    demo = source.build.model.startswith(DEMO)
    if domain is None and not demo and shares.domain:
        raise BadInputError(
            f"--domain is missing: --mix {mix} wants text of your domain",
            hint="Give a file, e.g. --domain support.jsonl, or --mix 100:0.",
        )
    shares.counts(at_least("samples", samples, 1))
    target = out or Path(f"{source.name}-{method}")
    check_out(target)
    request = QuantizeRequest(
        source=source,
        method=method,
        general=text_of("general", general or (DEMO_GENERAL if demo else GENERAL), settings),
        domain=text_of("domain", domain or DEMO_DOMAIN, settings),
        mix=shares,
        samples=samples,
        sequence_length=_length(sequence_length, source),
        pack=pack,
        seed=seed,
        skip=_skipped(skip),
        group_size=group_size,
        out=target,
        suites=tuple(find_suite(name, settings) for name in _suites(evaluation, settings)),
        named=evaluation is not None,
        allow_contaminated=allow_contaminated,
        python=python,
        threads=None if threads is None else at_least("threads", threads, 1),
        command=shlex.join(redact_argv(["harness", *sys.argv[1:]])),
    )
    card = run(request, _silence if quiet else _say)
    if json:
        sys.stdout.buffer.write(encode_card(card))
    else:
        _tell(card, target)
    return ExitCode.OK


def _skipped(skip: str) -> tuple[str, ...]:
    """Return the patterns, the head's among them: a build without it could not be served."""
    names = names_of("skip", skip, "once is enough") if skip.strip() else []
    return tuple(dict.fromkeys([HEAD, *names]))


def _length(given: int | None, source: Source) -> int:
    deployed = source.build.max_model_len or source.context or SEQUENCE_LENGTH
    if given is None:
        return min(SEQUENCE_LENGTH, deployed)
    if source.context is not None and given > source.context:
        raise BadInputError(
            f"--sequence-length: {given} is more than the model's context, {source.context}"
        )
    return at_least("sequence-length", given, LEAST_TOKENS)


def _suites(evaluation: str | None, config: Config) -> list[str]:
    if evaluation is None:
        return sorted({*builtin_suites(), *config.suites})
    return names_of("evaluation", evaluation, "once is enough")


def _tell(card: Quantization, out: Path) -> None:
    for text in card.caveats:
        print(f"caveat: {text}")
    for line in not_checked(card):
        print(f"not checked for contamination: {line}")
    print(
        f"{out}: {len(card.layers)} layers in {card.bits} bits by {card.method.upper()}, "
        f"{len(card.kept)} kept, {sum(card.seconds.values()):.0f} s"
    )
    for layer in card.layers[:SUGGESTED]:
        print(
            f"  {layer.name}: output error {share(layer.output_error)}, weight error "
            f"{share(layer.weight_error)}"
        )
    print(f"keep the worst in {card.model.dtype}: {skip_worst(card)}")
    print(f"serve it: harness serve {out}/build.toml")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _silence(_line: str) -> None:
    pass
