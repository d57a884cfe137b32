"""Every command and Python example of the page "Use it", run on a tiny model."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
import yaml
from torch.distributed.run import get_args_parser
from transformers.utils import logging
from typer.testing import CliRunner

from implementations.harness.cli.commands import app
from implementations.harness.contract.tiny import tiny_model
from implementations.harness.model.saving import save_model
from implementations.harness.model.view import LanguageModel
from implementations.harness.results.store import load_records
from tests.conftest import WORDS, byte_tokenizer
from tools.site.atlas import read
from tools.site.pages import use

pytestmark = pytest.mark.full

ROOT = Path(__file__).resolve().parents[2]
TASKS = ROOT / "tests" / "data" / "tasks"
PAGE = dict(use.pages(read(ROOT)))["use.md"]
HUB = "Qwen/Qwen3-0.6B"
ASKED = "arc_easy,hellaswag"
"""Replacements for names on the hub: the tiny model for a model, our task for lm-eval's tasks."""


def blocks(language: str) -> list[str]:
    """Return the code blocks of the page in a language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


def named(language: str, name: str) -> str:
    """Return the code block that shows the file of this name."""
    (found,) = [block for block in blocks(language) if block.startswith(f"# {name}\n")]
    return found


CALLED = """
atlas() { printf "%s\\0" atlas "$@"; echo; }
lm_eval() { printf "%s\\0" lm_eval "$@"; echo; }
torchrun() { printf "%s\\0" torchrun "$@"; echo; }
"""
COMMANDS = [
    block
    for block in blocks("bash")
    if re.search("^(RAY.*)?(atlas|lm_eval|torchrun) ", block, re.M)
]
(SWEEP,) = [block for block in COMMANDS if block.startswith("atlas sweep magnitude")]
INSTALLING = [block for block in blocks("bash") if "pip install" in block]


def calls(block: str, folder: Path) -> list[list[str]]:
    """Run a code block in a shell that records programs and arguments; return one list per call."""
    done = subprocess.run(
        ["bash", "-euc", CALLED + block],
        cwd=folder,
        env=os.environ | {"SLURM_ARRAY_TASK_ID": "3"},
        capture_output=True,
        text=True,
        check=True,
    )
    return [line.removesuffix("\0").split("\0") for line in done.stdout.splitlines()]


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files that the page assumes: a model, two texts, and the files it shows."""
    folder = tmp_path_factory.mktemp("tiny")
    tokenizer = byte_tokenizer([("e", "r")])  # llama.cpp needs a merge
    model = tiny_model("llama", vocab_size=len(tokenizer), max_position_embeddings=1024)
    save_model(LanguageModel(model.hf, tokenizer), folder / "my-model")
    for name, words in (("calibration", WORDS), ("held-out", WORDS[::-1])):
        (folder / f"{name}.txt").write_text(" ".join(words * 100))
    (folder / "mine.yaml").write_text(named("yaml", "mine.yaml"))
    short = yaml.safe_load(named("yaml", "mine.yaml")) | {"name": "short"}
    short["calibration"] |= {"samples": 4, "length": 64}
    short["training"] |= {"length": 64}
    short["evaluations"][0] |= {"length": 64, "windows": 4}
    short["generation"] = {"tokens": 4}
    short["speed"] = {"prompt": 8, "tokens": 4, "repeats": 2}
    (folder / "short.yaml").write_text(yaml.safe_dump(short))
    (folder / "sweep.yaml").write_text(named("yaml", "sweep.yaml").replace("smol", "short.yaml"))
    (folder / "rows.txt").write_text(blocks("text")[0])
    return folder


@pytest.fixture
def here(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the folder as working directory."""
    folder = shutil.copytree(tiny, tmp_path / "here")
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture(scope="session")
def kept(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Two saved models: one that plain transformers loads, one that needs our code."""
    folder = tmp_path_factory.mktemp("kept")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tiny)
        for name, how in (("plain", ["wanda", "--pattern", "2:4"]), ("code", ["flap"])):
            where = [
                "--protocol",
                "short.yaml",
                "--model",
                "my-model",
                "--runs",
                str(folder / "runs"),
            ]
            done = CliRunner().invoke(app, ["run", *how, *where, "--save", str(folder / name)])
            assert done.exit_code == 0, done.stderr
    return lambda name: folder / name


