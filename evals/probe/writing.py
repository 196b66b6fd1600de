"""Whether what a server writes keeps to what was asked."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Final

from evals.client.bodies import ending, pinning
from evals.client.many import for_each
from evals.probe.asking import TELL_IDS, prompt_tokens, text_of
from evals.probe.card import Bos, Capabilities, Caveat
from evals.probe.material import TEXTS
from evals.records import Completion, Failure

if TYPE_CHECKING:
    from evals.client.echo import Completions
    from evals.client.http import Client
    from evals.probe.asking import Asker
    from evals.probe.material import Encoder, Material

_TOKENS: Final = 24
_LABELS: Final = 5
_PINNED: Final = 48
_SUM: Final = 1.01
_AT_ONCE: Final = 8
_MOST_OTHER: Final = 0.25
"""Share of greedy answers that a batched engine's arithmetic may turn: near ties."""
_FEWEST: Final = 3
"""Characters of a text in which a stop string is looked for."""


class WritingProof:
    """All that concerns answers that are written; fills in `capabilities`, `bos` and `caveats`."""

    def __init__(self, client: Client, asker: Asker) -> None:
        self._client = client
        self._asker = asker
        self.capabilities = Capabilities()
        self.bos = Bos()
        self.caveats: list[Caveat] = []
        self.tells_ids = False
        """Whether answers name the ids of their prompt."""
        self.written: list[str | None] = []
        """After each of `TEXTS`."""

    async def run(self, encoder: Encoder | None, material: Material | None) -> None:
        """Make all checks."""
        able = self.capabilities
        answers = [await self._client.complete(text, max_tokens=_TOKENS) for text in TEXTS]
        self.written = [one.text if isinstance(one, Completion) else None for one in answers]
        able.writes = self._writes(answers)
        able.usage = all(
            isinstance(one, Completion) and one.prompt_tokens and one.output_tokens is not None
            for one in answers
        )
        if material is not None and encoder is not None:
            await self._ids(material)
            await self._text_bos(encoder)
        if not able.writes:
            return
        if not able.usage and all(caveat.code != "uncounted" for caveat in self.caveats):
            self._doubt(
                "uncounted",
                "answers do not count their tokens: a prompt that was cut or changed and an answer "
                "that was cut cannot be told from whole ones",
            )
        able.stop = await self._stop(answers)
        await self._labels()
        await self._stream()
        await self._defaults()
        await self._at_once()
        able.pin_output_length = await self._pin(answers)

    def _writes(self, answers: list[Completion | Failure]) -> bool:
        for one in answers:
            if isinstance(one, Failure):
                self._doubt(one.code, f"no answer is written: {one.text}")
                return False
        found = [one for one in answers if isinstance(one, Completion)]
        if not any(one.text.strip() for one in found):
            self._doubt("empty_text", "all answers are empty")
            return False
        return True

    async def _ids(self, material: Material) -> None:
        """Prove that ids are taken as they are, a long prompt too."""
        counted, refused, wrong, unseen = [], 0, False, False
        self.tells_ids = True
        for ids in [*material.prompts, material.plain, material.long]:
            answer = await self._asker.write(ids, 1, more=TELL_IDS)
            if answer is None or not answer.choices:
                refused += 1
                continue
            count, told = prompt_tokens(answer), answer.choices[0].prompt_token_ids
            self.tells_ids = self.tells_ids and told is not None
            if count is not None:
                counted.append(count - len(ids))
            wrong = wrong or count not in {None, len(ids)} or told not in (None, ids)
            unseen = unseen or (count is None and told is None)
        self.tells_ids = self.tells_ids and not refused
        self.capabilities.token_id_prompts = not (refused or wrong or unseen)
        if len(set(counted)) == 1:
            self.bos.ids = counted[0]
        if wrong:
            off = ", ".join(f"{n:+d}" for n in counted)
            self._doubt(
                "token_ids",
                "prompts of ids are not taken as they are (tokens counted beyond those sent: "
                f"{off or 'not told'})",
            )
        elif refused:
            self._doubt("token_ids", "prompts of ids are refused")
        elif unseen:
            self._doubt(
                "uncounted",
                "the server counts no prompt tokens and tells no ids: whether it cuts long "
                "prompts or adds a BOS cannot be seen",
            )

    async def _text_bos(self, encoder: Encoder) -> None:
        """Compare what the server makes of texts with the tokenizer's own rule."""
        bos = self.bos
        for text in (*TEXTS, " ".join(TEXTS * 4)):
            whole = await encoder.encode(text, special=True)
            plain = await encoder.encode(text, special=False)
            if whole is None or plain is None:
                return
            bos.tokenizer_adds = whole != plain
            bos.token_id = encoder.bos
            answer = await self._asker.write(text, 1, more=TELL_IDS)
            count = prompt_tokens(answer)
            if count is None:
                return
            bos.text = count - len(plain)
            told = answer.choices[0].prompt_token_ids if answer and answer.choices else None
            bos.agrees = count == len(whole) and told in (None, whole) and bos.ids in (None, 0)
            if not bos.agrees:
                self._doubt(
                    "bos",
                    f"the server reads {count} tokens in a text of which the tokenizer makes "
                    f"{len(whole)}, {len(whole) - len(plain)} of them BOS: prompts sent as text "
                    "are other ones than those sent as ids",
                )
                return

    async def _stop(self, answers: list[Completion | Failure]) -> bool:
        """Use a piece of what was written as the stop string."""
        tried = False
        for text, before in zip(TEXTS, answers, strict=True):
            if not isinstance(before, Completion) or len(before.text) < _FEWEST:
                continue
            middle = len(before.text) // 2
            stop = before.text[middle : middle + 2]
            if not stop.strip() or "\ufffd" in stop:
                continue
            tried = True
            after = await self._client.complete(text, max_tokens=_TOKENS, stop=[stop])
            kept = before.text.partition(stop)[0]
            if isinstance(after, Completion) and after.text == kept:
                if after.finish_reason == "stop":
                    return True
                self._doubt(
                    "finish_reason", f'an answer that was stopped ends as "{after.finish_reason}"'
                )
                return False
        if tried:
            self.capabilities.writes = False
            self._doubt("stop_ignored", "a stop string that was written does not end the answer")
        return False

    async def _labels(self) -> None:
        """The likeliest first tokens, against what is written."""
        for text, wrote in zip(TEXTS, self.written, strict=True):
            answer = await self._client.complete(text, max_tokens=1, top_logprobs=_LABELS)
            if isinstance(answer, Failure) or not answer.top or len(answer.top[0]) < _LABELS:
                return
            table = answer.top[0]
            best = max(table, key=table.__getitem__)
            tied = [name for name, value in table.items() if value >= table[best]]
            total = sum(map(math.exp, table.values()))
            if total > _SUM or max(table.values()) > 0:
                self._doubt("not_normalised", "probabilities of first tokens add up to above 1")
                return
            if wrote and not any(wrote.startswith(name) for name in tied):
                self._doubt(
                    "known_answer",
                    f"{best!r} is told to be the likeliest first token, "
                    f"but {wrote[:12]!r} was written",
                )
                return
        self.capabilities.label_logprobs = True

    async def _stream(self) -> None:
        found = await self._asker.stream(TEXTS[0], _TOKENS)
        if found is None:
            return
        self.capabilities.stream = found[0] == self.written[0]
        if not self.capabilities.stream:
            self._doubt("stream", "a streamed answer has another text than an unstreamed one")

    async def _defaults(self) -> None:
        """Compare answers with and without neutral penalties."""
        for text, said in zip(TEXTS, self.written, strict=True):
            bare = text_of(await self._asker.write(text, _TOKENS, bare=True))
            if bare is None or bare == said:
                continue
            if text_of(await self._asker.write(text, _TOKENS)) != said:
                self._doubt("not_repeatable", "the same greedy request was answered differently")
                return
            self._doubt(
                "sampling_defaults",
                "the server has sampling defaults that change even greedy answers (the model's "
                "generation_config.json?); neutral values are sent with every request here, but "
                "users' requests without them get other answers",
            )
            return

    async def _at_once(self) -> None:
        """Ask again while other requests are under way; near ties may turn out otherwise."""
        other = 0
        asked = [*enumerate(TEXTS)] * 3

        async def one(item: tuple[int, str]) -> None:
            nonlocal other
            place, text = item
            found = await self._client.complete(text, max_tokens=_TOKENS)
            other += not isinstance(found, Completion) or found.text != self.written[place]

        await for_each(asked, one, at_once=min(_AT_ONCE, self._client.endpoint.concurrency))
        if other > _MOST_OTHER * len(asked):
            self._doubt(
                "concurrency",
                f"{other} of {len(asked)} greedy answers differ while other requests are under way",
            )

    async def _pin(self, answers: list[Completion | Failure]) -> bool:
        """Find an answer that ends by itself and have it go on."""
        engine, forced = self._client.endpoint.engine, None
        ended = [
            text
            for text, one in zip(TEXTS, answers, strict=True)
            if isinstance(one, Completion) and one.finish_reason == "stop"
        ]
        eos = self._eos()
        if not ended and eos is not None:
            cut = await self._asker.write(TEXTS[0], _PINNED, more=ending(engine, eos))
            if _ended(cut) == "stop":
                ended, forced = [TEXTS[0]], eos
        for text in ended:
            for fields in pinning(engine, _PINNED, forced):
                pinned = await self._asker.write(text, _PINNED, more=fields)
                tokens = pinned.usage.completion_tokens if pinned and pinned.usage else None
                if _ended(pinned) == "length" and tokens == _PINNED:
                    return True
        return False

    def _eos(self) -> int | None:
        """Return the id that ends an answer, from the tokenizer's folder."""
        path = self._client.endpoint.tokenizer_file
        config = None if path is None else path.with_name("generation_config.json")
        if config is None or not config.is_file():
            return None
        found = json.loads(config.read_text()).get("eos_token_id")
        found = found[0] if isinstance(found, list) and found else found
        return found if isinstance(found, int) else None

    def _doubt(self, code: str, text: str) -> None:
        self.caveats.append(Caveat(code=code, text=text))


def _ended(answer: Completions | None) -> str | None:
    return answer.choices[0].finish_reason if answer and answer.choices else None
