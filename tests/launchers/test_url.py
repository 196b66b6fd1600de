from __future__ import annotations

import json
import socket
import ssl
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from launchers.errors import ConnectError
from launchers.replicas import connect_all
from launchers.trust import tls_problem
from launchers.url import candidates, connect

if TYPE_CHECKING:
    from tests.launchers.conftest import Pages, Serve


def models(*names: str, **fields: object) -> tuple[int, object]:
    return 200, {"object": "list", "data": [{"id": name, **fields} for name in names]}


CACHE = (
    'vllm:cache_config_info{block_size="128",cache_dtype="auto",enable_prefix_caching="True",'
    'num_gpu_blocks="4096",num_cpu_blocks="None"} 1.0\n'
)


def test_a_vllm_is_known_by_what_it_says(serve: Serve) -> None:
    root = serve(
        {
            "/v1/models": models("llama", owned_by="vllm", max_model_len=2048),
            "/version": (200, {"version": "0.32.0"}),
            "/metrics": (200, "# HELP x\n" + CACHE),
        }
    )
    server = connect(root)
    assert (server.build, server.engine, server.engine_version) == ("url", "vllm", "0.32.0")
    assert server.base_url == f"{root}/v1"
    assert (server.model, server.max_model_len) == ("llama", 2048)
    assert server.pin_output == ("ignore_eos", "min_tokens")
    assert server.kv_cache_tokens == 128 * 4096
    assert (server.pid, server.log, server.tokenizer) == (None, None, None)


def test_an_unknown_server_is_taken_as_it_is(serve: Serve) -> None:
    server = connect(serve({"/v1/models": models("m")}))
    assert (server.engine, server.engine_version, server.pin_output) == ("unknown", None, ())


@pytest.mark.parametrize("suffix", ["", "/", "/v1", "/v1/", "/v1/models", "/v1/chat/completions"])
def test_the_base_is_found_however_it_is_typed(serve: Serve, suffix: str) -> None:
    root = serve({"/v1/models": models("m")})
    assert connect(root + suffix).base_url == f"{root}/v1"
    assert connect(root.removeprefix("http://") + suffix).base_url == f"{root}/v1"


def test_a_base_with_another_path(serve: Serve) -> None:
    root = serve({"/openai/models": models("m")})
    assert connect(f"{root}/openai").base_url == f"{root}/openai"
    assert candidates("https://h/openai") == ["https://h/openai/v1", "https://h/openai"]
    assert candidates("https://h/api/v2") == ["https://h/api/v2"]
    assert candidates("[::1]:80") == ["http://[::1]:80/v1"]


@pytest.mark.parametrize("prefix", ["", "/llm-a", "/a/b"])
def test_all_pages_lie_where_the_models_do(serve: Serve, prefix: str) -> None:
    pages = {
        f"{prefix}/v1/models": models("m", owned_by="vllm"),
        f"{prefix}/version": (200, {"version": "0.32.0"}),
        f"{prefix}/metrics": (200, CACHE),
    }
    gateway = {
        "/version": (200, {"version": "gateway"}),
        "/metrics": (200, ""),
        "/health": (200, ""),
    }
    root = serve(gateway | pages)
    server = connect(f"{root}{prefix}/v1")
    assert (server.engine_version, server.kv_cache_tokens) == ("0.32.0", 128 * 4096)
    if prefix:
        alone = serve(gateway | {f"{prefix}/v1/models": models("m", owned_by="vllm")})
        assert connect(f"{alone}{prefix}/v1").engine_version is None
        with pytest.raises(ConnectError, match="answered 404"):  # only the gateway is healthy
            connect(f"{serve(gateway)}{prefix}/v1", "m")
    healthy = f"{serve({f'{prefix}/health': (200, 'ok')})}{prefix}/v1"
    assert connect(healthy, "m").base_url == healthy


