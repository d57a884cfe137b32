"""Scaffolded method folders."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.catalog.invented import baseline
from tools.catalog.entries.loader import load_catalog
from tools.catalog.schema.paper import Paper
from tools.scaffold import ScaffoldError, scaffold
from tools.scaffold import __main__ as command
from tools.scaffold.method_folder import render

REPOSITORY = Path(__file__).resolve().parents[2]


def made_up(**changes: Any) -> Paper:
    """An invented paper."""
    facts = {
        "title": "Toying with Weights",
        "name": "Toy",
        "authors": ["Ada Lovelace", "Alan Turing"],
        "kind": "method",
        "summary": "Prunes toys. Use it for tests.",
        "year": 2025,
        "status": "preprint",
        "added": "2026-11-25",
        "ids": {"arxiv": "2501.00001"},
        "taxonomy": {"granularity": ["unstructured"], "criterion": ["magnitude"]}
        | {"calibration": "none"},
        "sources": {"checked": "2026-11-25", "from": ["nothing"]},
    }
    return Paper.model_validate(facts | changes)


def taxonomy(*granularity: str, calibration: str = "forward", **more: Any) -> dict[str, Any]:
    fixed = {"granularity": granularity, "criterion": ["activation"], "calibration": calibration}
    return fixed | more


@pytest.fixture(scope="module")
def papers() -> dict[str, Paper]:
    """The catalogued papers with a method."""
    return {slug: paper for slug, paper in load_catalog().items() if paper.taxonomy}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    (tmp_path / "implementations").mkdir()
    shutil.copy(REPOSITORY / "pyproject.toml", tmp_path)
    return tmp_path


def run(checkout: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *words],
        cwd=checkout,
        env=os.environ | {"PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1", "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )


def with_harness(checkout: Path) -> Path:
    """Add the harness to a checkout."""
    source, place = REPOSITORY / "implementations", checkout / "implementations"
    shutil.copytree(
        source / "harness", place / "harness", ignore=shutil.ignore_patterns("records", "__py*")
    )
    for name in ("__init__.py", "conftest.py"):
        shutil.copy(source / name, place)
    return checkout


def code(checkout: Path, slug: str) -> str:
    return (checkout / "implementations" / slug / f"{slug}.py").read_text()


def test_folders_of_all_papers_pass_ruff(checkout, papers):
    for slug, paper in papers.items():
        scaffold(slug, paper, checkout)
    scaffold("toy", made_up(), checkout)
    checked = run(checkout, "ruff", "check", "--no-cache", "implementations")
    assert checked.returncode == 0, checked.stdout
    formatted = run(checkout, "ruff", "format", "--no-cache", "--check", "implementations")
    assert formatted.returncode == 0, formatted.stdout


def test_folders_of_unusual_papers_pass_ruff(checkout):
    long = "A" * 120
    awkward = {
        "quotes": made_up(name='"Quotes"\\', authors=['Ada "\\" Lovelace"""'] * 2),
        "digits": made_up(name="2SSP"),
        "long": made_up(name=long, authors=[long] * 20, title="B" * 300),
        "unicode": made_up(name="Ünïcode", authors=["中 文"], venue="naacl-findings"),
        "units": made_up(
            taxonomy=taxonomy(
                *("unstructured", "semi-structured", "structured"),
                prunes=["weights", "heads", "head-channels", "channels", "hidden", "blocks"],
            )
        ),
        "nounits": made_up(taxonomy=taxonomy("structured", calibration="gradients")),
        "a2345678901234567890": made_up(name=None),
        "chance": baseline(),
    }
    for slug, paper in awkward.items():
        scaffold(slug, paper, checkout)
    checked = run(checkout, "ruff", "check", "--no-cache", "implementations")
    assert checked.returncode == 0, checked.stdout
    formatted = run(checkout, "ruff", "format", "--no-cache", "--check", "implementations")
    assert formatted.returncode == 0, formatted.stdout
    assert "class Digits(WeightMethod):" in code(checkout, "digits")


@pytest.mark.slow
def test_folders_pass_mypy(checkout, papers):
    for slug in ("wanda", "shortgpt", "slicegpt", "loraprune"):
        scaffold(slug, papers[slug], checkout)
    done = run(with_harness(checkout), "mypy", "implementations", "--follow-imports=silent")
    assert done.returncode == 0, done.stdout


@pytest.mark.full
def test_contract_reports_missing_method_once(checkout):
    scaffold("toy", made_up(), with_harness(checkout))
    done = run(checkout, "pytest", "implementations/toy", "-q", "-p", "no:cacheprovider")
    assert done.returncode == 1, done.stdout + done.stderr
    sentence = "toy is not written yet: write `prune` in toy.py, then delete `missing` there"
    assert done.stdout.splitlines().count(sentence) == 1
    assert "toy has no test yet: " in done.stdout
    assert "2 failed" in done.stdout
    assert "Traceback" not in done.stdout
    subprocess.run(["git", "init", "--quiet"], cwd=checkout, check=True)
    refused = run(checkout, "implementations.harness.cli", "run", "toy", "--sparsity", "0.5")
    assert (refused.returncode, refused.stderr) == (2, f"error: {sentence}\n")


