from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from launchers.build import Build
from launchers.engines import Start, StartRequest, load_engine
from launchers.engines import transformers as module
from launchers.environments import ISOLATED, environments
from launchers.errors import BuildError, InstallError, NotYetInstalledError
from launchers.launch import check_build
from launchers.model import ModelSource, builtin_builds, resolve_model

if TYPE_CHECKING:
    from tests.launchers.conftest import Machine

TINY = ModelSource(name="tiny", folder=Path("/models/tiny"))
GOLDEN = Path(__file__).parent / "golden"
MANAGED = "/cache/bin/transformers"
BATCHED = {"arguments": {"continuous_batching": True}}
pytestmark = pytest.mark.usefixtures("machine")


def build(**fields: object) -> Build:
    return Build.model_validate({"name": "x", "model": "m", "engine": "transformers"} | fields)


def start(source: ModelSource = TINY, *, install: bool = True, **fields: object) -> Start:
    request = StartRequest(
        build=build(**fields),
        source=source,
        port=8123,
        install_missing=install,
        on_line=lambda _: None,
    )
    return module.ENGINE.start(request)


COMMON = "serve tiny --host=127.0.0.1 --port=8123 --device=cpu"


def test_the_managed_server_on_a_cpu() -> None:
    begun = start(dtype="float16")
    assert begun.argv == [MANAGED, *(COMMON + " --dtype=float16").split()]
    assert begun.folder == Path("/models"), "so that the model is called by its folder's name"
    assert (begun.cpus, begun.client_cpus) == ([0, 1, 2], [3])
    assert begun.environment.items() >= (ISOLATED | {"HF_HUB_OFFLINE": "1"}).items()


def test_a_builds_own_arguments() -> None:
    begun = start(arguments={"quantization": "bnb-8bit", "cb_block_size": 32, "compile": False})
    told = " --quantization=bnb-8bit --cb-block-size=32 --no-compile"
    assert begun.argv == [MANAGED, *(COMMON + told).split()]


def test_what_pins_the_output_depends_on_batching() -> None:
    assert start().pin_output == ("generation_config.min_new_tokens",)
    assert start(**BATCHED).pin_output == ("generation_config.eos_token_id",)
    assert "--continuous-batching" in start(**BATCHED).argv


@pytest.mark.parametrize("name", ["transformers-fp16", "transformers-int8", "transformers-nf4"])
def test_the_builtin_builds(name: str) -> None:
    path = builtin_builds()[name]
    fields = tomllib.loads(path.read_text())
    source = resolve_model(Build.model_validate(fields), path.parent)
    begun = start(source, **fields)
    assert begun.folder
    assert (begun.folder / begun.argv[2]).is_dir()
    assert source.name == begun.argv[2] == "demo-fp16", "requests ask for it by this name"
    assert [word for word in begun.argv if "quantization" in word] == {
        "transformers-fp16": [],
        "transformers-int8": ["--quantization=bnb-8bit"],
        "transformers-nf4": ["--quantization=bnb-4bit"],
    }[name]


def test_a_hub_model_is_called_by_its_id() -> None:
    begun = start(ModelSource(name="org/model", hub_id="org/model"))
    assert begun.argv[2] == "org/model"
    assert begun.folder is None
    assert "HF_HUB_OFFLINE" not in begun.environment


def test_a_command_on_path_that_can_serve_comes_first(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.on_path("transformers")
    has = dict.fromkeys(module.SERVING, "1.0")
    monkeypatch.setattr(module, "interpreter", lambda *_: "/usr/bin/python")
    monkeypatch.setattr(module, "package_versions", lambda *_: has)
    begun = start()
    assert begun.argv[0] == "/usr/bin/transformers"
    assert "PYTHONPATH" not in begun.environment, "the user's own"
    assert start(arguments={"quantization": "bnb-4bit"}).argv[0] == MANAGED, "no bitsandbytes"
    del has["uvicorn"]
    assert start().argv[0] == MANAGED
    machine.with_gpus("NVIDIA H200")
    with pytest.raises(InstallError, match=r"/usr/bin/transformers cannot serve.*uvicorn: pip"):
        start()
    has["uvicorn"] = "1.0"
    begun = start()
    assert "--device=cuda" in begun.argv
    assert begun.cpus is None


def test_a_command_of_the_build(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: name)
    assert start(command=["/opt/bin/transformers"]).argv[:3] == [
        "/opt/bin/transformers", "serve", "tiny",
    ]  # fmt: skip
    own = ["nice", "/opt/python", "-m", "transformers.cli.transformers", "serve"]
    assert start(command=own).argv[:6] == [*own, "tiny"]
    relative = start(command=["env/bin/transformers"]).argv[0]
    assert relative == str(Path("env/bin/transformers").absolute()), "it starts elsewhere"


def test_the_container_command_line(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.on_path("docker")
    monkeypatch.setattr("os.getpid", lambda: 4242)
    fields = {"image": "example/transformers-serve:5.24", "device": "cuda", "dtype": "float16"}
    begun = start(name="nf4.big", arguments={"quantization": "bnb-4bit"}, **fields)
    text = "\n".join([*begun.argv, "", *(begun.cleanup or [])]) + "\n"
    assert text == (GOLDEN / "transformers-docker-cuda.txt").read_text()
    hub = start(ModelSource(name="org/model", hub_id="org/model"), **fields)
    assert not any("workdir" in word for word in hub.argv)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"arguments": {"host": "x"}}, r"arguments\.host`: the harness sets it"),
        ({"arguments": {"device": "cuda:1"}}, "field `device`"),
        ({"arguments": {"dtype": "float16"}}, "field `dtype`"),
        ({"arguments": {"quantization": "bitsandbytes"}}, "none of bnb-8bit, bnb-4bit"),
        ({"command": ["/no/such"]}, "no program that runs"),
    ],
)
def test_what_does_not_fit(fields: dict[str, object], says: str) -> None:
    with pytest.raises(BuildError, match=says):
        load_engine("transformers").check(build(**fields), TINY)


def test_a_gguf_file_is_llamacpps() -> None:
    gguf = ModelSource(name="tiny", folder=Path("/models"), file=Path("/models/tiny.gguf"))
    with pytest.raises(BuildError, match=r"engine = \"llama\.cpp\" serves"):
        start(gguf)
    with pytest.raises(BuildError, match="field `model`"):
        check_build(build(model="demo:gguf-f16"), Path())


def test_what_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("launchers.engines.installed", lambda _: None)
    assert module.ENVIRONMENT in environments()
    with pytest.raises(NotYetInstalledError, match="harness engines install transformers-serve"):
        start(install=False)
    with pytest.raises(InstallError, match="no `transformers` command on PATH: pip install"):
        start(device="cuda")


def test_what_a_recorded_server_said_of_itself() -> None:
    """The log of the demo model's 16-bit build, transformers 5.24.0."""
    log = (Path(__file__).parent / "logs" / "transformers.log").read_text()
    facts = module.ENGINE.facts(log, {})
    assert facts.provenance == {"continuous_batching": False}
    batched = module.ENGINE.facts(log.replace("CB: False", "CB: True"), {})
    assert batched.provenance == {"continuous_batching": True}
    assert module.ENGINE.facts("", {}).provenance == {"continuous_batching": None}