def test_a_base_without_a_version_has_all_pages_beneath_it(serve: Serve) -> None:
    pages = {
        "/openai/models": models("m"),
        "/openai/version": (200, {"version": "1"}),
        "/version": (200, {"version": "gateway"}),
    }
    assert connect(f"{serve(pages)}/openai").engine_version == "1"


@pytest.mark.parametrize("url", ["ftp://h/v1", "http://", "http://h:99999", "", "http://h:0/v1"])
def test_no_url(url: str) -> None:
    with pytest.raises(ConnectError, match=r"http://127\.0\.0\.1:8000/v1"):
        connect(url)


def test_a_password_in_the_url_is_refused_and_not_repeated() -> None:
    with pytest.raises(ConnectError, match="--api-key-env") as caught:
        connect("http://me:hunter2@127.0.0.1:8000/v1")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        *("http://me:hunter2@h:99999/v1", "me:hunter2@h:x", "ftp://me:hunter2@h/v1"),
        *("http://hunter2@h:0", "http://me:hunter2@", "http://me:hunter2@h/v1?v=1"),
        *("http://me:hunter2/x@h", "http://me:x/hunter2@h", "http://me:hunter2#x@h"),
        *("http://me:hunter2?x@h", "ftp://me:x hunter2@h", "http://me:hunter2 /x@h"),
        *("http://me:x@hunter2@h:y", "http://[me:hunter2@h", "http:me:hunter2@h"),
        *("http://h/v1?api_key=hunter2", "http://h/v1?code=hunter2", "http://h/v1#hunter2"),
        *("ftp://h/v1?api_key=hunter2", "http://h:x/v1?code=hunter2", "h/v1?token=hunter2"),
    ],
)
def test_no_error_repeats_a_secret(url: str) -> None:
    with pytest.raises(ConnectError) as caught:
        connect(url)
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_wrong_url_is_named() -> None:
    with pytest.raises(ConnectError, match=r"'ftp://h/v1' is no http"):
        connect("ftp://h/v1?x=1")
    with pytest.raises(ConnectError, match=r"'http://\*\*\*@h:x' is no URL"):
        connect("me:hunter2@h:x")


def test_a_query_is_refused() -> None:
    with pytest.raises(ConnectError, match="query"):
        connect("http://127.0.0.1:8000/v1?version=1")


def test_nobody_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(ConnectError, match=rf"cannot connect to .*:{port}/v1.*is the server up"):
        connect(f"http://127.0.0.1:{port}")


def test_a_host_that_does_not_exist() -> None:
    with pytest.raises(ConnectError, match="cannot connect to"):
        connect("http://no-such-host.invalid:8000/v1")


def test_nobody_answers() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(ConnectError, match="did not answer in time"):
            connect(url, timeout_s=0.2)


