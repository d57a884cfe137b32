"""A site built from records with made-up numbers; none of them is a measurement."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from implementations.harness.protocol import PROTOCOLS
from implementations.harness.record import (
    NO_SPEED_UP,
    Dense,
    Footprint,
    Hardware,
    ModelInfo,
    Peak,
    Rate,
    Record,
    Speed,
    save_record,
)

WIKIPEDIA, C4 = PROTOCOLS["smol"].metrics
WEIGHTS = ("unstructured", "semi-structured")
PARAMETERS = 134_515_008
BLOCK_WEIGHTS = 106_168_320
DENSE = {WIKIPEDIA: 20.4861, C4: 24.25}


def sample(method: str, asked: float, ratio: float, **more: Any) -> Record:
    """Make a record of `method` whose perplexities are `ratio` times the dense ones."""
    granularity: tuple[str, ...] = more.pop("granularity", WEIGHTS)
    pattern: str | None = more.pop("pattern", None)
    seed: int = more.pop("seed", 0)
    structured = not set(WEIGHTS) & set(granularity)
    gone = round(asked * BLOCK_WEIGHTS)
    left = PARAMETERS - gone
    label = (pattern or f"{100 * asked:g}").replace(":", "-")
    rate = Rate(dense=40.0, pruned=50.0, ratio=1.25, low=1.21, high=1.31)
    fields: dict[str, Any] = {
        "run": f"20261125T120000Z-{method}-{label}-{seed}",
        "key": f"{method}-{label}-{seed}",
        "name": f"smollm2-135m-{label}-{seed}",
        "date": datetime(2026, 11, 25, 12, tzinfo=UTC),
        "command": f"atlas run {method} --sparsity {asked} --seed {seed}",
        "method": method,
        "granularity": granularity,
        "configuration": {"sparsity": asked, "pattern": pattern},
        "changed": (),
        "asked": asked,
        "achieved": gone / BLOCK_WEIGHTS,
        "details": {},
        "protocol": PROTOCOLS["smol"],
        "seed": seed,
        "model": ModelInfo(
            name="smollm2-135m",
            source="smollm2-135m",
            sha256="0" * 64,
            family="llama",
            dtype="float32",
            device="cpu",
            accelerator="cpu",
            parameters=PARAMETERS,
        ),
        "texts": (),
        "disjoint": "no span of the calibration lies in an evaluation window",
        "values": {metric: ratio * value for metric, value in DENSE.items()},
        "dense": Dense(
            run="20261125T110000Z-dense",
            values=DENSE,
            footprint=Footprint(
                parameters=PARAMETERS, nonzero=PARAMETERS, bytes=4 * PARAMETERS, macs=PARAMETERS
            ),
        ),
        "footprint": Footprint(
            parameters=left if structured else PARAMETERS,
            nonzero=left,
            bytes=4 * (left if structured else PARAMETERS),
            macs=left if structured else PARAMETERS,
        ),
        "speed": Speed(note="measured", prefill=rate, decode=rate)
        if structured
        else Speed(note=NO_SPEED_UP),
        "sample": "The history of the city begins with a river.",
        "labels": ("collapsed",) if ratio > 50 else (),
        "warnings": (),
        "seconds": {"prune": 12.5, "evaluate": 60.0},
        "peak": Peak(start=1_000_000_000, bytes=2_000_000_000, how="resident set"),
        "hardware": Hardware(
            cpu="a test", cores=2, threads=2, memory=8_000_000_000, accelerator=None, system="Linux"
        ),
        "versions": {"torch": "2.13.0"},
        "commit": None,
        "dirty": None,
        "tolerance": {},
    }
    return Record(**(fields | more))


def samples() -> list[Record]:
    """Records of five methods that exercise each way a result is shown."""
    heads, blocks = ("kv-groups", "channels"), ("blocks",)
    return [
        sample("magnitude", 0.5, 9.31),
        sample("magnitude", 0.7, 412.0),
        sample("magnitude", 0.5, 68.2, pattern="2:4"),
        sample("magnitude", 0.5, 21.4, pattern="4:8"),
        *(sample("wanda", 0.5, 1.95 + 0.02 * seed, seed=seed) for seed in range(3)),
        sample("wanda", 0.7, 19.8),
        sample("wanda", 0.5, 4.31, pattern="2:4"),
        sample("wanda", 0.5, 2.83, pattern="4:8"),
        *(sample("sparsegpt", 0.5, 1.81 + 0.02 * seed, seed=seed) for seed in range(3)),
        sample("sparsegpt", 0.7, 6.92),
        sample("sparsegpt", 0.5, 2.77, pattern="2:4"),
        sample("sparsegpt", 0.5, 2.21, pattern="4:8"),
        sample("flap", 0.1, 1.35, granularity=heads),
        sample("flap", 0.2, 1.82, granularity=heads),
        sample("flap", 0.3, 2.65, granularity=heads),
        sample("flap", 0.5, 7.7, granularity=heads),
        sample("shortgpt", 0.1, 1.71, granularity=blocks),
        sample("shortgpt", 0.2, 4.9, granularity=blocks),
        sample("shortgpt", 0.3, 33.3, granularity=blocks),
    ]


@pytest.fixture(scope="session")
def records() -> list[Record]:
    return samples()


@pytest.fixture(scope="session")
def repository() -> Path:
    return Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def bare_checkout(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what the site is made from, without the published records."""
    copy = tmp_path_factory.mktemp("checkout")
    for folder in ("catalog", "docs", "implementations", "tools"):
        if (repository / folder).exists():
            shutil.copytree(
                repository / folder,
                copy / folder,
                ignore=shutil.ignore_patterns("records", "__pycache__"),
            )
    shutil.copy(repository / "mkdocs.yml", copy)
    return copy


@pytest.fixture(scope="session")
def build(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Run `mkdocs build --strict` on a checkout and return the folder of the site."""

    def run(checkout: Path, **environment: str) -> Path:
        site = tmp_path_factory.mktemp("site")
        command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(site)]
        done = subprocess.run(
            command,
            check=False,
            cwd=checkout,
            env=os.environ
            | {"NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": str(checkout), "ATLAS_RUNS": ""}
            | environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return site

    return run


@pytest.fixture(scope="session")
def runs(records: list[Record], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    for record in records:
        save_record(record, folder)
    return folder


@pytest.fixture(scope="session")
def site(bare_checkout: Path, runs: Path, build: Callable[..., Path]) -> Path:
    """The site of the sample records alone."""
    return build(bare_checkout, ATLAS_RUNS=str(runs))
