"""`import_records.py`."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.importing.lists import MINILLM, SPARSEGPT, WANDA, draft, drafts
from tests.sources import replay as sources
from tests.tools.conftest import Command, invoke
from tools import import_records
from tools.catalog.documents.yaml_reader import parse
from tools.catalog.entries.loader import load_catalog
from tools.catalog.entries.writer import canonical


def test_second_run_continues(run: Command, out: Path, replay: sources.Replay) -> None:
    assert run([SPARSEGPT, WANDA], "--limit", 1).said.count("accepted:") == 1
    assert drafts(out) == ["sparsegpt"]
    (out / "sparsegpt.yaml").write_text("summary: mine\n", encoding="utf-8")
    replay.requests.clear()
    done = run([SPARSEGPT, WANDA], "--limit", 1)
    assert done.lines["sparsegpt"].startswith("skipped: sparsegpt; ")
    assert "use --force to replace it" in done.lines["sparsegpt"]
    assert done.lines["wanda"] == "accepted: wanda"
    assert not any("2301.00774" in request.path for request in replay.requests)
    assert (out / "sparsegpt.yaml").read_text(encoding="utf-8") == "summary: mine\n"
    assert run([SPARSEGPT, WANDA]).code == 0
    run([SPARSEGPT, WANDA], "--force", "--limit", 1)
    assert draft(out, "sparsegpt")["venue"] == "icml"


def test_only_processes_selected_records(run: Command, out: Path) -> None:
    done = run([SPARSEGPT, WANDA, MINILLM], "--offline", "--only", "wanda", "--only", "sparsegpt")
    assert list(done.lines) == ["sparsegpt", "wanda"]
    assert "unknown record of" in (said := run([WANDA], "--only", "wnada").said)
    assert "did you mean 'wanda'?" in said


@pytest.mark.parametrize("inside", ["", "drafts", "../papers/drafts"])
def test_rejects_output_in_the_folder_of_entries(run: Command, papers: Path, inside: str) -> None:
    before = sorted(papers.rglob("*"))
    done = run([SPARSEGPT], "--offline", "--out", papers / inside)
    assert done.code == 1
    assert "is inside the catalog" in done.said
    assert "choose a folder outside of it" in done.said
    assert sorted(papers.rglob("*")) == before


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("slug: foo\n", r"list.yaml:1: is not a list; begin each item with a dash: `- slug: ...`"),
        ("- slug: [\n", "list.yaml:1: is not valid YAML"),
        ("", "list.yaml:1: is empty"),
    ],
)
def test_rejects_unusable_list(run: Command, out: Path, text: str, message: str) -> None:
    done = run(text)
    assert done.code == 1
    assert message in done.said
    assert "Nothing was written" in done.said
    assert not out.exists()


def test_rejects_missing_list_and_file_as_output(run: Command, tmp_path: Path) -> None:
    missing = invoke(import_records.app, tmp_path / "none.yaml", "--out", tmp_path / "drafts")
    assert (missing.code, missing.out) == (1, "")
    assert "none.yaml: No such file or directory; give a list of records" in missing.err
    (tmp_path / "taken").write_text("")
    assert "is a file; choose a folder" in run([SPARSEGPT], "--out", tmp_path / "taken").said
    inside = tmp_path / "taken" / "drafts"
    said = run([SPARSEGPT], "--out", inside, "--offline").said
    assert said == f"--out: {inside} cannot be created: Not a directory; choose another folder\n"


def test_rejects_invalid_catalog(run: Command, papers: Path, out: Path) -> None:
    (papers / "broken.yaml").write_text("title: [", encoding="utf-8")
    assert "Fix this first" in run([SPARSEGPT], "--offline").said
    assert not out.exists()


# From draft to entry

SUMMARY = (
    "Prunes every linear layer by a sparse least-squares solve that works through blocks of "
    "columns and spreads each error over the weights still to come. Use it for 2:4 patterns."
)


def written(path: Path, **taxonomy: object) -> Path:
    """Write the fields of a draft that a person has to write."""
    document = parse(path.read_text(encoding="utf-8"), path)
    document.data["tagline"] = "Prunes by a sparse least-squares solve."
    document.data["summary"] = SUMMARY
    document.data["taxonomy"] |= taxonomy
    document.data["sources"]["read"] = "paper"
    path.write_text(canonical(document.data), encoding="utf-8")
    return path


@pytest.mark.parametrize("offline", [(), ("--offline",)])
def test_draft_lacks_only_facts_of_a_reader(
    run: Command, add: Command, out: Path, offline: tuple[str, ...]
) -> None:
    run([SPARSEGPT], *offline)
    code, _, err = add("--from-file", out / "sparsegpt.yaml", "--manual", "--yes")
    assert code == 1
    asked = re.findall(r"^  --([a-z]+) ", err, re.MULTILINE)
    assert asked == ["tagline", "summary", "criterion", "calibration"]


@pytest.mark.parametrize("offline", [(), ("--offline",)])
def test_completed_draft_becomes_an_entry(
    run: Command, add: Command, papers: Path, out: Path, offline: tuple[str, ...]
) -> None:
    run([SPARSEGPT], *offline)
    unverified = draft(out, "sparsegpt")["sources"]["unverified"]
    path = written(out / "sparsegpt.yaml", criterion=["layer-hessian"], calibration="forward")
    code, _, err = add("--from-file", path, "--yes")
    assert code == 0, err
    paper = load_catalog(papers)["sparsegpt"]
    assert paper.summary == SUMMARY
    assert paper.venue == "icml"
    assert list(paper.sources.unverified or ()) == unverified
    assert "the catalog has sparsegpt" in run([SPARSEGPT]).lines["sparsegpt"]
