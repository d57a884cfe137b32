"""Fixtures: a tiny model with tokenizer and texts on disk, and a protocol that takes seconds."""

from __future__ import annotations

import gc
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

from tests.keyed import invented

REPOSITORY = Path(__file__).resolve().parent.parent
# A test run in the background ignores Ctrl-C, and its child processes inherit that.
ATLAS = """
import signal
from implementations.harness.cli.__main__ import main
signal.signal(signal.SIGINT, signal.default_int_handler)
main()
"""
WORDS = ("river", "stone", "winter", "lantern", "harbour", "copper", "meadow", "thunder", "velvet")


class World(NamedTuple):
    """Paths of the tiny model, texts and protocol."""

    model: Path
    protocol: Path
    calibration: Path
    evaluation: Path

    def write_protocol(self, name: str, **changes: object) -> Path:
        """Write the tiny protocol with changes and return its path."""
        content = yaml.safe_load(self.protocol.read_text()) | {"name": name} | changes
        path = self.protocol.with_name(f"{name}.yaml")
        path.write_text(yaml.safe_dump(content))
        return path


class Finished(NamedTuple):
    """The result of a command."""

    code: int
    out: str
    err: str


def pytest_collection_finish() -> None:
    """Exclude the objects that exist after collection from garbage collection.

    A run collects garbage before it measures memory, which would otherwise scan all modules and
    tests each time.
    """
    gc.collect()
    gc.freeze()


LONGEST = (
    "tests/test_tutorials.py",
    "tests/harness/test_simulated_accelerator.py",
    "tests/harness/runs/test_workers_ray.py",
    "tests/test_gpu_command.py",
    "tests/site/test_use_commands.py",
)
"""Files of tests that take minutes; they start early, so that no worker waits for them."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give every worker some of the longest tests near the start of its part of the list."""
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    files = [item.nodeid.partition("::")[0] for item in items]
    longest = [
        item for one in LONGEST for item, file in zip(items, files, strict=True) if file == one
    ]
    others = [item for item, file in zip(items, files, strict=True) if file not in LONGEST]
    items.clear()
    for worker in range(workers):
        start, stop = (len(others) * end // workers for end in (worker, worker + 1))
        # A few others first, because the parts that workers get may be shifted by some tests.
        items += others[start : start + 9] + longest[worker::workers] + others[start + 9 : stop]


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip tests of an accelerator on a machine without one."""
    if item.get_closest_marker("gpu"):
        import torch

        if not torch.accelerator.is_available():
            pytest.skip("no accelerator here; test_simulated_accelerator.py simulates one")


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Return a random two-block llama with a byte tokenizer, two texts and a protocol."""
    from implementations.harness.contract.tiny import tiny_model
    from implementations.harness.model.saving import save_model
    from implementations.harness.model.view import LanguageModel

    folder = tmp_path_factory.mktemp("world")
    tokenizer = byte_tokenizer()
    plain = tiny_model("llama", vocab_size=len(tokenizer))
    save_model(LanguageModel(plain.hf, tokenizer), folder / "tiny")
    texts = {}
    for seed, name in enumerate(("calibration", "evaluation")):
        words = random.Random(seed).choices(WORDS, k=2000)
        texts[name] = folder / f"{name}.txt"
        texts[name].write_text(" ".join(words))
    protocol = folder / "tiny.yaml"
    protocol.write_text(
        yaml.safe_dump(
            {
                "name": "tiny",
                "model": str(folder / "tiny"),
                "calibration": {"text": str(texts["calibration"]), "samples": 4, "length": 32},
                "evaluations": [{"text": str(texts["evaluation"]), "length": 32, "windows": 4}],
                "generation": {"prompt": "the river", "tokens": 4},
                "speed": {"prompt": 8, "tokens": 4, "repeats": 2},
            }
        )
    )
    return World(folder / "tiny", protocol, texts["calibration"], texts["evaluation"])


def byte_tokenizer(merges=()):
    """Return a byte-level tokenizer with pairs to merge, built without files of another model."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = ["<pad>", "<s>", "</s>", *letters, *map("".join, merges)]
    raw = Tokenizer(models.BPE({token: i for i, token in enumerate(tokens)}, list(merges)))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=raw, pad_token="<pad>", bos_token="<s>", eos_token="</s>"
    )


@pytest.fixture(scope="session")
def start() -> Callable[..., subprocess.Popen[str]]:
    """Start `atlas` in a new process group, so that signals reach no other process."""

    def begin(
        *arguments: object, cwd: Path | None = None, variables: dict[str, str] | None = None
    ) -> subprocess.Popen[str]:
        path = os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")])
        plain = {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
        return subprocess.Popen(
            [sys.executable, "-c", ATLAS, *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            cwd=cwd,
            env=os.environ | plain | (variables or {}),
        )

    return begin


@pytest.fixture(scope="session")
def atlas(start: Callable[..., subprocess.Popen[str]]) -> Callable[..., Finished]:
    """Run `atlas` in a process and wait for it."""

    def run(*arguments: object, **where: Path | dict[str, str]) -> Finished:
        process = start(*arguments, **where)
        out, err = process.communicate(timeout=300)
        return Finished(process.returncode, out, err)

    return run


@pytest.fixture(scope="session")
def made_up() -> Callable[..., object]:
    """Create a valid record with invented numbers and the given changes."""
    return invented


@pytest.fixture(scope="session")
def cut(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first two blocks of the embedded model, which run in seconds instead of minutes."""
    from transformers import AutoModelForCausalLM

    from implementations.harness.download.embedded import embedded_model

    whole, folder = embedded_model(), tmp_path_factory.mktemp("cut")
    AutoModelForCausalLM.from_pretrained(whole, num_hidden_layers=2).save_pretrained(folder)
    for file in whole.glob("*token*"):
        shutil.copy(file, folder)
    return folder