@pytest.mark.parametrize(
    ("words", "abilities"),
    [
        (taxonomy("unstructured", calibration="none"), '"unstructured",|none'),
        (taxonomy("semi-structured", "unstructured"), '"unstructured", "semi-structured"|forward'),
        (
            taxonomy("structured", prunes=["heads", "channels"], calibration="gradients"),
            '"kv-groups", "channels"|gradient',
        ),
        (taxonomy("structured", prunes=["blocks"], calibration="training"), '"blocks",|training'),
        (taxonomy("unstructured", prunes=["weights"]), '"unstructured",|forward'),
    ],
)
def test_capabilities_come_from_the_taxonomy(checkout, words, abilities):
    scaffold("toy", made_up(taxonomy=words), checkout)
    granularity, calibration = abilities.split("|")
    text = code(checkout, "toy")
    assert (
        f"granularity=({granularity}),\n        calibration={calibration!r},".replace("'", '"')
        in text
    )
    assert ("pattern: Pattern" in text) == ("semi-structured" in granularity)


def test_names_units_unknown_to_the_harness(checkout):
    words = taxonomy("structured", prunes=["vocabulary", "channels", "head-channels"])
    scaffold("toy", made_up(taxonomy=words), checkout)
    assert "# The harness has no unit for: vocabulary.\n" in code(checkout, "toy")
    assert 'granularity=("channels", "value-dims", "rotary-pairs")' in code(checkout, "toy")


@pytest.mark.full
def test_methods_of_all_papers_can_be_defined(papers):
    unlike = {
        str([kind.granularity, kind.prunes, kind.calibration]): slug
        for slug, paper in papers.items()
        if (kind := paper.taxonomy)
    }
    assert len(unlike) > 20
    for slug in unlike.values():
        exec(render(slug, papers[slug])[f"{slug}.py"], {"__name__": slug})


def test_readme_quotes_the_entry(checkout):
    repository = {"url": "https://example.org/toy", "official": True}
    made = scaffold("toy", made_up(code=[repository]), checkout)
    readme = checkout / "implementations" / "toy" / "README.md"
    assert readme in made
    text = readme.read_text()
    assert text.startswith("# Toy\n\n*Toying with Weights*, Ada Lovelace and Alan Turing, 2025,")
    assert "[arXiv:2501.00001](https://arxiv.org/abs/2501.00001)" in text
    assert "Official code: <https://example.org/toy>." in text
    assert "\n## Differences from the paper\n\n1. " in text
    assert max(map(len, text.splitlines())) <= 100


def test_returns_exactly_the_created_files(checkout):
    folder = checkout / "implementations" / "toy"
    made = scaffold("toy", made_up(), checkout)
    assert sorted(made) == sorted(folder.iterdir())
    assert [path.name for path in made] == ["__init__.py", "toy.py", "test_toy.py", "README.md"]
    assert folder.stat().st_mode == (checkout / "implementations").stat().st_mode
    shutil.rmtree(folder)
    assert list((checkout / "implementations").iterdir()) == []


def test_rejects_existing_folder(checkout):
    folder = checkout / "implementations" / "toy"
    folder.mkdir()
    with pytest.raises(ScaffoldError, match="toy exists already; remove it"):
        scaffold("toy", made_up(), checkout)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("slug", "message"),
    [
        ("Toy", "'Toy' cannot be a module"),
        ("../toy", "cannot be a module"),
        ("lambda", "'lambda' cannot be a module"),
        ("none", "'none' cannot be a module"),
        ("t" * 21, "has more than 20 letters; choose a shorter slug"),
    ],
)
def test_rejects_slugs_that_are_not_module_names(checkout, slug, message):
    with pytest.raises(ScaffoldError, match=message):
        scaffold(slug, made_up(), checkout)
    assert list((checkout / "implementations").iterdir()) == []


def test_rejects_surveys(checkout):
    with pytest.raises(ScaffoldError, match="'toy' is a survey without taxonomy"):
        scaffold("toy", made_up(kind="survey", taxonomy=None), checkout)


def test_command_accepts_catalogued_papers(checkout, monkeypatch, capsys):
    monkeypatch.setattr(command, "REPOSITORY", checkout)
    command.main("slicegpt")
    said = capsys.readouterr().out.splitlines()
    names = ("__init__.py", "slicegpt.py", "test_slicegpt.py", "README.md")
    assert said[:4] == [f"implementations/slicegpt/{name}" for name in names]
    assert all((checkout / path).is_file() for path in said[:4])
    assert said[-1] == "To see what is still missing, run: pytest implementations/slicegpt"
    for slug, message in (
        ("slicegpt", "exists already"),
        ("nosuch", "the catalog has no entry 'nosuch'"),
    ):
        with pytest.raises(SystemExit, match=message):
            command.main(slug)
