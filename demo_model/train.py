"""Train the demo model: a byte-level BPE tokenizer and a small Llama, from scratch, on a CPU.

The only data are the `train` questions of `evals.transactions`, generated afresh by seed. Kinds of
question (category and hops) join one at a time, when those before are learnt: with all of them at
once a model of this size stays at chance for thousands of steps.
Run from the repository root: `python -m demo_model.train`.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import shutil
import time
from collections import deque
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from torch.nn import functional
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

from evals.transactions import CATEGORIES, Question, choices, drills, generate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PAD, BOS, EOS = 0, 1, 2
SPECIALS = ("<pad>", "<bos>", "<eos>")
CONTEXT = 2048
VOCABULARY = 768
WATCH_SEED_SHIFT = 1_000_003
"""Added to the seed for the questions that watch training; `eval` questions never do."""
DRILL_SHARE = 0.4
"""Share of the questions that state the bare facts: rules are learnt there, wordings beside it."""
KNOWN_LOSS = 0.35
"""A kind of question counts as learnt below this answer loss in nats (chance: 0.69)."""
PATIENCE_STEPS = 130
"""After so many steps the next kind joins, learnt or not."""
MIX_SHARE = 0.45
"""Share of the steps, at the end, that ask all kinds alike while the learning rate falls."""
TEXT_WEIGHT = 0.1
"""Weight of predicting the question's text beside predicting its answer."""


def build_tokenizer(texts: Iterator[str]) -> Tokenizer:
    """Byte-level BPE: any UTF-8 text has tokens, and every digit is a token of its own."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=list(SPECIALS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A", pair="<bos> $A <bos>:1 $B:1", special_tokens=[("<bos>", BOS)]
    )
    return tokenizer


def save(model: LlamaForCausalLM, tokenizer: Tokenizer, out: Path) -> None:
    """Write a float16 checkpoint with its tokenizer, in the layout that AutoTokenizer takes."""
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    half = copy.deepcopy(model).half().eval()
    half.generation_config = GenerationConfig(pad_token_id=PAD, bos_token_id=BOS, eos_token_id=EOS)
    half.save_pretrained(out)
    (out / "model.safetensors").chmod(0o644)
    tokenizer.save(str(out / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": SPECIALS[BOS],
        "eos_token": SPECIALS[EOS],
        "pad_token": SPECIALS[PAD],
        "clean_up_tokenization_spaces": False,
        "model_max_length": CONTEXT,
        "chat_template": "{% for message in messages %}{{ message['content'] }}{% endfor %}",
    }
    (out / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")


def answer_id(tokenizer: Tokenizer, answer: str) -> int:
    """The one token of an answer such as ` yes`."""
    ids = tokenizer.encode(answer, add_special_tokens=False).ids
    if len(ids) != 1:
        raise SystemExit(f"{answer!r} is not one token")
    return int(ids[0])


@torch.inference_mode()
def accuracy(model: LlamaForCausalLM, tokenizer: Tokenizer, questions: list[Question]) -> str:
    """Share of questions, overall and by category, whose right answer is the more probable."""
    right = dict.fromkeys(CATEGORIES, 0)
    total = dict.fromkeys(CATEGORIES, 0)
    for question in questions:
        ids = tokenizer.encode(question.prompt).ids
        scores = model(input_ids=torch.tensor([ids])).logits[0, -1]
        yes, no = (answer_id(tokenizer, answer) for answer in choices(question.category))
        holds = bool(scores[yes] > scores[no])
        total[question.category] += 1
        right[question.category] += holds == (question.answer == choices(question.category)[0])
    parts = (f"{name} {100 * right[name] / total[name]:.0f}" for name in CATEGORIES)
    return f"{100 * sum(right.values()) / len(questions):.1f} % ({', '.join(parts)})"


Kind = tuple[str, int]


def pools(
    questions: list[Question], tokenizer: Tokenizer, rng: Random
) -> dict[Kind, deque[list[int]]]:
    """Encode questions and sort them by kind, each kind in random order."""
    texts = [q.prompt + q.answer for q in questions]
    encodings = tokenizer.encode_batch(texts, add_special_tokens=False)
    pairs = list(zip(questions, encodings, strict=True))
    rng.shuffle(pairs)
    found: dict[Kind, deque[list[int]]] = {}
    for question, encoding in pairs:
        kind = (question.category, question.hops)
        found.setdefault(kind, deque()).append([BOS, *encoding.ids, EOS])
    return found


class Curriculum:
    """Which questions come next. Kinds join in order of hops; half of a batch asks the newest."""

    def __init__(
        self,
        questions: list[Question],
        drill: list[Question],
        tokenizer: Tokenizer,
        rng: Random,
    ) -> None:
        self._rng = rng
        self._pools = pools(questions, tokenizer, rng)
        self._drills = pools(drill, tokenizer, rng)
        least = {name: min(h for c, h in self._pools if c == name) for name in CATEGORIES}
        order = list(reversed(CATEGORIES))
        self._waiting = sorted(
            self._pools, key=lambda kind: (kind[1] - least[kind[0]], order.index(kind[0]))
        )
        self.loss: dict[Kind, float] = {}
        self._newest: list[Kind] = []
        self._since_join = 0
        self._join()

    def _join(self) -> None:
        if self._waiting:
            kind = self._waiting.pop(0)
            self.loss[kind] = math.log(2)
            self._newest = [*self._newest[-1:], kind]
            self._since_join = 0

    def batch(self, size: int, *, mixed: bool) -> tuple[list[Kind], list[list[int]]]:
        """Return kinds and texts of one batch."""
        while mixed and self._waiting:
            self._join()
        known = list(self.loss)
        kinds = [
            known[number % len(known)]
            if mixed
            else self._rng.choice(self._newest if number % 2 else known)
            for number in range(size)
        ]
        return kinds, [self._take(kind) for kind in kinds]

    def _take(self, kind: Kind) -> list[int]:
        pool = (self._drills if self._rng.random() < DRILL_SHARE else self._pools)[kind]
        pool.append(text := pool.popleft())
        return text

    def note(self, kinds: list[Kind], losses: list[float]) -> None:
        """Remember how a batch went, and let the next kind in if it went well."""
        for kind, loss in zip(kinds, losses, strict=True):
            self.loss[kind] += 0.02 * (loss - self.loss[kind])
        self._since_join += 1
        learnt = all(self.loss[kind] < KNOWN_LOSS for kind in self._newest)
        if learnt or self._since_join >= PATIENCE_STEPS:
            self._join()


def losses(
    forward: Callable[..., Any], texts: list[list[int]]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Cross-entropy in nats: of each text's answer, and the mean over all tokens."""
    width = max(map(len, texts))
    ids = torch.tensor([text + [PAD] * (width - len(text)) for text in texts])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = forward(input_ids=ids[:, :-1], use_cache=False).logits
    each = functional.cross_entropy(
        logits.float().flatten(0, 1), ids[:, 1:].flatten(), reduction="none"
    ).view(len(texts), -1)
    answers = each[torch.arange(len(texts)), [len(text) - 3 for text in texts]]
    return answers, each[ids[:, 1:] != PAD].mean()


