"""`harness mock`."""

import os
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from harness.errors import BadInputError, ExitCode
from launchers.mock.options import (
    Options,
    OptionsError,
    parse_fault,
    parse_lie,
    parse_page_lie,
    parse_race,
    parse_share,
)
from launchers.mock.server import serve


def mock(  # noqa: PLR0913 - one flag each
    *,
    host: str = Options.host,
    port: int = Options.port,
    ttft_ms: float = Options.ttft_ms,
    itl_ms: float = Options.itl_ms,
    jitter_ms: float = Options.jitter_ms,
    slots: Annotated[int, Parameter(name=["--slots", "--max-num-seqs"])] = Options.slots,
    step_ms: float = Options.step_ms,
    step_per_answer_ms: float = Options.step_per_answer_ms,
    tokens_per_step: int = Options.tokens_per_step,
    prefill_tokens_per_step: int = Options.prefill_tokens_per_step,
    kv_tokens: int = Options.kv_tokens,
    natural_tokens: int = Options.natural_tokens,
    words: bool = False,
    stamps: bool = False,
    fault: Annotated[list[str] | None, Parameter(negative=())] = None,
    seed: int = Options.seed,
    tokenizer: Path | None = None,
    max_model_len: int = Options.max_model_len,
    knows: Path | None = None,
    accuracy: float = Options.accuracy,
    wrong_in: Annotated[list[str] | None, Parameter(negative=())] = None,
    damage: float = Options.damage,
    race: str | None = None,
    lie: Annotated[list[str] | None, Parameter(negative=())] = None,
    page_lie: Annotated[list[str] | None, Parameter(negative=())] = None,
    engine: str = Options.engine,
    close: bool = False,
    api_key_env: str | None = None,
    tls_cert: Path | None = None,
    tls_key: Path | None = None,
    truth: Path | None = None,
) -> int:
    """Serve made-up answers with known timing, print the URL, stay until interrupted.

    It speaks OpenAI's API, streaming or not, has /health, /v1/models and a small /metrics page,
    and needs no model and no GPU. What is not streamed comes from a made-up language model whose
    every log-probability is known, and which is scored (echo, logprobs, token ids) as vLLM is.

    Args:
        host: Address to listen on.
        port: A free one unless given.
        ttft_ms: From a request (or from its slot) to its first token.
        itl_ms: Between tokens.
        jitter_ms: Up to so much is added to an answer's TTFT.
        slots: Answers at once, the others wait; any number unless given.
        step_ms: Work in steps as engines do, in place of --ttft-ms and --itl-ms: every so often
            each running answer gets one token, all at once.
        step_per_answer_ms: Added to a step for each answer that gets a token in it.
        tokens_per_step: Tokens that a step gives each running answer, written together.
        prefill_tokens_per_step: Prompt tokens that one step takes in; any number unless given.
        kv_tokens: Tokens that the KV cache holds. When it is full the latest answers are pushed
            back and computed anew.
        natural_tokens: Mean length at which answers end by themselves, unless the request says
            ignore_eos; without it they are as long as asked.
        words: Answer in varied words in place of one token over and over.
        stamps: Make each token's text the moment it was sent, CLOCK_MONOTONIC in ns.
        fault: NAME[:SHARE], several allowed: what goes wrong with that share of the requests
            (all, unless said). A name that is none lists them.
        seed: Of faults, jitter, lengths, words and the model: another seed is another model.
        tokenizer: Folder with a tokenizer.json; without it every byte is a token.
        max_model_len: Context length in tokens; longer requests are refused.
        knows: JSON lines of "prompt", "answer" and, where wanted, "category", "choices", "wrong":
            the model answers these, right or wrong by a hash of seed and prompt.
        accuracy: Share of them that it answers right.
        wrong_in: CATEGORY:SHARE, several allowed: that share of a category is answered wrong.
        damage: 0 to 1, how much of what the model says surely goes to chance, as by quantizing.
        race: REQUESTS:SHARE, with so many other requests under way that share of the right answers
            comes out wrong.
        lie: NAME[:NUMBER], several allowed: a way to score wrongly without a word: no_echo,
            echo_no_logprobs, add_bos, double_bos, text_bos, no_text_bos, retokenize,
            truncate_left, truncate_answers, ignore_stop, penalty, penalty_always, shift, clamp,
            positive, nan, null_twice, named_renormalised, named_moved, reorder, duplicate_index,
            drop_choice, wrong_usage, no_usage, no_ids, empty_text, none_content, other_model,
            other_model_silent, drift, cache_dependent, order_dependent, batch_dependent,
            concurrency_dependent. A name that is none explains them.
        page_lie: NAME[:NUMBER], several allowed: what the metrics page says that is not so: tokens,
            requests, ttft, hits. A name that is none explains them.
        engine: Whose pages it has and what it cannot do: any, vllm, sglang, tgi, llama.cpp,
            openai or transformers.
        close: Close the connection after every answer.
        api_key_env: Environment variable with the bearer token to insist on.
        tls_cert: PEM file of a certificate: speak https.
        tls_key: PEM file of its key.
        truth: File to write down in when each token of each answer was sent.
    """
    key = ""
    if api_key_env is not None and not (key := os.environ.get(api_key_env, "")):
        raise BadInputError(
            "--api-key-env: no environment variable of that name is set",
            hint="Name the variable, not the key itself: export KEY=… and --api-key-env KEY",
        )
    try:
        options = Options(
            host=host,
            port=port,
            ttft_ms=ttft_ms,
            itl_ms=itl_ms,
            jitter_ms=jitter_ms,
            slots=slots,
            step_ms=step_ms,
            step_per_answer_ms=step_per_answer_ms,
            tokens_per_step=tokens_per_step,
            prefill_tokens_per_step=prefill_tokens_per_step,
            kv_tokens=kv_tokens,
            natural_tokens=natural_tokens,
            words=words,
            stamps=stamps,
            seed=seed,
            tokenizer=tokenizer,
            max_model_len=max_model_len,
            knows=knows,
            accuracy=accuracy,
            wrong_in=tuple(parse_share(text, "wrong_in") for text in wrong_in or ()),
            damage=damage,
            race=Options.race if race is None else parse_race(race),
            lies=tuple(map(parse_lie, lie or ())),
            page_lies=tuple(map(parse_page_lie, page_lie or ())),
            engine=engine,
            faults=tuple(map(parse_fault, fault or ())),
            close=close,
            api_key=key,
            tls_cert=tls_cert,
            tls_key=tls_key,
            truth=truth,
        )
        serve(options, _say)
    except OptionsError as error:
        raise BadInputError(str(error)) from error
    except KeyboardInterrupt:
        print("stopping", file=sys.stderr)
    return ExitCode.OK


def _say(url: str) -> None:
    print(url, flush=True)
    print("model mock; Ctrl-C stops it", file=sys.stderr)