def test_something_that_is_not_http() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:

        def answer() -> None:
            connection, _ = other.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(b"-ERR unknown command\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(ConnectError, match="does not speak HTTP"):
            connect(f"http://127.0.0.1:{other.getsockname()[1]}/v1")
        thread.join()


def test_https_to_a_plain_server(serve: Serve) -> None:
    root = serve({"/v1/models": models("m")})
    with pytest.raises(ConnectError, match=r"cannot connect to https.*does not speak TLS.*http://"):
        connect(root.replace("http:", "https:"))


@pytest.mark.parametrize("words", [b"", b"\x16\x03\x01\xff\xff" + 50 * b"x"])
def test_https_to_one_that_hangs_up_or_says_something_else(words: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:

        def answer() -> None:
            connection, _ = other.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(words)

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(ConnectError, match="does not speak TLS"):
            connect(f"https://127.0.0.1:{other.getsockname()[1]}/v1")
        thread.join()


@pytest.mark.parametrize("kind", [ssl.SSLEOFError, ssl.SSLZeroReturnError])
def test_a_hang_up_by_either_name(kind: type[ssl.SSLError]) -> None:
    outer = OSError("all attempts failed")
    outer.__cause__ = kind(8, "closed")
    assert "does not speak TLS" in str(tls_problem(outer))


def test_a_key_is_asked_for_and_taken_from_the_environment(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = serve({"/v1/models": (200, "key?")})
    with pytest.raises(ConnectError, match=r"answered 401.*--api-key-env"):
        connect(root)
    with pytest.raises(ConnectError, match=r"MY_KEY.*is not set"):
        connect(root, api_key_env="MY_KEY")
    monkeypatch.setenv("MY_KEY", "hunter2")
    server = connect(root, api_key_env="MY_KEY")
    assert server.model == "guarded"
    assert "hunter2" not in repr(server)
    assert connect(root, headers={"Authorization": "Bearer hunter2"}).model == "guarded"


def test_a_404_names_the_base(serve: Serve) -> None:
    with pytest.raises(ConnectError, match=r"/v1/models answered 404.*the API's base"):
        connect(serve({}))
    with pytest.raises(ConnectError, match="answered 404"):
        connect(serve({}), "m")


@pytest.mark.parametrize(
    "pages", [{"/v1/models": (500, "no hub")}, {"/health": (200, "ok")}], ids=["500", "404"]
)
def test_a_server_that_cannot_list_its_models_needs_a_name(serve: Serve, pages: Pages) -> None:
    root = serve(pages)
    with pytest.raises(ConnectError, match="name one with --model"):
        connect(root)
    assert connect(root, "m").model == "m"


@pytest.mark.parametrize("page", ["<html>hello</html>", {"data": 3}, [1]])
def test_a_page_that_is_no_list_of_models(serve: Serve, page: object) -> None:
    with pytest.raises(ConnectError, match="no list of models"):
        connect(serve({"/v1/models": (200, page)}))


def test_redirects_are_not_followed(serve: Serve) -> None:
    with pytest.raises(ConnectError, match=r"redirects to https://elsewhere\.example") as caught:
        connect(serve({"/v1/models": (307, "")}))
    assert "hunter2" not in str(caught.value)


def test_several_models_need_a_choice(serve: Serve) -> None:
    root = serve({"/v1/models": models("llama-awq", "llama-fp16")})
    with pytest.raises(ConnectError, match="llama-awq, llama-fp16: choose one with --model"):
        connect(root)
    assert connect(root, "llama-fp16").model == "llama-fp16"
    with pytest.raises(ConnectError, match="did you mean 'llama-awq'"):
        connect(root, "lama-awq")


def test_no_model_at_all(serve: Serve) -> None:
    with pytest.raises(ConnectError, match="lists no model"):
        connect(serve({"/v1/models": models()}))


def test_proxies_of_the_environment_are_left_out(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    assert connect(serve({"/v1/models": models("m")})).model == "m"


# --- replicas of one deployment ----------------------------------------------------------------


def test_replicas_are_one_server(serve: Serve) -> None:
    one = serve({
        "/v1/models": models("m", owned_by="vllm", max_model_len=2048),
        "/metrics": (200, CACHE),
    })  # fmt: skip
    two = serve({
        "/x/v1/models": models("n", "m", owned_by="vllm", max_model_len=1024),
        "/x/metrics": (200, CACHE),
    })  # fmt: skip
    server = connect_all([one, f"{two}/x"])
    assert (server.base_url, server.replicas) == (f"{one}/v1", (f"{two}/x/v1",))
    assert (server.engine, server.model, server.max_model_len) == ("vllm", "m", 1024)
    assert server.kv_cache_tokens == 2 * 128 * 4096
    assert server.pin_output == ("ignore_eos", "min_tokens")
    assert [page["url"] for page in server.provenance["replicas"]] == [f"{two}/x/v1"]  # type: ignore[attr-defined]


def test_what_is_asked_of_replicas_is_what_all_can_do(serve: Serve) -> None:
    one = serve({"/v1/models": models("m", owned_by="vllm"), "/metrics": (200, CACHE)})
    two = serve({"/v1/models": models("m", owned_by="llamacpp", max_model_len=512)})
    server = connect_all([one, two])
    assert (server.engine, server.pin_output) == ("vllm + llama.cpp", ("ignore_eos",))
    assert (server.max_model_len, server.kv_cache_tokens) == (512, None)


def test_the_replica_that_serves_another_model_is_named(serve: Serve) -> None:
    one, two = serve({"/v1/models": models("m")}), serve({"/v1/models": models("n")})
    with pytest.raises(ConnectError, match=rf"{two}/v1 serves no model 'm'"):
        connect_all([one, two])


def test_the_replica_that_is_down_is_named(serve: Serve) -> None:
    one = serve({"/v1/models": models("m")})
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(ConnectError, match=rf"cannot connect to http://127.0.0.1:{port}/v1"):
        connect_all([one, f"http://127.0.0.1:{port}/v1"])


def test_a_page_without_an_end_is_not_read_to_it(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("launchers.pages.MOST_BYTES", 1000)
    many = models(*(f"model-{number}" for number in range(1000)))
    with pytest.raises(ConnectError, match="more than"):
        connect(serve({"/v1/models": many}))
    big = {"/v1/models": models("m", owned_by="vllm"), "/metrics": (200, CACHE + "# x\n" * 1000)}
    assert connect(serve(big)).kv_cache_tokens is None


GOLDEN = Path(__file__).parent / "golden"


def recorded(name: str) -> Pages:
    pages = json.loads((GOLDEN / name).read_text())["pages"]
    return {path: (200, page) for path, page in pages.items()}


def test_a_tgi_is_known_at_openais_api_too(serve: Serve) -> None:
    """It names the model where others name themselves."""
    root = serve(recorded("tgi-3.json"))
    server = connect(root)
    assert (server.engine, server.engine_version) == ("tgi", "3.3.6")
    assert (server.base_url, server.model) == (f"{root}/v1", "org/model-7b")
    assert (server.max_model_len, server.pin_output) == (4096, ())
    assert server.provenance["reported"]["model_sha"].startswith("e985")  # type: ignore[index]


def test_an_sglang_tells_version_and_kv_cache(serve: Serve) -> None:
    pages = recorded("sglang-0.5.json")
    server = connect(serve(pages))
    assert (server.engine, server.engine_version) == ("sglang", "0.5.23")
    assert (server.max_model_len, server.kv_cache_tokens) == (4096, 412345)
    assert server.pin_output == ("ignore_eos", "min_tokens")
    reported = server.provenance["reported"]
    assert isinstance(reported, dict)
    assert reported["attention_backend"] == "flashinfer"
    assert "api_key" not in reported
    older = {"/v1/models": pages["/v1/models"], "/get_server_info": pages["/server_info"]}
    assert connect(serve(older)).engine_version == "0.5.23"
    alone = connect(serve({"/v1/models": pages["/v1/models"]}))
    assert (alone.engine, alone.engine_version, alone.kv_cache_tokens) == ("sglang", None, None)


def test_a_llamacpp_tells_version_and_context(serve: Serve) -> None:
    props = json.loads((GOLDEN.parent / "logs" / "llamacpp-props.json").read_text())
    server = connect(
        serve({"/v1/models": models("m", owned_by="llamacpp"), "/props": (200, props)})
    )
    assert (server.engine, server.engine_version) == ("llama.cpp", "b1-0c1e570")
    assert (server.max_model_len, server.pin_output) == (2048, ("ignore_eos",))
    assert server.kv_cache_tokens is None, "its log alone tells the slots' caches"


@pytest.mark.parametrize("owner", ["vllm", "sglang", "llamacpp", "who"])
@pytest.mark.parametrize("page", [[], "x", {"data": {}, "version": 3}, {"data": [[]]}, None])
def test_pages_that_say_something_else_are_no_facts(serve: Serve, owner: str, page: object) -> None:
    others = dict.fromkeys(("/info", "/props", "/server_info", "/version"), (200, page))
    server = connect(serve({"/v1/models": models("m", owned_by=owner), **others}))
    assert (server.engine_version, server.max_model_len, server.kv_cache_tokens) == (None,) * 3