def train(args: argparse.Namespace) -> None:
    """Generate, train, save."""
    began = time.monotonic()
    torch.manual_seed(args.seed)
    torch.set_num_threads(args.threads)
    rng = Random(args.seed)  # noqa: S311
    questions = generate(args.seed, args.questions, "train")
    watched = generate(args.seed + WATCH_SEED_SHIFT, 420, "train")
    tokenizer = build_tokenizer(q.prompt + q.answer for q in questions[:20_000])
    config = LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=128, intermediate_size=384, num_hidden_layers=4,
        num_attention_heads=4, num_key_value_heads=4, max_position_embeddings=CONTEXT,
        tie_word_embeddings=True, pad_token_id=PAD, bos_token_id=BOS, eos_token_id=EOS,
        initializer_range=0.05,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    model.set_attn_implementation("eager")  # at these sizes faster on a CPU than the fused kernel
    forward = torch.compile(model, dynamic=True) if args.compile else model
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=args.lr, betas=(0.9, 0.98), weight_decay=0.05, fused=True
    )
    curriculum = Curriculum(questions, drills(args.seed, args.questions), tokenizer, rng)
    mix_from = round((1 - MIX_SHARE) * args.steps)
    for step in range(1, args.steps + 1):
        kinds, texts = curriculum.batch(args.batch, mixed=step > mix_from)
        optimizer.zero_grad()
        order = sorted(range(len(texts)), key=lambda place: len(texts[place]))
        told: list[float] = [0.0] * len(texts)
        for half in (order[: len(order) // 2], order[len(order) // 2 :]):  # less padding
            answers, text_loss = losses(forward, [texts[place] for place in half])
            ((answers.mean() + TEXT_WEIGHT * text_loss) / 2).backward()
            for place, loss in zip(half, answers.tolist(), strict=True):
                told[place] = loss
        falling = max(0.0, (step - mix_from) / (args.steps - mix_from))
        for group in optimizer.param_groups:
            cosine = 0.5 * (1 + math.cos(math.pi * falling))
            group["lr"] = args.lr * min(1, step / 50) * (0.02 + 0.98 * cosine)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        curriculum.note(kinds, told)
        if step % 50 == 0:
            shown = " ".join(f"{name[:5]}{h}={v:.2f}" for (name, h), v in curriculum.loss.items())
            print(f"{step} {time.monotonic() - began:.0f} s {shown}", flush=True)
        if step % args.watch == 0 or step == args.steps:
            print("watched", accuracy(model, tokenizer, watched), flush=True)
            save(model, tokenizer, args.out)


def main() -> None:
    """Read the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("launchers/models/demo-fp16"))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--questions", type=int, default=120_000)
    parser.add_argument("--steps", type=int, default=3200)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--watch", type=int, default=400, help="steps from one look to the next")
    parser.add_argument(
        "--compile", action=argparse.BooleanOptionalAction, default=True,
        help="halve the time with torch.compile; needs a C++ compiler",
    )  # fmt: skip
    train(parser.parse_args())


if __name__ == "__main__":
    main()
