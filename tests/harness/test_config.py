from __future__ import annotations

import pkgutil
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.config import CONFIG_FILE, find_build, find_profile, load_config
from harness.errors import BadInputError, did_you_mean
from harness.tomlfile import MAX_BYTES, key_lines, read_toml
from launchers.model import builtin_builds
from loadprofiles import arrivals
from loadprofiles.profile import builtin_profiles

if TYPE_CHECKING:
    from collections.abc import Callable

PROFILE = """
levels = [1]
duration_s = 1
prompt_tokens = 8
output_tokens = 8
arrival = { kind = "closed" }
"""


def write(folder: Path, text: str, name: str = CONFIG_FILE) -> Path:
    path = folder / name
    path.write_text(text)
    return path


def mistakes(path: Path) -> list[str]:
    """The lines of the error about a file, without the file's path."""
    with pytest.raises(BadInputError) as caught:
        load_config(path)
    assert caught.value.exit_code == 2
    return [line.split(f"{path}:")[-1] for line in str(caught.value).splitlines()]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Paths are shown whole when they do not lie below the current folder."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)


def test_config_is_found_upwards(tmp_path: Path) -> None:
    path = write(tmp_path, '[builds.mine]\nmodel = "m"\n')
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    config = load_config(start=below)
    assert config.path == path
    build, base_dir = find_build("mine", config)
    assert (build.name, build.model, base_dir) == ("mine", "m", tmp_path)


def test_without_a_config_the_shipped_names_work(tmp_path: Path) -> None:
    config = load_config(start=tmp_path)
    assert config.path is None
    assert find_profile("bursty", config).name == "bursty"
    assert find_build("awq", config)[0].name == "awq"


@pytest.mark.parametrize("name", builtin_builds())
def test_shipped_builds_are_valid(name: str, tmp_path: Path) -> None:
    assert find_build(name, load_config(start=tmp_path))[0].name == name


@pytest.mark.parametrize("name", builtin_profiles())
def test_shipped_profiles_are_valid(name: str, tmp_path: Path) -> None:
    assert find_profile(name, load_config(start=tmp_path)).name == name


def test_own_names_win_over_shipped_ones(tmp_path: Path) -> None:
    path = write(tmp_path, f'[builds.awq]\nmodel = "mine"\n[profiles.bursty]{PROFILE}')
    config = load_config(path)
    assert find_build("awq", config)[0].model == "mine"
    assert find_profile("bursty", config).levels == (1,)


def test_a_name_that_looks_like_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, 'model = "m"', "mine.toml")
    write(tmp_path, f'name = "other"{PROFILE}', "traffic.toml")
    monkeypatch.chdir(tmp_path)
    config = load_config(start=tmp_path)
    build, base_dir = find_build("mine.toml", config)
    assert (build.name, base_dir) == ("mine", tmp_path)
    assert find_profile("./traffic.toml", config).name == "other"
    with pytest.raises(BadInputError, match=r"no file .*none\.toml"):
        find_build("none.toml", config)
    with pytest.raises(BadInputError, match="no file"):
        find_profile(str(tmp_path), config)


@pytest.mark.parametrize(
    ("find", "name", "near"),
    [(find_build, "aqw", "awq"), (find_build, "AWQ", "awq"), (find_profile, "burst", "bursty")],
)
def test_unknown_name(tmp_path: Path, find: Callable[..., object], name: str, near: str) -> None:
    with pytest.raises(BadInputError, match=f'"{name}" .did you mean "{near}"') as caught:
        find(name, load_config(start=tmp_path))
    assert "harness list" in str(caught.value)


def test_did_you_mean_is_silent_when_nothing_is_near() -> None:
    assert did_you_mean("xyz", ["awq", "fp16"]) == ""
    assert did_you_mean("anything", []) == ""


