"""Defaults of the methods compared with those stated by the paper or its official code."""

from __future__ import annotations

import pytest

from implementations.harness import get
from implementations.prunerzero.prunerzero import RELEASED

# Only values stated by a source. Defaults that we chose are left out, and so are methods without a
# known stated value: fasp, kvpruner, llmbip, maskprune, minillm, saap and sobp.
STATED = {
    "adaptpruner": {  # the released scripts
        "steps": 50,
        "amplitude": 0.02,
        "samples": 512,
        "updates": 60_268,
        "batch": 128,
        "learning_rate": 2e-5,
        "end": 0.1,
    },
    "admmpruning": {  # the released code; without a pattern it is not gradual, unlike the paper
        "iterations": 20,
        "choosing": 15,
        "gradual": True,
        "damping": 0.1,
        "penalty": 1.0,
    },
    "alphapruning": {"sparsity": 0.7, "base": "wanda", "spread": 0.2, "cut": "peak"},
    "alps": {
        "damping": 0.01,
        "penalty": 0.1,
        "every": 3,
        "iterations": 300,
        "refit": 10,
        "schedule": "paper",
    },
    "ast": {  # the configuration for LLaMA2-7B
        "steps": 15_000,
        "rate": 2e-5,
        "batch": 128,
        "warmup": 500 / 15_000,
        "weight_decay": 0.0,
        "decay": 6e-5,
        "ramp": 3_000 / 15_000,
        "refresh": 10,
        "alpha": 1 / 3,
        "temperature": 2.0,
        "mask": "adaptive",
        "initial": "magnitude",
    },
    "atp": {  # the released code; `shrinkage` is that of its second version
        "batch": 4,
        "learning_rate": 1e-4,
        "rank": 8,
        "decision_rate": 1e-3,
        "strength": 5.0,
        "shrinkage": 50_000.0,
        "two_stage": False,
    },
    "besa": {  # the released code, with the commands for LLaMA-7B
        "sparsity": 0.5,
        "rates": "row",
        "base": "wanda",
        "intervals": 100,
        "inputs": "pruned",
        "epochs": 1,
        "penalty": 5.0,
        "optimiser": "prodigy",
        "step_factor": 5.0,
        "learning_rate": 0.01,
    },
    "bonsai": {"sparsity": 0.5, "step": 0.05, "pairs": 100, "samples": 32, "perturb": True},
    "cfsp": {
        "sparsity": 0.2,
        "score": "paper",
        "steepness": 1.0,
        "share_exponent": 1.0,
        "norm_exponent": 1.0,
    },
    "denoiserotator": {  # the defaults of the released code; the paper trains for 2,000 steps
        "base": "wanda",
        "steps": 100,
        "rate": 0.01,
        "clip": 1.0,
        "damping": 0.01,
        "block_size": 128,
    },
    "displlm": {
        "steps": 10_000,
        "learning_rate": 1e-3,
        "batch": 1,
        "strength": 6.0,
        "temperature": 1.0,
        "hypernetwork": True,
        "tied": False,
    },
    "dpruner": {
        "batch": 8,
        "learning_rate": 0.03,
        "clip": 1.0,
        "strength": 0.1,
        "general_sparsity": 0.52,
        "block_size": 128,
        "damping": 0.01,
        "second_order": 0.5,
    },
    "dsnot": {
        "skip": "feed-forward",
        "threshold": 0.1,
        "cycles": 50,
        "variance_power": 1.0,
        "same_sign": False,
        "damping": 0.01,
    },
    "elsa": {  # the command of the official README
        "steps": 4096,
        "batch": 8,
        "learning_rate": 2e-4,
        "penalty": 0.01,
        "rise": "none",
        "interval": 32,
    },
    "evop": {
        "population": 50,
        "generations": 100,
        "mutation": 0.001,
        "samples": 5,
        "clusters": 5,
    },
    "fastforward": {
        "episodes": 2000,
        "collect": 15,
        "epochs": 10,
        "learning_rate": 5e-4,
        "clip": 0.2,
        "entropy": 0.01,
        "ridge": 0.9,
    },
    "flap": {"compensate": True, "square_attention": False},
    "gblmpruner": {"sparsity": 0.5, "alpha": 100.0},  # the released code
    "griffin": {"select": "prompt"},
    "hywia": {"order": 2, "first": 4 / 32, "last": 2 / 32, "samples": 10},  # as in LLM-Pruner
    "llmpruner": {
        "taylor": "param_first",
        "aggregation": "sum",
        "first": 4 / 32,
        "last": 2 / 32,
        "samples": 10,
    },
    "loraprune": {
        "criterion": "lora",
        "as_code": False,
        "smoothing": 0.9,
        "warmup": 0.1,
        "cooldown": 0.1,
        "every": 10,
        "first": 0.1,
        "last": 1,
        "rank": 8,
        "scale": 16 / 8,
        "steps": 312,
        "batch": 128,
        "learning_rate": 1e-4,
    },
    "magnitude": {"compare": "matrix"},
    "maskllm": {  # the released scripts; `deviation` is in the code
        "steps": 2000,
        "batch": 256,
        "learning_rate": 5e-4,
        "prior": "sparsegpt",
        "strength": 3.0,
        "deviation": 0.01,
        "first_scale": 100.0,
        "last_scale": 500.0,
        "first_temperature": 4.0,
        "last_temperature": 0.05,
        "reward": 1e-5,
    },
    "owl": {"sparsity": 0.7, "base": "wanda", "outlier": 5.0, "spread": 0.08},
    "pbs2p": {"group": 8, "block_size": 128},
    "prunellm": {"probes": 128},
    "prunerzero": {"sparsity": 0.5, "norm": "l2", "formula": RELEASED},
    "ria": {"exponent": 0.5, "compare": "matrix"},
    "slicegpt": {"multiple": 8},
    "slimgpt": {"first": 0.125 / 0.5, "damping": 0.01, "compensate": True},
    "slimllm": {
        "sparsity": 0.2,
        "layers": 26 / 32,
        "alpha": 10.0,
        "spared": 0.01,
        "regress": True,
    },
    "sparsegpt": {"sparsity": 0.5, "block_size": 128, "damping": 0.01},
    "twossp": {"alpha": 1.5, "probes": 1},
    "wanda": {"sparsity": 0.5},
    "wandapp": {"alpha": 100.0, "rounds": 5, "windows": 32, "rate": 3e-7},  # the reproduction
}


@pytest.mark.parametrize("slug", STATED)
def test_defaults_equal_those_of_the_paper_or_its_code(slug: str) -> None:
    method = get(slug)()
    assert {name: getattr(method, name) for name in STATED[slug]} == STATED[slug]
