"""The vector instructions are set before torch is imported, for all libraries that multiply."""

import os
import subprocess
import sys

import pytest

from implementations.harness.results import processor

SHOW = """
from implementations.harness.results.processor import use_standard_capability
use_standard_capability()
import os, torch
print(torch.backends.cpu.get_cpu_capability(), os.environ.get("MKL_CBWR"))
"""


def shown(**settings: str) -> list[str]:
    """Return torch's capability and MKL's setting in a new process."""
    names = processor.SETTINGS["AVX2"]
    environment = {name: value for name, value in os.environ.items() if name not in names}
    command = [sys.executable, "-c", SHOW]
    done = subprocess.run(
        command, env=environment | settings, capture_output=True, text=True, check=True
    )
    return done.stdout.split()


@pytest.mark.skipif(not processor.NEEDS["AVX2"] <= processor._flags(), reason="needs AVX2")
def test_standard_is_used_unless_the_user_chose_another():
    assert shown() == ["AVX2", "AVX2"]
    assert shown(ATEN_CPU_CAPABILITY="default") == ["DEFAULT", "COMPATIBLE"]


def test_nothing_is_set_where_the_processor_lacks_the_instructions(monkeypatch):
    monkeypatch.setattr(processor, "_flags", set)
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    before = dict(os.environ)
    processor.use_capability("AVX512")
    processor.use_capability("of no processor")
    assert dict(os.environ) == before
