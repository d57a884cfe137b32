"""The processor: its name and model, and the vector instructions that may be used on it.

The width of a vector decides the order of additions and the last bits of `exp`. Near collapse this
changes a perplexity by several per cent, so every run uses the same width where it can. It is set
for torch, and for MKL and oneDNN, which multiply matrices for torch and choose by themselves. All
read the settings when torch is imported, so this module needs no torch.
"""

from __future__ import annotations

import functools
import os
import platform
import sys
from pathlib import Path

SETTING = "ATEN_CPU_CAPABILITY"
STANDARD = "AVX2"
"""What published records use; almost every x86 processor since 2015 has it."""
SETTINGS = {
    "DEFAULT": {SETTING: "default", "MKL_CBWR": "COMPATIBLE", "ONEDNN_MAX_CPU_ISA": "SSE41"},
    "AVX2": {SETTING: "avx2", "MKL_CBWR": "AVX2", "ONEDNN_MAX_CPU_ISA": "AVX2"},
    "AVX512": {SETTING: "avx512", "MKL_CBWR": "AVX512", "ONEDNN_MAX_CPU_ISA": "AVX512_CORE"},
}
"""Variables of torch, MKL and oneDNN for each capability of x86, by torch's name for it."""
NEEDS = {"DEFAULT": {"sse4_2"}, "AVX2": {"avx2", "fma"}, "AVX512": {"avx512f", "avx512bw"}}
"""Processor flags that each capability needs."""


def use_capability(capability: str) -> None:
    """Use the vectors of `capability`, if the processor has them.

    Without effect after torch was imported, or on a processor that reports no flags (ARM, macOS).
    """
    if "torch" not in sys.modules and NEEDS.get(capability, {capability}) <= _flags():
        os.environ.update(SETTINGS[capability])


def use_standard_capability() -> None:
    """Use the vectors of published records, or those that the variable `SETTING` names."""
    use_capability(os.environ.get(SETTING, STANDARD).upper())


def name() -> str:
    """Return the processor's product name, or its architecture if the system does not report it."""
    return _info().get("model name") or platform.processor() or platform.machine()


def model() -> str:
    """Return vendor, family and model, as in `AuthenticAMD 25/17`; else the architecture.

    Machines of different generations can share one product name, such as `AMD EPYC`.
    """
    info = _info()
    if "vendor_id" in info and "cpu family" in info:
        return f"{info['vendor_id']} {info['cpu family']}/{info.get('model')}"
    return platform.machine()


def _flags() -> set[str]:
    return set(_info().get("flags", "").split())


@functools.cache
def _info() -> dict[str, str]:
    """Return what Linux reports of the first core."""
    file = Path("/proc/cpuinfo")
    if not file.exists():
        return {}
    first, _, _ = file.read_text().partition("\n\n")
    pairs = (line.partition(":") for line in first.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}