def test_all_mistakes_at_once_each_with_its_line(tmp_path: Path) -> None:
    text = """\
[builds.mine]
engine = "vllm"
max_model_len = -5
device = "gpu"
quantisation = "awq"
arguments.x = [1]

[profiles.p]
levels = [
  1, # one
  "x",
]
duration = 3
prompt_tokens = { kind = "uniform", low = "1" }
output_tokens = 3
[profiles.p.arrival]
kind = "bursty"
burst_s = -1

[profiles.q]
arrival.kind = "burst"
levels = []

[profile.r]
[[builds.z]]
"""
    kinds = ", ".join(repr(module.name) for module in pkgutil.iter_modules(arrivals.__path__))
    assert mistakes(write(tmp_path, text)) == [
        "18 mistakes in the configuration:",
        "1: builds.mine.model: is missing",
        "3: builds.mine.max_model_len: should be greater than 0, not -5",
        "4: builds.mine.device: should be 'auto', 'cpu' or 'cuda', not 'gpu'",
        '5: builds.mine.quantisation: unknown field (did you mean "quantization"?)',
        (
            "6: builds.mine.arguments.x: should be a valid string or integer or number or boolean"
            ", not [1]"
        ),
        "11: profiles.p.levels[1]: should be a valid number, not 'x'",
        '13: profiles.p.duration: unknown field (did you mean "duration_s"?)',
        "14: profiles.p.prompt_tokens.high: is missing",
        "14: profiles.p.prompt_tokens.low: should be a valid integer, not '1'",
        "16: profiles.p.arrival.burst_every_s: is missing",
        "16: profiles.p.arrival.burst_factor: is missing",
        "18: profiles.p.arrival.burst_s: should be greater than 0, not -1",
        "20: profiles.q.output_tokens: is missing",
        "20: profiles.q.prompt_tokens: is missing",
        f'21: profiles.q.arrival: kind should be one of {kinds} (did you mean "bursty"?)',
        "22: profiles.q.levels: should have at least 1 item, not 0",
        '24: profile: unknown table (did you mean "profiles"?)',
        "25: builds.z: should be a table [builds.z]",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[builds.a]\nmodel = \n", "2:9: not TOML: invalid value"),
        ("[builds.a]\nmodel = 'x", "2: not TOML: expected"),
        ("a = [1,", "1: not TOML: invalid value"),
        ("[builds.a]\nx = 1\nx = 2\n", "3:6: not TOML: cannot overwrite a value"),
        ("[profiles.a]\narrival = {}\n", "2: profiles.a.arrival: kind is missing"),
        ("[profiles.a]\narrival = 3\n", "2: profiles.a.arrival: should be a table, not 3"),
        ("builds = 3\n", "1: builds: should be tables [builds.NAME]"),
        ('[builds.a]\nname = "b"\nmodel = "m"\n', "2: builds.a.name: its name is 'a' already"),
        ('\n[builds."a b"]\nmodel = "m"\n', "2: builds.a b: 'a b' does not match"),
        (f"[profiles.a]{PROFILE}requests = 0", "7: profiles.a.requests: should be greater than 0"),
        (
            f"[profiles.a]{PROFILE}levels2 = 1",
            '7: profiles.a.levels2: unknown field (did you mean "levels"?)',
        ),
    ],
)
def test_mistake(tmp_path: Path, text: str, message: str) -> None:
    assert any(line.startswith(message) for line in mistakes(write(tmp_path, text)))


def test_a_model_wide_complaint_names_the_table(tmp_path: Path) -> None:
    path = write(tmp_path, f"\n[profiles.a]{PROFILE.replace('duration_s = 1', '')}")
    (line,) = mistakes(path)
    assert line.startswith("2: profiles.a: duration_s")


def test_secrets_are_not_repeated(tmp_path: Path) -> None:
    text = '[builds.a]\nmodel = "m"\nenvironment = { A = 12345 }\napi_key = "12345"\ndtype = 12345'
    lines = mistakes(write(tmp_path, text))
    assert lines[1] == "3: builds.a.environment.A: should be a valid string"
    assert lines[2].startswith("4: builds.a.api_key: unknown field")
    assert lines[3] == "5: builds.a.dtype: should be a valid string, not 12345"


