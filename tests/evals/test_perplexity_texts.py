"""Where texts come from, and what a token of them is."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from evals.errors import NeedError, SuiteError
from evals.perplexity import hub
from evals.perplexity.documents import Document
from evals.perplexity.encoding import encode, joined
from evals.perplexity.prose import transactions
from evals.perplexity.texts import load_documents
from evals.suite import SUITES
from evals.transactions import CATEGORIES, generate, templates
from evals.vocabulary import load_vocabulary
from launchers.environments import installed

if TYPE_CHECKING:
    from collections.abc import Callable

DEMO = Path(__file__).parents[2] / "launchers" / "models" / "demo-fp16"
VOCABULARY = load_vocabulary(str(DEMO))
LM_EVAL = installed("lm-eval")


def load(name: str, base_dir: Path = SUITES, python: Path | None = None) -> list[Document]:
    return list(load_documents(name, base_dir, python))


def test_the_embedded_text_is_the_held_out_split_s() -> None:
    documents = transactions()
    assert transactions() == documents
    assert len({document.text for document in documents}) == len(documents)
    assert {document.category for document in documents} == set(CATEGORIES)
    wordings = {document.cluster for document in documents}
    assert wordings == {name for category in CATEGORIES for name in templates(category, "eval")}
    counts = {name: sum(d.cluster == name for d in documents) for name in wordings}
    assert set(counts.values()) == {4}
    asked = {question.prompt for question in generate(20, 3000, "train")}
    assert not any(document.text.rpartition(":")[0] + ":" in asked for document in documents)
    size = sum(len(encode(VOCABULARY, document).ids) for document in documents)
    assert 10_000 < size < 20_000


@given(text=st.text(alphabet=st.characters(codec="utf-8"), min_size=1, max_size=60))
def test_every_byte_and_word_is_one_token_s(text: str) -> None:
    found = encode(VOCABULARY, Document(text))
    n = len(found.ids)
    assert len(found.char_at) == len(found.byte_at) == len(found.word_at) == n + 1
    assert (found.byte_at[0], found.byte_at[n]) == (0, len(text.encode()))
    assert (found.word_at[0], found.word_at[n]) == (0, len(text.split()))
    for k in range(n + 1):
        part = text[: found.char_at[k]]
        assert found.byte_at[k] == len(part.encode())
        assert found.word_at[k] == len(part.split())
    assert (found.byte_at[1:] >= found.byte_at[:-1]).all()


def tokenizer(folder: Path, change: Callable[[Tokenizer], object], **config: object) -> str:
    changed = Tokenizer.from_file(str(DEMO / "tokenizer.json"))
    change(changed)
    folder.mkdir(exist_ok=True)
    changed.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return str(folder)


def no_bos(changed: Tokenizer) -> None:
    from tokenizers.processors import ByteLevel

    changed.post_processor = ByteLevel(trim_offsets=True)


def test_a_tokenizer_file_that_cuts_or_fills_texts_does_neither_here(tmp_path: Path) -> None:
    cuts = load_vocabulary(tokenizer(tmp_path / "cuts", lambda t: t.enable_truncation(5)))
    fills = load_vocabulary(tokenizer(tmp_path / "fills", lambda t: t.enable_padding(length=99)))
    text = Document("Anna paid $120 in Oslo and $7 in Rome.")
    ids = encode(VOCABULARY, text).ids
    assert len(ids) > 5
    assert encode(cuts, text).ids == encode(fills, text).ids == ids


def test_the_tokenizer_s_own_bos_rule(tmp_path: Path) -> None:
    assert (VOCABULARY.bos, VOCABULARY.bos_name, VOCABULARY.adds_bos) == (1, "<bos>", True)
    plain = load_vocabulary(tokenizer(tmp_path / "a", no_bos))
    assert (plain.bos, plain.adds_bos) == (None, False)
    named = load_vocabulary(tokenizer(tmp_path / "b", no_bos, bos_token="<bos>"))
    assert (named.bos, named.adds_bos) == (1, False)
    told = load_vocabulary(
        tokenizer(tmp_path / "c", no_bos, bos_token={"content": "<bos>"}, add_bos_token=True)
    )
    assert (told.bos, told.adds_bos) == (1, True)


@pytest.mark.parametrize("folder", [None, "/nowhere"])
def test_no_tokenizer(folder: str | None) -> None:
    with pytest.raises(NeedError, match="--tokenizer"):
        load_vocabulary(folder)


def test_a_file_is_read_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbf one\r\n\r\ntwo \xe2\x82\xac\n")
    assert load("a.txt", tmp_path) == [Document(" one\r\n\r\ntwo €\n")]


def test_documents(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "one", "cluster": "c", "id": 7}\n\n{"text": "two"}\n')
    documents = load("a.jsonl", tmp_path)
    assert documents == [Document("one", cluster="c"), Document("two")]
    assert joined(documents, " + ") == Document("one + two")
    assert joined(documents[:1], " + ") == documents[0]


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.txt", b"\xff", "not UTF-8 at byte 0"),
        ("a.txt", b"", "there is no text in it"),
        ("a.jsonl", b'{"text": "a"}\n{"txt": "b"}\n', "line 2: .*missing required field `text`"),
        ("a.jsonl", b'{"text": "a"}\n{"text": 5}\n', "line 2: "),
        ("a.jsonl", b'{"text": "a\n', "line 1: "),
        ("b.txt", b"a", "cannot read"),
        ("b.parquet", b"a", "there is no file"),
        ("embedded:poems", b"a", "known are embedded:python-docs, embedded:python-docs-cal"),
        ("hub:poems", b"a", "known are hub:c4, hub:c4-train, hub:wikitext2"),
    ],
)
def test_what_is_wrong_with_a_text_is_told(
    tmp_path: Path, name: str, data: bytes, message: str
) -> None:
    (tmp_path / name.replace("b.", "a.").replace(":", "-")).write_bytes(data)
    with pytest.raises(SuiteError, match=message) as raised:
        load(name, tmp_path)
    assert f'text = "{name}"' in str(raised.value)


def test_a_text_of_half_characters(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "a\\ud800"}')
    with pytest.raises(SuiteError):
        encode(VOCABULARY, load("a.jsonl", tmp_path)[0])


def test_the_hub_is_asked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path))
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "wikitext2.jsonl").write_text('{"text": ""}\n{"text": " = A = \\n"}\n')
    assert load("hub:wikitext2") == [Document(""), Document(" = A = \n")]


def test_without_the_package_it_says_how_to_get_it_and_what_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path))
    with pytest.raises(NeedError, match=r"harness engines install lm-eval.*your own copy"):
        load("hub:c4")
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    with pytest.raises(NeedError, match="harness engines install lm-eval"):
        load("a.parquet", tmp_path)


needs_lm_eval = pytest.mark.skipif(LM_EVAL is None, reason="run `harness engines install lm-eval`")


@needs_lm_eval
def test_offline_the_hub_is_a_need(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    with pytest.raises(NeedError, match=r"hub:wikitext2 cannot be fetched: .*your own copy"):
        load("hub:wikitext2", python=LM_EVAL)


@needs_lm_eval
@pytest.mark.parametrize("column", ["text", "page"])
@pytest.mark.parametrize("kind", ["parquet", "arrow", "stream"])
def test_tables_as_downloaded(tmp_path: Path, column: str, kind: str) -> None:
    name = "a.parquet" if kind == "parquet" else "a.arrow"
    write = {
        "parquet": "import pyarrow.parquet as pq; pq.write_table(t, sys.argv[1])",
        "arrow": "w = pa.ipc.new_file(sys.argv[1], t.schema); w.write_table(t); w.close()",
        "stream": "w = pa.ipc.new_stream(sys.argv[1], t.schema); w.write_table(t); w.close()",
    }[kind]
    code = f"import sys, pyarrow as pa; t = pa.table({{{column!r}: ['one €', 'two']}}); {write}"
    subprocess.run([str(LM_EVAL), "-c", code, str(tmp_path / name)], check=True)
    assert load(name, tmp_path, LM_EVAL) == [Document("one €"), Document("two")]


@needs_lm_eval
def test_a_table_without_text(tmp_path: Path) -> None:
    code = (
        "import sys, pyarrow as pa, pyarrow.parquet as pq; "
        "pq.write_table(pa.table({'words': ['a']}), sys.argv[1])"
    )
    path = tmp_path / "a.parquet"
    subprocess.run([str(LM_EVAL), "-c", code, str(path)], check=True)
    with pytest.raises(NeedError, match="no column text or page; there are words"):
        load("a.parquet", tmp_path, LM_EVAL)


@needs_lm_eval
def test_the_hubs_layouts(tmp_path: Path) -> None:
    # `datasets` takes a folder of the working directory for a hub's repository of that name
    wikitext = tmp_path / "Salesforce" / "wikitext"
    c4 = tmp_path / "allenai" / "c4" / "en"
    code = (
        "import sys, pyarrow as pa, pyarrow.parquet as pq; "
        "pq.write_table(pa.table({'text': sys.argv[2:]}), sys.argv[1])"
    )
    for config in ("wikitext-2-raw-v1", "wikitext-103-raw-v1"):
        for split in ("test", "train"):
            path = wikitext / config / f"{split}-00000-of-00001.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            rows = ["", f" = {config} {split} = \n"]
            subprocess.run([str(LM_EVAL), "-c", code, str(path), *rows], check=True)
    configs = "".join(
        f"- config_name: {config}\n  data_files:\n  - split: test\n    path: {config}/test-*\n"
        for config in ("wikitext-2-raw-v1", "wikitext-103-raw-v1")
    )
    (wikitext / "README.md").write_text(f"---\nconfigs:\n{configs}---\n")
    c4.mkdir(parents=True)
    with gzip.open(c4 / "c4-validation.00000-of-00008.json.gz", "wt") as file:
        for number in range(1200):
            file.write(json.dumps({"text": f"document {number}", "url": "u"}) + "\n")

    def fetched(name: str) -> list[str]:
        argv = [str(LM_EVAL), "-P", str(hub.PROGRAM), name]
        environment = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hf")}
        done = subprocess.run(
            argv, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, check=True
        )
        return [json.loads(line)["text"] for line in done.stdout.splitlines()]

    assert fetched("wikitext2") == ["", " = wikitext-2-raw-v1 test = \n"]
    assert fetched("c4") == [f"document {number}" for number in range(1100)]
