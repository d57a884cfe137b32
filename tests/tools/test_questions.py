"""The questions of `add_paper.py` and `update_paper.py`, answered by simulated keys."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from prompt_toolkit.application import create_app_session
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.output import DummyOutput

from tests.tools.conftest import Command
from tests.tools.invented import SUMMARY
from tools import add_paper, update_paper
from tools.catalog.entries.loader import PAPERS, load_catalog

ENTER, CTRL_C, CLEAR = "\r", "\x03", "\x15"

TAGLINE = "Removes whole layers."
COPIED = "Weights are pruned by magnitude times the norm of the input activations."

Keys = Callable[..., None]


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> Iterator[Keys]:
    """Press keys on the terminal of the commands, Enter after each text."""
    for script in (add_paper, update_paper):
        monkeypatch.setattr(script, "is_interactive", lambda: True)
    with create_pipe_input() as pipe, create_app_session(input=pipe, output=DummyOutput()):
        yield lambda *texts: pipe.send_text(
            "".join(text if text == CTRL_C else text + ENTER for text in texts)
        )


def test_adds_paper_by_hand(add: Command, keys: Keys, papers: Path) -> None:
    keys("hello", f"{CLEAR}https://arxiv.org/abs/2312.11983")  # no identifier; flap, known
    keys(f"{CLEAR}https://arxiv.org/abs/2401.01234v2", "FooPrune: Structured Pruning by Foo")
    keys("Ann Bee, Céd Dé and Eva Eff", "soon", f"{CLEAR}2024", "icml", "paper")
    keys("", "metod", f"{CLEAR}method", "paper", "", TAGLINE, SUMMARY)
    keys("structured", "magnitude, similarity", "forward", "y")
    keys("blocks", "none", "", "static", "", "", "decoder-only", "LLaMA, OPT")
    keys("c4", "", "WikiText-2", "", "", "magnitude")
    keys("https://github.com/example/foo", "unclear", "The README says MIT.", "", "y")
    code, _, err = add("--manual")
    assert code == 0, err
    assert "git switch -c add-fooprune" in err
    paper = load_catalog(papers)["fooprune"]
    assert paper.title == "FooPrune: Structured Pruning by Foo"
    assert paper.authors == ("Ann Bee", "Céd Dé", "Eva Eff")
    assert paper.tagline == TAGLINE
    assert (paper.venue, paper.year, paper.status) == ("icml", 2024, "published")
    assert paper.ids.arxiv == "2401.01234"
    assert paper.taxonomy.model_dump(exclude_none=True) == {
        "granularity": ("structured",),
        "prunes": ("blocks",),
        "criterion": ("magnitude", "similarity"),
        "calibration": "forward",
        "recovery": "none",
        "when": ("static",),
        "architecture": ("decoder",),
    }
    assert paper.models == ("LLaMA", "OPT")
    assert (paper.datasets.calibration, paper.datasets.evaluation) == (("c4",), ("wikitext2",))
    assert paper.relations.compares_with == ("magnitude",)
    assert (paper.code[0].license, paper.code[0].official) == ("unclear", True)
    assert paper.code[0].note == "The README says MIT."
    assert (paper.sources.read, paper.sources.unverified) == ("paper", None)
    assert not list((papers.parents[1] / ".cache" / "adding").glob("*.json")), "no draft is left"


GIVEN = (
    *("--manual", "2401.01234", "--title", "FooPrune: Structured Pruning", "--author", "Ann Bee"),
    *("--year", "2024", "--source", "paper", "--kind", "method", "--criterion", "magnitude"),
    *("--granularity", "unstructured"),
)


def test_continues_saved_draft(add: Command, keys: Keys, papers: Path) -> None:
    keys("NIPS", "paper", TAGLINE, SUMMARY, CTRL_C)
    code, _, err = add(*GIVEN)
    assert code == 1
    assert "Your answers are saved. Run the same command to continue." in err
    assert "cancelled; nothing was written" in err
    assert set(load_catalog(papers)) == {"flap", "magnitude"}
    keys("y", "forward", "n", "", "y")
    code, _, err = add(*GIVEN)
    assert code == 0, err
    paper = load_catalog(papers)["fooprune"]
    assert (paper.venue, paper.summary) == ("neurips", SUMMARY)


def test_dry_run_keeps_saved_answers(add: Command, keys: Keys, papers: Path) -> None:
    keys("NIPS", "paper", TAGLINE, SUMMARY, "forward", "n", "")
    code, _, err = add(*GIVEN, "--dry-run")
    assert code == 0, err
    assert "Run the command without --dry-run to write this entry with your saved answers." in err
    keys("y", "n", "", "y")
    code, _, err = add(*GIVEN)
    assert code == 0, err
    assert load_catalog(papers)["fooprune"].summary == SUMMARY


def test_force_accepts_a_known_identifier(add: Command, keys: Keys, papers: Path) -> None:
    given = ("--author", "Ann Bee", "--year", "2024", "--source", "paper", "--venue", "icml")
    facts = ("--title", "FooPrune", "--kind", "survey", "--read", "paper", "--name", "FooPrune")
    keys("2312.11983", TAGLINE, SUMMARY, "n", "y", "y")
    code, _, err = add("--manual", *given, *facts, "--slug", "flap", "--force")
    assert code == 0, err
    assert load_catalog(papers)["flap"].title == "FooPrune"


def test_asks_again_only_for_invalid_answers(add: Command, keys: Keys, papers: Path) -> None:
    keys(TAGLINE, "Too short.", "n", "", f"{CLEAR}{SUMMARY}", "y")
    given = ("--calibration", "forward", "--read", "paper", "--venue", "icml")
    code, _, err = add(*GIVEN, *given)
    assert code == 0, err
    assert "summary: has 2 words; write 25 to 90" in err
    assert load_catalog(papers)["fooprune"].summary == SUMMARY


def test_writes_only_after_confirmation(add: Command, keys: Keys, papers: Path) -> None:
    given = ("--title", "FooPrune: Pruning", "--author", "Ann Bee", "--year", "2024")
    keys("", "survey", "paper", TAGLINE, SUMMARY, "n", "", "n")
    code, _, err = add("--manual", "2401.01234", *given, "--source", "paper")
    assert code == 1
    assert "kind: survey" in err
    assert "nothing was written" in err
    assert set(load_catalog(papers)) == {"flap", "magnitude"}


def test_resolves_chosen_candidate(add: Command, keys: Keys, papers: Path) -> None:
    keys("", "Wanda", "method", "abstract", COPIED, f"{CLEAR}{TAGLINE}", SUMMARY)
    keys("unstructured", "weight-activation", "forward", "n", f"{CLEAR}foo", "y")
    code, _, err = add("A Simple and Effective Pruning Approach for Large Language Models")
    assert code == 0, err
    paper = load_catalog(papers)["foo"]
    assert (paper.venue, paper.name, paper.tagline) == ("iclr", "Wanda", TAGLINE)
    assert paper.sources.unverified is None


def test_asks_for_fidelity_of_method_folder(add: Command, keys: Keys, papers: Path) -> None:
    given = ("--calibration", "none", "--read", "paper", "--venue", "icml", "--summary", SUMMARY)
    keys("", TAGLINE, "", "", "faithful", "y")
    code, _, err = add(*GIVEN, *given, "--scaffold")
    assert code == 0, err
    assert load_catalog(papers)["fooprune"].fidelity == "faithful"
    assert (papers.parents[1] / "implementations" / "fooprune" / "README.md").is_file()


def test_update_accepts_selected_changes(update: Command, keys: Keys, papers: Path) -> None:
    text = (PAPERS / "sparsegpt.yaml").read_text(encoding="utf-8")
    text = re.sub(
        r"(?m)^(venue|track|volume|pages|fidelity|published|name): .*\n|^  pmlr: .*\n", "", text
    )
    text = re.sub(r"(?ms)^(links|claims|relations):.*?(?=^[a-z])", "", text)
    text = text.replace("status: published", "status: preprint")
    (papers / "foo.yaml").write_text(text, encoding="utf-8")
    keys("")
    code, _, err = update("foo")
    assert code == 0, err
    assert "status: preprint -> published" in err
    assert load_catalog(papers)["foo"].venue == "icml"