def test_paths_below_the_current_folder_are_short(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path, "x = 1")
    with pytest.raises(BadInputError) as caught:
        load_config()
    assert str(caught.value) == "harness.toml:1: x: unknown table"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a = 1\n# \xff\n", r":2: not UTF-8"),
        (b"#" * (MAX_BYTES + 1), "larger than 1 MiB"),
        (b"a = " + b"[" * 100_000, "nested too deeply|not TOML"),
    ],
    ids=["not text", "large", "deep"],
)
def test_hostile_file(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "x.toml"
    path.write_bytes(content)
    with pytest.raises(BadInputError, match=message):
        read_toml(path)


@pytest.mark.parametrize("path", ["/dev/zero", "/", "/nonexistent"])
def test_no_regular_file(path: str) -> None:
    with pytest.raises(BadInputError, match="no file"):
        read_toml(Path(path))


def test_key_lines() -> None:
    text = '''\
top = 1
"quoted.key" = """
[not.a.table]
x = 1 """
[a.b] # comment = 1
c.d = 'literal # [x]'
list = [ # comment ]
  1,
  { k = "},]" , l = [2,
    3] },
  """a
]""", "b\\"]",
]
[[t]]
x = 1979-05-27T07:32:00Z
[t.sub]
y = 1
[[t]]
x = 2
[ "sp aced" . 'z' ]
q = {}
r = []
'''
    lines = key_lines(text)
    assert set(lines) >= set(every_path(tomllib.loads(text)))
    expected: dict[tuple[str | int, ...], int] = {
        ("top",): 1,
        ("quoted.key",): 2,
        ("a", "b"): 5,
        ("a", "b", "c", "d"): 6,
        ("a", "b", "list"): 7,
        ("a", "b", "list", 0): 8,
        ("a", "b", "list", 1, "k"): 9,
        ("a", "b", "list", 1, "l", 1): 10,
        ("a", "b", "list", 2): 11,
        ("a", "b", "list", 3): 12,
        ("t", 0): 14,
        ("t", 0, "x"): 15,
        ("t", 0, "sub", "y"): 17,
        ("t", 1, "x"): 19,
        ("sp aced", "z", "q"): 21,
    }
    assert {path: lines[path] for path in expected} == expected


def every_path(value: object, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    if isinstance(value, dict):
        items = list(value.items())
    elif isinstance(value, list):
        items = list(enumerate(value))
    else:
        return [path]
    return [*([path] if path else []), *(p for k, v in items for p in every_path(v, (*path, k)))]


KEYS = st.sampled_from(["a", "b-1", '"q.t"', "'l it'", '"\\u0041 \\" #"', "1"])
SCALARS = st.sampled_from(
    ["1", "-1.5e3", "true", '"s # ] } \\" \\\\"', "'l \" #'", '"""m\n" ""x"""', "''''q''\n'''",
     "inf", "07:32:00", '""', "''", '"""\nend"""""']
)  # fmt: skip
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda items: "[ # c ]\n" + " # , ]\n,".join(items) + "\n]")
        | st.dictionaries(KEYS, inner, max_size=2).map(
            lambda pairs: "{ " + ", ".join(f"{k} = {v}" for k, v in pairs.items()) + " }"
        )
    ),
    max_leaves=6,
)


@given(st.lists(st.tuples(st.lists(KEYS, min_size=1, max_size=2), VALUES), max_size=5))
def test_every_key_of_any_file_has_its_line(pairs: list[tuple[list[str], str]]) -> None:
    text = ""
    starts = {}
    for index, (keys, value) in enumerate(pairs):
        text += "# [x] = {\n"
        starts[index] = text.count("\n") + 1
        text += f"[[t{index}]]\n{' . '.join(keys)} = {value} # end\n"
    data = tomllib.loads(text)
    lines = key_lines(text)
    assert set(every_path(data)) == {*lines} & {*every_path(data)}
    for index, line in starts.items():
        assert lines[f"t{index}", 0] == line
        (key,) = data[f"t{index}"][0]
        assert lines[f"t{index}", 0, key] == line + 1


