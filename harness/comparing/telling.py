"""Builds of one load run in sentences: who is faster, from which level on, by the same work."""

from __future__ import annotations

import math
import shlex
from typing import TYPE_CHECKING, Any, Final

from harness.comparing import words
from harness.comparing.noise import side_of
from harness.comparing.rows import Difference, Note
from harness.reports.figures import figure, plain

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from harness.comparing.rows import Crossover, LevelRow, SideBySide, WorkRow

_DECODING: Final = ("itl_p50_ms", "tpot_p50_ms", "e2e_p50_ms")
"""By the first of these that both builds have, one is the faster."""
_BESIDE: Final = ("ttft_p50_ms", "e2e_p50_ms")
_LEVELS: Final = "1,2,4,8,16,32,64"
_SIDES: Final = {"better": "faster", "worse": "slower", "unlike": "no difference shown"}


def sentences(
    found: SideBySide, manifest: Mapping[str, Any], chunked: Collection[str] = ()
) -> Iterator[str]:
    """Yield one or two for each build but the baseline.

    `chunked` are builds whose gaps are not those of single tokens: time per token decides then.
    """
    slower, single = [], False
    for build in found.builds[1:]:
        levels = [row for row in found.load if row.build == build and "concurrency" in row.level]
        row = min(levels, key=lambda one: one.level["concurrency"], default=None)
        known = _DECODING[1:] if {build, found.baseline} & {*chunked} else _DECODING
        metric = None if row is None else next(
            (one for one in known if _known(row.against.get(one))), None
        )  # fmt: skip
        if row is None or metric is None:
            continue
        yield plain(_standing(found, row, metric))
        if len(levels) > 1:
            yield plain(_break_even(found, row, metric))
        else:
            single = True
            slower += [build] if row.against[metric].side == "worse" else []
    if single:
        pays = f"{words.listed(slower)} {'pays' if len(slower) == 1 else 'pay'}" if slower else ""
        what = f"From how many streams on {pays}" if slower else "What more streams change"
        yield plain(f"{what} is not measured here: {_command(found, manifest)}")


def _known(against: Difference | None) -> bool:
    return against is not None and against.ratio is not None


def _standing(found: SideBySide, row: LevelRow, metric: str) -> str:
    """Say who decodes faster, and how the other latencies stand; by pairs where there are some."""
    other = next(
        one for one in found.load
        if (one.build, one.profile, one.level) == (found.baseline, row.profile, row.level)
    )  # fmt: skip
    valid = row.valid and other.valid
    (name, change), *others = _of_pairs(found, row) or [
        (words.label(key), row.against[key])
        for key in dict.fromkeys((metric, *_BESIDE))
        if _known(row.against.get(key)) and (key == metric or not row.against[key].few)
    ]
    at = words.at_level(row.level)
    if not valid:
        head = f"{row.build} against {found.baseline} {at}, by cells of which some are invalid"
    elif change.side == "unlike":
        head = f"{row.build} is not shown to be faster or slower than {found.baseline} {at}"
    else:
        head = f"{row.build} is {_SIDES[change.side]} than {found.baseline} {at}"
    rest = [
        f"{told} {_ratio(one)}" + (f", {_SIDES[one.side]}" if valid else "") for told, one in others
    ]
    return "; ".join([f"{head} ({name} {_ratio(change)})", *rest]) + "."


def _of_pairs(found: SideBySide, row: LevelRow) -> list[tuple[str, Difference]]:
    """Return what pairs of interleaved requests say, the time per token first."""
    pair = next((one for one in found.pairs if one.build == row.build), None)
    if pair is None or "tpot_ms" not in pair.ratios:
        return []
    return [
        (
            f"{name} by {one.pairs} pairs" if key == "tpot_ms" else name,
            Difference(
                difference=None,
                ratio=one.ratio,
                ratio_ci95=one.ci95,
                side=side_of("less", one.ci95, 1.0),
            ),
        )
        for key, name in (("tpot_ms", "TPOT"), ("ttft_ms", "TTFT"), ("e2e_ms", "e2e"))
        if (one := pair.ratios.get(key)) is not None
    ]


def _ratio(change: Difference) -> str:
    if change.ratio is None:
        return ""
    told = f"{change.ratio:.2f}" if change.ratio >= 0.1 else figure(change.ratio)  # noqa: PLR2004
    if change.ratio_ci95 is None:
        return f"ratio {told}, no interval"
    low, high = (f"{end:.2f}" if change.ratio >= 0.1 else figure(end) for end in change.ratio_ci95)  # noqa: PLR2004
    return f"ratio {told}, 95 % {low}–{high}"


def _break_even(found: SideBySide, row: LevelRow, metric: str) -> str:
    crossing = next(
        (
            one
            for one in found.crossovers
            if (one.build, one.metric, one.unit) == (row.build, metric, "concurrency")
        ),
        None,
    )
    return _of_crossing(crossing, row, found.baseline) if crossing else (
        f"At too few levels a ratio of {words.label(metric)} has an interval, so where the builds "
        "cross cannot be told; repeat them (--repeats)."
    )  # fmt: skip


