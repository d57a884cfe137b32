"""The notebooks of `docs/tutorials`: stored outputs belong to the code, and the code runs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import pruning_atlas
from tools.run_tutorials import TUTORIALS, read, run, sources_sha256

NUMBER = r"([\d.,]+)"


def code_cells(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def printed(notebook: Any) -> str:
    """Return the text of all outputs."""
    outputs = [output for cell in code_cells(notebook) for output in cell.outputs]
    return "\n".join(
        output.get("text") or output["data"].get("text/markdown") or output["data"]["text/plain"]
        for output in outputs
    )


def numbers(pattern: str, text: str) -> list[float]:
    """Return the numbers of a line, which must exist."""
    found = re.search(pattern, text, re.MULTILINE)
    assert found is not None, f"{pattern} not found in\n{text}"
    return [float(group.replace(",", "")) for group in found.groups()]


@pytest.fixture(params=TUTORIALS, ids=lambda path: path.stem)
def stored(request: pytest.FixtureRequest) -> Any:
    return read(request.param)


def test_stored_outputs_come_from_the_stored_code(stored: Any) -> None:
    assert stored.metadata.sources_sha256 == sources_sha256(stored), "run `make tutorials`"
    counts = [cell.execution_count for cell in code_cells(stored)]
    assert counts == list(range(1, len(counts) + 1))


def test_outputs_have_no_errors_progress_bars_or_paths_of_a_machine(stored: Any) -> None:
    for cell in code_cells(stored):
        for output in cell.outputs:
            assert output.output_type in ("stream", "display_data", "execute_result")
            assert output.get("name", "stdout") == "stdout"
    assert not re.search(r"\x1b|\r|(^|[\s'\"])/\w|site-packages|Warning", printed(stored))


def test_images_have_an_alternative_text(stored: Any) -> None:
    for cell in code_cells(stored):
        if any("image/svg+xml" in output.get("data", {}) for output in cell.outputs):
            assert len(cell.metadata["alt"]) > 20


def test_code_imports_only_public_names(stored: Any) -> None:
    code = "\n".join(cell.source for cell in code_cells(stored))
    imports = re.findall(r"^from pruning_atlas import (?:\(([\w,\s]+)\)|([\w, ]+)$)", code, re.M)
    names = {name for groups in imports for name in re.findall(r"\w+", " ".join(groups))}
    assert len(imports) == code.count("from pruning_atlas")
    assert {"get_method", "load_model", "prepare_samples"} <= names <= set(pruning_atlas.__all__)
    assert "implementations" not in code


def check_pruning(out: str) -> None:
    """Check that Wanda is between dense and magnitude in all three measures."""
    dense, magnitude, wanda = (
        numbers(rf"^{name} +{NUMBER} +{NUMBER} +{NUMBER}%$", out)
        for name in ("dense", "magnitude", "wanda")
    )
    assert dense[1:] == [0, 100]
    assert dense[0] < wanda[0] < magnitude[0]
    assert 0 < wanda[1] < magnitude[1]
    assert 100 > wanda[2] > magnitude[2]


def check_comparison(out: str) -> None:
    """Check that the method passes, the broken one fails, and Wanda beats magnitude."""
    passed, _, broken = out.partition("what to do:")
    assert passed.count(" ok") > 12
    row = rf"\| \**{NUMBER}(?: ± {NUMBER})?\** "
    slope, wanda, magnitude = (
        numbers(rf"^\| [^|]+\| \**{name}\** +\| [^|]+{row}", broken)
        for name in ("slope", "wanda", "magnitude")
    )
    assert max(slope[0], wanda[0]) < magnitude[0]


CHECKS = {"prune-a-model": check_pruning, "write-a-method": check_comparison}


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_stored_outputs_are_as_the_text_says(path: Path) -> None:
    CHECKS[path.stem](printed(read(path)))


def run_again(path: Path, model: str) -> str:
    """Run a notebook with another model, and return what it prints."""
    notebook = read(path)
    for cell in code_cells(notebook):
        cell.outputs = []
        cell.source = cell.source.replace("smollm2-135m", model)
    run(notebook)
    return printed(notebook)


@pytest.mark.full
@pytest.mark.model
@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_the_notebooks_run(path: Path, cut: Path) -> None:
    assert run_again(path, str(cut))


@pytest.mark.slow
@pytest.mark.model
@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_the_notebooks_show_what_the_text_says(path: Path) -> None:
    CHECKS[path.stem](run_again(path, "smollm2-135m"))
