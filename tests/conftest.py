"""Fixtures: a tiny model with tokenizer and texts on disk, and a protocol that takes seconds."""

from __future__ import annotations

import gc
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

from tests.keyed import keyed

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


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Return a random two-block llama with a byte tokenizer, two texts and a protocol."""
    from implementations.harness.contract.tiny import tiny_model
    from implementations.harness.model.saving import save
    from implementations.harness.model.view import LanguageModel

    folder = tmp_path_factory.mktemp("world")
    tokenizer = byte_tokenizer()
    plain = tiny_model("llama", vocab_size=len(tokenizer))
    save(LanguageModel(plain.hf, tokenizer), folder / "tiny")
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


def byte_tokenizer():
    """Return a byte-level tokenizer, built without files of another model."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {letter: i for i, letter in enumerate(["<pad>", "<s>", "</s>", *letters])}
    raw = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
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
    from datetime import UTC, datetime

    from implementations.harness.results import record as parts
    from implementations.harness.results.metric import PERPLEXITY
    from implementations.harness.results.protocol import PROTOCOLS

    weights = parts.Footprint(parameters=1000, nonzero=600, bytes=4000, macs=900)
    text = parts.TextInfo(
        role="calibration",
        source="c4",
        source_sha256="1" * 64,
        text_sha256="1" * 64,
        ids_sha256="2" * 64,
        samples=2,
        length=1024,
        spans=((0, 1024), (2048, 3072)),
    )

    def make(**changes: object) -> parts.Record:
        seed = changes.get("seed", 0)
        fields = {
            "run": "20261125T120000Z-00000000",
            "name": f"smollm2-135m-s0.5-seed{seed}",
            "date": datetime(2026, 11, 25, 12, tzinfo=UTC),
            "command": "atlas run wanda --sparsity 0.5",
            "method": "wanda",
            "granularity": ("unstructured",),
            "configuration": {"sparsity": 0.5, "pattern": None},
            "changed": (),
            "asked": 0.5,
            "achieved": 0.5,
            "details": {},
            "protocol": PROTOCOLS["smol"],
            "seed": 0,
            "model": parts.ModelInfo(
                name="smollm2-135m",
                source="smollm2-135m",
                sha256="0" * 64,
                config_sha256="3" * 64,
                tokenizer_sha256="4" * 64,
                family="llama",
                dtype="float32",
                device="cpu",
                accelerator="cpu",
                parameters=1000,
            ),
            "texts": (text,),
            "disjoint": "checked",
            "values": {"ppl/wikipedia/1024": 40.0, "ppl/c4/1024": 50.0},
            "dense": parts.Dense(
                run="20261125T110000Z-11111111",
                values={"ppl/wikipedia/1024": 20.0, "ppl/c4/1024": 25.0},
                footprint=weights,
            ),
            "footprint": weights,
            "speed": parts.Speed(note=parts.NO_SPEED_UP),
            "sample": "The history of the city begins with a river.",
            "labels": (),
            "warnings": (),
            "seconds": {"prune": 1.5},
            "peak": parts.Peak(bytes=2000, start=1000, how="resident set"),
            "hardware": parts.Hardware(
                cpu="some", cores=2, threads=2, memory=8000, accelerator=None, system="Linux"
            ),
            "versions": {"torch": "2.13.0", "transformers": "5.24.0"},
            "commit": None,
            "dirty": None,
            "tolerance": {"ppl": PERPLEXITY.tolerance},
        }
        return keyed(**(fields | changes))

    return make