def _of_crossing(one: Crossover, row: LevelRow, baseline: str) -> str:
    if one.level is None or one.ci95 is None:
        return f"By {one.text}"
    low, high = one.ci95
    pays = one.above == row.build
    who, other = (row.build, baseline) if pays else (baseline, row.build)
    line = ""
    if one.line_ci95 is not None:
        a, b = one.line_ci95
        line = f", on a straight line between these 95 % {a:.3g}–{b:.3g}"
    return (
        f"From about {math.ceil(one.level)} streams on ({words.label(one.metric)}: measured "
        f"between {low:g} and {high:g}{line}) {who} is faster than {other}."
    )


def _command(found: SideBySide, manifest: Mapping[str, Any]) -> str:
    """Return what measures the builds at several levels."""
    request = manifest.get("request")
    asked: Mapping[str, Any] = request if isinstance(request, dict) else {}
    argv = ["harness", "load", "--profile", str(asked.get("profile") or found.load[0].profile)]
    argv += ["--server", ",".join(found.builds), "--level", _LEVELS, "--duration", "20"]
    argv += ["--order", "mirrored", "--repeats", "4"]
    if asked.get("config"):
        argv += ["--config", str(asked["config"])]
    return shlex.join(argv)


def unlike_note(lines: Sequence[str]) -> Iterator[Note]:
    """Say in what the builds were started and asked differently."""
    if lines:
        yield Note(
            "unlike",
            "The builds differ in more than their weights, as engines do, so a difference may "
            f"come from that: {'; '.join(lines)}.",
        )


def chunk_notes(chunked: Mapping[str, float], uncounted: Sequence[str]) -> Iterator[Note]:
    """Say whose gaps are not between tokens, and whose tokens nobody counted."""
    if chunked:
        listed = ", ".join(f"{build} {figure(each)}" for build, each in chunked.items())
        yield Note(
            "chunks_differ",
            f"Not every chunk is one token (tokens a chunk: {listed}), so ITL is the time between "
            "chunks there and no measure against the others: compare TPOT.",
        )
    if uncounted:
        yield Note(
            "tokens_not_counted",
            f"{words.listed(uncounted)} did not count the tokens of every answer: chunks stand in "
            "for them, so tokens/s and TPOT are only as good as that.",
        )


def work_notes(work: Sequence[WorkRow], baseline: str) -> Iterator[Note]:
    """Say in what builds did not do the same work."""
    for row in work:
        if row.prompts == "others":
            yield Note(
                "prompts_differ",
                f"{row.build} was sent other prompts than {baseline}: they were made with another "
                "tokenizer, or without one. Give all the same with --tokenizer DIR.",
            )
        yield from _counted(row, baseline)
        if row.shorter or row.longer:
            ways = ", ".join(f"{n} times {way}" for way, n in row.finish_reasons.items())
            ended = f", ended otherwise (its reason, {baseline}'s): {ways}" if ways else ""
            ratio = f" ({row.length_ratio:.1%} of the tokens)" if row.length_ratio else ""
            yield Note(
                "answers_differ",
                f"{row.build}'s answers are shorter than {baseline}'s in {row.shorter} and longer "
                f"in {row.longer} of {row.pairs} pairs{ratio}{ended}. So e2e, tokens/s and TPOT "
                "are not of the same work; compare ITL and TTFT, or force the length where the "
                "engine can (--lengths forced).",
            )


def _counted(row: WorkRow, baseline: str) -> Iterator[Note]:
    told = {int(more): n for more, n in row.prompt_tokens.items()}
    if not told or set(told) == {0}:
        return
    counted = sum(told.values())
    if len(told) == 1:
        [(more, _)] = told.items()
        word = f"{abs(more)} prompt token{'' if abs(more) == 1 else 's'}"
        text = (
            f"{row.build} counted {word} {'more' if more > 0 else 'less'} than {baseline} in all "
            f"{counted} pairs"
        )
        if abs(more) == 1:
            text += f": {row.build if more > 0 else baseline} adds one of its own, such as a BOS"
    else:
        text = (
            f"{row.build} counted from {min(told):+d} to {max(told):+d} prompt tokens more than "
            f"{baseline}, and as many in {told.get(0, 0)} of {counted} pairs: another tokenizer "
            "or template, so TTFT per token is not of the same tokens"
        )
    yield Note("prompt_tokens_differ", f"{text}.")


def work_line(row: WorkRow, baseline: str) -> str:
    """Say what is known of a build's work, good or bad."""
    if not row.pairs:
        return f"{row.build}: no request was answered by both it and {baseline}."
    prompts = {"same": "the same prompts", "others": "OTHER prompts", None: "prompts not compared"}
    counted = sum(row.prompt_tokens.values())
    alike = row.prompt_tokens.get("0", 0)
    parts = [prompts[row.prompts]]
    if counted:
        parts.append(f"as many prompt tokens counted in {alike} of {counted}")
    same = row.pairs - row.shorter - row.longer
    parts.append(f"answers of the same length in {same}")
    unlike_ends = sum(row.finish_reasons.values())
    parts.append(f"ended alike in {row.pairs - unlike_ends}")
    if row.compared_texts:
        parts.append(f"the same text in {row.identical} of {row.compared_texts}")
    return f"{row.build} against {baseline}, {row.pairs} pairs: {', '.join(parts)}."