OWN = "./mymethod.py"
"""A method that `atlas new mymethod` writes."""


def runnable(call: list[str]) -> list[str]:
    """Return the arguments of a call with tiny replacements for names on the hub."""
    arguments = ["my-model" if word == HUB else word for word in call[1:]]
    if "--tasks" in arguments:
        arguments[arguments.index("--tasks") + 1] = "opposites"
        arguments += ["--task-folder", str(TASKS)]
    if "--recover" in arguments:
        arguments[arguments.index("--tokens") + 1] = "2048"  # two steps
    if arguments[0] in ("run", "sweep", "compare") and not {"--protocol", "--file"} & {*arguments}:
        arguments += ["--protocol", "short.yaml"]
        arguments += [] if "--model" in arguments else ["--model", "my-model"]
    return arguments


def wants_gpu(call: list[str]) -> bool:
    return "cuda" in call


@pytest.mark.parametrize(
    "block",
    [block for block in COMMANDS if block != SWEEP],  # it has its own test
    ids=lambda block: block.splitlines()[0][:60],
)
def test_the_shell_examples_run(
    block: str, here: Path, kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = calls(block, here)
    assert found
    for call in found:
        if call[0] == "lm_eval" or "--ray" in call:
            continue  # has its own test
        if call[0] == "torchrun":
            start = call.index("--no-python") + 1
            get_args_parser().parse_args(call[1 : start + 1])  # exits if an option is wrong
            call = call[start:]  # test_parallel.py runs several processes
        arguments = runnable(call)
        saved = Path("pruned")
        if OWN in arguments and not Path(OWN).exists():
            assert CliRunner().invoke(app, ["new", Path(OWN).stem]).exit_code == 0
        if "pruned" in arguments and "--save" not in arguments:
            shutil.copytree(kept("plain"), saved, dirs_exist_ok=True)
        if "--tasks" in arguments:
            pytest.importorskip("lm_eval", reason="lm-eval is not installed (extra `eval`)")
            (here / "opposites.jsonl").write_bytes((TASKS / "opposites.jsonl").read_bytes())
            monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", here / "cache")
        if "lora" in arguments:
            pytest.importorskip("peft", reason="peft is not installed (extra `train`)")
        done = CliRunner().invoke(app, arguments)
        if wants_gpu(call) and not torch.cuda.is_available():
            assert done.exit_code == 2
            assert (
                "no device 'cuda'" in done.stderr
            )  # the error comes after all options were accepted
            continue
        assert done.exit_code == 0, done.stderr
        if "--save" in arguments:
            weights = (
                "model.safetensors.index.json" if "--stream" in arguments else "model.safetensors"
            )
            assert (saved / weights).is_file()


def test_the_first_command_prunes_at_2_4(here: Path) -> None:
    first = COMMANDS[0]
    assert PAGE.index("--pattern 2:4 --dtype bfloat16 --save pruned") < PAGE.index("<nav")
    ((_, *arguments),) = calls(first, here)
    assert CliRunner().invoke(app, [*arguments, "--protocol", "short.yaml"]).exit_code == 0
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained("pruned")
    for layer in model.model.layers:
        weight = layer.mlp.up_proj.weight
        assert ((weight.view(-1, 4) != 0).sum(dim=1) == 2).all()


def test_the_sweep_has_the_stated_size_and_resumes(here: Path) -> None:
    sweep, board = map(runnable, calls(SWEEP, here))
    for _ in range(2):
        done = CliRunner().invoke(app, [*sweep, "--workers", "1"])
        assert done.exit_code == 0, done.stderr
    assert "new records: 0, already existing: 18" in done.stdout
    assert "18 runs" in PAGE
    assert len(load_records([here / "runs"])) == 18 + 1  # and the dense one
    assert "my-model" in CliRunner().invoke(app, board).stdout


def test_a_job_of_the_array_runs_its_row(here: Path) -> None:
    block = next(block for block in COMMANDS if "SLURM" in block)
    ((_, *arguments),) = calls(block, here)
    assert arguments == [
        "sweep",
        "flap",
        "--sparsity",
        "0.2",
        "--model",
        "my-model",
        "--runs",
        "runs",
    ]
    assert f"--array=1-{len(blocks('text')[0].splitlines())}\n" in block


@pytest.mark.skipif(find_spec("ray") is None, reason="ray is not installed (extra `scale`)")
def test_the_sweep_over_ray_is_valid_until_it_loads_the_model(here: Path) -> None:
    (call,) = [call for block in COMMANDS for call in calls(block, here) if "--ray" in call]
    done = CliRunner().invoke(app, ["nowhere" if word == "my-model" else word for word in call[1:]])
    assert done.exit_code == 2
    assert "unknown model 'nowhere'" in done.stderr


@pytest.mark.parametrize("name", ["plain", "code"])
def test_lm_eval_reads_the_saved_folder(name: str, here: Path, kept) -> None:
    pytest.importorskip("lm_eval", reason="lm-eval is not installed (extra `eval`)")
    (call,) = [call for block in COMMANDS for call in calls(block, here) if call[0] == "lm_eval"]
    shutil.copytree(kept(name), "pruned")
    own = (here / "pruned" / "modeling_pruned.py").exists()
    assert own == (name == "code")
    arguments = ["opposites" if word == ASKED else word for word in call[1:]]
    arguments = [w + ",trust_remote_code=True" * (own and "pretrained" in w) for w in arguments]
    assert not own or "add `,trust_remote_code=True` to its `--model_args`" in PAGE
    shutil.copy(TASKS / "opposites.jsonl", here)
    done = subprocess.run(
        [sys.executable, "-m", "lm_eval", *arguments, "--include_path", str(TASKS)],
        env=os.environ | {"HF_HOME": str(here / "cache"), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "|opposites|" in done.stdout


@pytest.mark.parametrize("code", blocks("python"), ids=lambda code: code.splitlines()[-1][:60])
def test_the_python_examples_run(code: str, here: Path, kept, capsys) -> None:
    saves = 'save_model(model, "pruned")' in code
    if not saves:
        shutil.copytree(kept("code" if "trust_remote_code" in code else "plain"), "pruned")
    names: dict[str, object] = {}
    exec(code.replace('prepare_samples("smol"', 'prepare_samples("short.yaml"'), names)
    output = capsys.readouterr().out
    if saves:
        assert output.splitlines()[0] == "0.5"
        assert (here / "pruned" / "model.safetensors").is_file()
    elif "continuation" in code:
        assert output.strip()
    else:
        assert isinstance(names["model"], torch.nn.Module)


def test_custom_shapes_need_trust_remote_code(here: Path, kept) -> None:
    shutil.copytree(kept("code"), "pruned")
    shown = logging.get_verbosity()
    logging.set_verbosity_error()
    with pytest.raises(RuntimeError, match="size"):
        exec(blocks("python")[0], {})
    logging.set_verbosity(shown)


def test_install_commands_name_existing_extras(tmp_path: Path) -> None:
    first, cpu = INSTALLING
    installs = re.findall(r"^pip (install \S+)", first + cpu, re.MULTILINE)
    assert installs == ["install .", "install '.[eval]'", "install ."]
    for line in sorted(set(installs)):
        words = line.replace("'", "").split()
        dry = ["--dry-run", "--no-deps", "--no-index", "--no-build-isolation", "--quiet"]
        done = subprocess.run(
            [sys.executable, "-m", "pip", *words, *dry], cwd=ROOT, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        assert "does not provide the extra" not in done.stderr
