"""Score a build of the demo model on the `eval` questions: accuracy by category, answer flips.

`--path DIR` loads a checkpoint with transformers, `--url http://HOST:PORT/v1` asks a server
(`/v1/completions`, one token, temperature 0) and tells the perplexity of questions and answers as
well (echoed log-probabilities). With neither, every build in `launchers/models` is
loaded in turn and compared with the first. An answer counts only if it is exactly the gold token;
the interval is Wilson's at 95 %, as if questions were independent.
Run from the repository root: `python -m demo_model.score`.
"""

import argparse
import json
import math
import urllib.request
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from evals.transactions import CATEGORIES, Question, generate, templates

MODELS = Path("launchers/models")
BUILDS = ("demo-fp16", "demo-gptq", "demo-awq", "demo-damaged")


def complete(url: str, model: str, prompt: str, **more: object) -> dict[str, Any]:
    """The one choice of an answer of one token at temperature 0."""
    body = {"model": model, "prompt": prompt, "max_tokens": 1, "temperature": 0, **more}
    request = urllib.request.Request(  # noqa: S310 (the user names the URL)
        f"{url}/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=120) as response:  # noqa: S310
        choice: dict[str, Any] = json.load(response)["choices"][0]
    return choice


def ask_server(url: str, model: str, questions: Sequence[Question]) -> list[str]:
    """The texts that an OpenAI-compatible server answers, eight requests at a time."""
    with ThreadPoolExecutor(8) as pool:
        return [
            str(choice["text"])
            for choice in pool.map(lambda q: complete(url, model, q.prompt), questions)
        ]


def perplexity(url: str, model: str, questions: Sequence[Question]) -> tuple[float, int]:
    """Per token, over questions with their right answers, each behind BOS; and how many tokens."""

    def score(question: Question) -> list[float]:
        text = question.prompt + question.answer
        choice = complete(url, model, text, echo=True, logprobs=1)
        return list(choice["logprobs"]["token_logprobs"][1:-1])  # without BOS and the made token

    with ThreadPoolExecutor(8) as pool:
        scores = [value for values in pool.map(score, questions) for value in values]
    return math.exp(-math.fsum(scores) / len(scores)), len(scores)


def ask_checkpoint(path: Path, dtype: str, questions: Sequence[Question]) -> list[str]:
    """The most probable next token of each prompt, by transformers."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(path)
    model = AutoModelForCausalLM.from_pretrained(path, dtype=getattr(torch, dtype)).eval()
    answers = []
    with torch.inference_mode():
        for start in range(0, len(questions), 64):
            texts = [tokenizer(q.prompt)["input_ids"] for q in questions[start : start + 64]]
            width = max(map(len, texts))
            ids = torch.tensor([text + [0] * (width - len(text)) for text in texts])
            logits = model(input_ids=ids).logits
            for text, scores in zip(texts, logits, strict=True):
                answers.append(tokenizer.decode([int(scores[len(text) - 1].argmax())]))
    return answers


def wilson(right: int, total: int) -> tuple[float, float]:
    """The 95 % Wilson interval of a proportion."""
    z = 1.959964
    middle = (right + z * z / 2) / (total + z * z)
    half = z / (total + z * z) * math.sqrt(right * (total - right) / total + z * z / 4)
    return max(0.0, middle - half), min(1.0, middle + half)


def line(name: str, marks: Sequence[bool]) -> str:
    """One row of the table: accuracy in per cent, interval, number of questions."""
    if not marks:
        return f"{name:<28}     –"
    low, high = wilson(sum(marks), len(marks))
    share = 100 * sum(marks) / len(marks)
    return f"{name:<28}{share:6.1f} %  [{100 * low:.1f}, {100 * high:.1f}]  n={len(marks)}"


def report(questions: Sequence[Question], answers: Sequence[str]) -> None:
    """Print the accuracy overall, by category, by hops, and for wordings unseen in training."""
    marked = [(q, answer == q.answer) for q, answer in zip(questions, answers, strict=True)]
    print(line("overall", [right for _, right in marked]))
    for category in CATEGORIES:
        print(line(category, [right for q, right in marked if q.category == category]))
        for hops in sorted({q.hops for q in questions if q.category == category}):
            marks = [right for q, right in marked if (q.category, q.hops) == (category, hops)]
            print(line(f"    {hops} hops", marks))
    known = {template for category in CATEGORIES for template in templates(category, "train")}
    print(line("wordings seen in training", [r for q, r in marked if q.template in known]))
    print(line("wordings never seen", [r for q, r in marked if q.template not in known]))


def flips(questions: Sequence[Question], before: Sequence[str], after: Sequence[str]) -> str:
    """How many answers differ, and how many of those were lost (right before) or gained."""
    triples = list(zip(questions, before, after, strict=True))
    changed = sum(b != a for _, b, a in triples)
    lost = sum(b == q.answer != a for q, b, a in triples)
    gained = sum(a == q.answer != b for q, b, a in triples)
    return f"answers changed against the baseline: {changed} ({lost} lost, {gained} gained)"


def main() -> None:
    """Read the command line, ask, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--path", type=Path, help="checkpoint folder")
    parser.add_argument("--url", help="API base of a server, e.g. http://127.0.0.1:8000/v1")
    parser.add_argument("--model", default="demo", help="the model's name on the server")
    parser.add_argument("--dtype", default="bfloat16", help="for checkpoints")
    parser.add_argument("--n", type=int, default=2100, help="number of questions")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--save", type=Path, help="write the answers to this JSON file")
    parser.add_argument("--baseline", type=Path, help="answers to compare with")
    args = parser.parse_args()
    questions = generate(args.seed, args.n, "eval")
    if not args.url and not args.path:
        baseline: list[str] = []
        for build in BUILDS:
            print(f"== {build} (transformers, {args.dtype})")
            answers = ask_checkpoint(MODELS / build, args.dtype, questions)
            report(questions, answers)
            baseline = baseline or answers
            print(flips(questions, baseline, answers))
        return
    if args.url:
        answers = ask_server(args.url, args.model, questions)
        value, tokens = perplexity(args.url, args.model, questions)
        print(f"perplexity {value:.4f} a token, over {tokens} tokens")
    else:
        answers = ask_checkpoint(args.path, args.dtype, questions)
    report(questions, answers)
    if args.save:
        args.save.write_text(json.dumps(answers))
    if args.baseline:
        print(flips(questions, json.loads(args.baseline.read_text()), answers))


if __name__ == "__main__":
    main()
