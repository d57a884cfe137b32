"""Any command line ends with an exit code and a printable message."""

import json
import os
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from implementations.harness.cli.commands import app
from tests.fuzz.foreign import EXAMPLES, SETTINGS, fuzz

FOREIGN = ["", " ", "-", "--", "-x", "--x", "--json", "[/x]", "[bold]", ":smile:", ",", "a,,b", "="]
FOREIGN += ["\x1b[31mred", "\x9b31m", "\u202eback", "\ud800", "half\udcff", "a\nb", "\x07", "\x7f"]
FOREIGN += ["~nouser/x", "~", "x" * 300, "x" * 70_000, "../" * 99, "a/b", "none/such", "é漢😀"]
FOREIGN += ["0", "-1", "nan", "inf", "1e-320", "1e999", "9" * 30, "9" * 5000, "0x1F", "1_0", "true"]
FOREIGN += ["2:4", "4:2", "0:0", "1:" + "9" * 400, "0.2-0.5", "0.5-0.2", "none", "dense", "wnada"]
FOREIGN += ["sparsity=.1", "cls=1", "self=2", "pattern={}", "x=[[", "=1", f"block_size={10**30}"]
FOREIGN += [
    "sparsity=" + "[" * 9999,
    'pattern=["\\ud800"]',
    "cpu",
    "cuda:99",
    f"cpu:{10**30}",
    "\0",
]
FOREIGN += ["smol", "paper", "wanda", "flap", "tiny", "folder", "/dev/null"]
FOREIGN += ["bad.json", "bad.yaml", "pipe.json"]
VALUE = st.sampled_from(FOREIGN) | st.text(st.characters(), max_size=20)
LONELY = ("--json", "--csv", "--reverse", "--publish", "--ray", "--help")
OPTIONS = [
    *("--sparsity", "--pattern", "--model", "--protocol", "--set", "--seed", "--device", "--dtype"),
    *("--accelerator", "--save", "--tasks", "--task-folder", "--runs", "--file", "--workers"),
    *("--method", "--granularity", "--sort", "--tokens", "--nothing", *LONELY),
]
OPTION = st.sampled_from(OPTIONS).flatmap(
    lambda name: (
        st.just([name])
        if name in LONELY
        else VALUE.flatmap(lambda value: st.sampled_from([[name, value], [f"{name}={value}"]]))
    )
)
WORDS = st.lists(OPTION | VALUE.map(lambda value: [value]), max_size=6).map(
    lambda parts: [word for part in parts for word in part]
)
METHOD = st.sampled_from(["wanda", "flap", "sparsegpt", "magnitude", "dense"])
# A missing model prevents runs from starting; the last option counts.
NOWHERE = ["--model", "nowhere/at/all", "--runs", "runs"]


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A working folder with unusable files, without access to the hub."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "bad.json").write_text('{"model": {"name": "\\u001b[31m"}}')
    (tmp_path / "bad.yaml").write_text("runs: [wnada]\nname: '\\e[31m'\n")
    os.mkfifo(tmp_path / "pipe.json")
    return tmp_path


def ends(words, here):
    """Run a command and check how it ends; return the code."""
    before = sorted(here.rglob("*"))
    done = CliRunner().invoke(app, words)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    assert done.exit_code in (0, 1, 2, 130)
    assert "Traceback" not in done.output
    assert len(done.stderr) < 20_000
    assert done.exit_code == 0 or len(done.stdout) < 20_000
    assert done.exit_code == 0 or (done.stderr if words else done.stdout).strip()
    obeyed = [c for c in done.output if not (c in "\n" or c.isprintable() or _space(c))]
    assert not obeyed, obeyed
    assert sorted(here.rglob("*")) == before
    return done.exit_code


def _space(character):
    return unicodedata.category(character) == "Zs"


@fuzz
@given(words=WORDS)
def test_any_words(here, words):
    if words[:1] not in (["run"], ["sweep"], ["generate"]):
        ends(words, here)


@pytest.mark.parametrize("command", ["run", "sweep", "verify", "generate"])
@fuzz
@given(first=METHOD | VALUE, words=WORDS)
def test_commands_without_a_model_or_record(here, command, first, words):
    code = ends([command, first, *words, *(NOWHERE if command in ("run", "sweep") else [])], here)
    assert code or "--help" in [first, *words]


@pytest.mark.parametrize("command", ["methods", "leaderboard"])
@fuzz
@given(words=WORDS)
def test_commands_that_only_print(here, command, words):
    ends([command, *words], here)


NUMBERS = ["0", "1e-320", "0.5", "5e-324", "1", "0.999999999999", "-0.0", "1e0", "00.5", "١"]


@pytest.mark.fuzz
@settings(SETTINGS, max_examples=EXAMPLES // 8 or 1)  # each may take a second
@given(
    method=METHOD,
    share=st.sampled_from(NUMBERS) | st.floats(0, 1).map(repr),
    seed=st.sampled_from(["0", "1", str(2**63 - 1), "007"]),
    setting=st.sampled_from(["", "", "block_size=1", "block_size=2147483647", "damping=1e308"]),
)
def test_a_tiny_run_of_any_numbers(here, world, method, share, seed, setting):
    """The only test that may start a run; its output is removed."""
    words = ["run", method, "--sparsity", share, "--seed", seed, "--protocol", str(world.protocol)]
    words += ["--runs", "runs", "--json", *(["--set", setting] if setting else [])]
    done = CliRunner().invoke(app, words)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    if done.exit_code:
        assert "error" in done.stderr.lower()
        assert done.stdout == ""
    else:
        assert json.loads(done.stdout)["seed"] == (0 if method == "dense" else int(seed))