def test_a_mistake_in_a_length_from_a_file_is_told_with_its_key(tmp_path: Path) -> None:
    file = tmp_path / "own.toml"
    file.write_text(
        'arrival = { kind = "poisson" }\nlevels = [1]\nduration_s = 5\noutput_tokens = 5\n'
        'prompt_tokens = { kind = "empirical", file = "trace.csv", low = 0 }\n'
    )
    with pytest.raises(BadInputError, match=r":5: prompt_tokens\.low: should be greater") as caught:
        find_profile(str(file), load_config())
    assert "prompt_tokens.file" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[builds.a]\nmodel = "m"\nengine = "vlm"\n', "3: builds.a.engine: no engine 'vlm'"),
        ('[servers.a]\nurl = "http://h"\ndialect = "oai"\n', "3: servers.a.dialect: no dialect"),
        ('[defaults]\nprofile = "bursti"\n', '2: defaults.profile: there is no profile "bursti"'),
        ('[defaults.gate]\nrules = "mine"\n', '2: defaults.gate.rules: there is no rules "mine"'),
        ('[defaults]\nserver = "fp16, fp17"\n', '2: defaults.server: there is no server "fp17"'),
        ('[defaults.load]\ndialect = "oai"\n', "2: defaults.load.dialect: no dialect"),
        ('[builds.a]\nmodel = "m"\ncommand = "vllm"\n', "3: builds.a.command: should be an array"),
        ('[builds.a]\nmodel = "m"\nimage = ""\n', "3: builds.a.image: String should have at least"),
        ('[builds.a]\nmodel = "m"\n[builds.a]\n', "3: [builds.a] is there twice"),
    ],
)
def test_what_is_named_and_is_not_there_has_its_line(text: str, said: str, tmp_path: Path) -> None:
    [line] = mistakes(write(tmp_path, text))
    assert said in line


def test_names_of_tables_that_have_mistakes_are_there(tmp_path: Path) -> None:
    found = mistakes(write(tmp_path, '[defaults]\nserver = "a"\n[builds.a]\nmodel = 5\n'))
    assert found == ["4: builds.a.model: should be a valid string, not 5"]
    assert len(mistakes(write(tmp_path, 'builds = 5\n[defaults]\nserver = "a"\n'))) == 3


def test_a_key_in_place_of_its_variables_name_is_not_repeated(tmp_path: Path) -> None:
    [line] = mistakes(write(tmp_path, '[servers.a]\nurl = "http://h"\napi_key_env = "sk-123"\n'))
    assert "servers.a.api_key_env" in line
    assert "sk-123" not in line


def test_an_editors_byte_order_mark_is_no_mistake(tmp_path: Path) -> None:
    path = tmp_path / CONFIG_FILE
    path.write_text('[builds.a]\nmodel = "m"\n', encoding="utf-8-sig")
    assert list(load_config(path).builds) == ["a"]


def test_paths_among_a_builds_arguments_count_from_its_file(tmp_path: Path) -> None:
    text = (
        '[builds.a]\nmodel = "m"\ncommand = ["./vllm", "serve"]\n'
        'arguments = { chat-template = "./chat.jinja", swap = 4, name = "a/b", up = "../x" }\n'
    )
    build, folder = find_build("a", load_config(write(tmp_path, text)))
    found = build.beside(folder)
    assert found.command == [str(tmp_path / "vllm"), "serve"]
    assert found.arguments == {
        "chat-template": str(tmp_path / "chat.jinja"),
        "swap": 4,
        "name": "a/b",
        "up": str(tmp_path / ".." / "x"),
    }
    image = build.model_copy(update={"image": "vllm/vllm"})
    assert image.beside(folder) == image, "in a container they are the container's own"
