"""The questions of `add_paper.py` and `update_paper.py`, answered on a real pseudo-terminal."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.sources import server
from tests.tools.invented import SUMMARY
from tools.catalog.entries.loader import PAPERS, load_catalog
from tools.repository import REPOSITORY

pytestmark = pytest.mark.full

ENTER, DOWN, CTRL_C, CTRL_D, TAB = "\r", "\x1b[B", "\x03", "\x04", "\t"
CLEAR = "\x15"  # Ctrl-U deletes the text before the cursor
TOKEN = re.compile(
    r"\x1b\[(?P<numbers>[0-9;?]*)(?P<command>[@-~])|\x1b\][^\x07]*\x07|\x1b[=>78]"
    r"|(?P<control>[\r\n\b])|(?P<text>[^\x1b\x00-\x1f]+)|(?P<unfinished>\x1b[^@-~]*$)"
)


class Screen:
    """The content of a terminal, rebuilt from the control sequences of a program."""

    def __init__(self) -> None:
        self.lines: list[list[str]] = [[]]
        self.x = self.y = 0
        self.rest = ""

    def feed(self, sent: str) -> None:
        """Draw the received output."""
        sent, self.rest = self.rest + sent, ""
        for token in TOKEN.finditer(sent):
            if token["unfinished"]:
                self.rest = token["unfinished"]
            elif token["text"]:
                line = self.lines[self.y]
                line += " " * (self.x + len(token["text"]) - len(line))
                line[self.x : self.x + len(token["text"])] = token["text"]
                self.x += len(token["text"])
            else:
                self._move(token["control"] or token["command"] or "", token["numbers"] or "")

    def _move(self, command: str, numbers: str) -> None:
        amount = int(numbers) if numbers.isdigit() else 1
        self.x = {"\r": 0, "\b": self.x - 1, "C": self.x + amount, "D": self.x - amount}.get(
            command, self.x
        )
        self.y += {"\n": 1, "A": -amount, "B": amount}.get(command, 0)
        self.lines += [[] for _ in range(self.y + 1 - len(self.lines))]
        if command in ("K", "J"):
            del self.lines[self.y][self.x :]
        if command == "J":
            del self.lines[self.y + 1 :]

    def __str__(self) -> str:
        return "\n".join("".join(line).rstrip() for line in self.lines)


class Terminal:
    """A script on its own terminal, with simulated input."""

    def __init__(self, script: str, arguments: list[str], variables: dict[str, str]) -> None:
        # prompt_toolkit would ask for the cursor position, which this terminal does not report.
        plain = {"PROMPT_TOOLKIT_NO_CPR": "1", "TERM": "xterm-256color", "COLUMNS": "200"}
        command = [sys.executable, str(REPOSITORY / "tools" / script), *arguments]
        self.child, self.wire = pty.fork()
        if self.child == 0:
            os.execve(sys.executable, command, os.environ | plain | variables)
        fcntl.ioctl(self.wire, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 200, 0, 0))
        self.screen = Screen()

    @property
    def shown(self) -> str:
        """The screen with its history."""
        return str(self.screen)

    def expect(self, text: str, seconds: float = 60, times: int = 1) -> None:
        """Wait until a text has appeared a number of times."""
        deadline = time.monotonic() + seconds
        while self.shown.count(text) < times:
            if not self._receive(deadline - time.monotonic()):
                pytest.fail(f"'{text}' was not shown; the screen:\n{self.shown}")

    def type(self, *keys: str) -> None:
        """Press keys."""
        os.write(self.wire, "".join(keys).encode())

    def answer(self, question: str, *keys: str) -> None:
        """Wait for a question and answer it, Enter included."""
        self.expect(question)
        self.type(*keys, ENTER)

    def end(self) -> int:
        """Read to the end and return the exit code."""
        while self._receive(60):
            pass
        return os.waitstatus_to_exitcode(os.waitpid(self.child, 0)[1])

    def _receive(self, seconds: float) -> bool:
        ready, _, _ = select.select([self.wire], [], [], max(seconds, 0))
        try:
            received = os.read(self.wire, 65536) if ready else b""
        except OSError:  # how Linux says that the other side is closed
            received = b""
        self.screen.feed(received.decode("utf-8", "replace"))
        return bool(received)


Start = Callable[..., Terminal]


@pytest.fixture
def start(papers: Path, tmp_path: Path) -> Iterator[Start]:
    """Start scripts on their own terminals and end them with the test."""
    started = []

    def begin(script: str, *arguments: str, **variables: str) -> Terminal:
        own = {"XDG_CACHE_HOME": str(tmp_path / "cache"), "HOME": str(tmp_path)}
        terminal = Terminal(script, [*arguments, "--catalog", str(papers)], own | variables)
        started.append(terminal)
        return terminal

    yield begin
    for terminal in started:
        os.close(terminal.wire)
        try:
            os.kill(terminal.child, signal.SIGKILL)
            os.waitpid(terminal.child, 0)
        except (ProcessLookupError, ChildProcessError):
            pass


def test_adds_paper_by_hand(start: Start, papers: Path) -> None:
    terminal = start("add_paper.py", "--manual")
    terminal.answer("address of the paper", "hello")
    terminal.expect("does not identify a paper")
    terminal.type(CLEAR, "https://arxiv.org/abs/2312.11983", ENTER)
    terminal.expect("The catalog already has this paper as flap")
    terminal.type(CLEAR, "https://arxiv.org/abs/2401.01234v2", ENTER)
    terminal.answer("Title as published", "FooPrune: Structured Pruning by Foo")
    terminal.answer("Authors in order", "Ann Bee, Céd Dé and Eva Eff")
    terminal.answer("Year of the venue", "soon")
    terminal.expect("is not a whole number")
    terminal.type(CLEAR, "2024", ENTER)
    terminal.answer("Conference or journal", "icml")
    terminal.answer("Sources that you looked at", "paper")
    terminal.answer("Kind of work", "metod")
    terminal.expect("did you mean method?")
    terminal.type(CLEAR, "method", ENTER)
    terminal.answer("How closely you read", "paper")
    terminal.answer("Two to four sentences")
    terminal.expect("An answer is required")
    terminal.type(SUMMARY, ENTER)
    # The proposal from the title is the default answer.
    terminal.answer("Pattern of the removed weights")
    terminal.answer("Basis of the importance scores", "magnitude, similarity")
    terminal.answer("Data needed to choose", "forward")
    terminal.answer("Answer optional questions", "y")
    terminal.answer("Units that are removed", "blocks")
    terminal.answer("Default recovery", "none")
    terminal.answer("Allocation of the sparsity")
    terminal.answer("Time at which", "static")
    terminal.answer("Whether the method prunes on its own")
    terminal.answer("Techniques that pruning is combined with")
    terminal.answer("Model architectures of the work", "decoder-only")
    terminal.answer("Model families", "LLaMA, OPT")
    terminal.answer("Calibration data", "c4")
    terminal.answer("Data to train masks")
    terminal.answer("Evaluation data", "WikiText-2")
    terminal.answer("Papers whose idea")
    terminal.answer("Papers whose method it extends")
    terminal.answer("Papers that it compares itself with", "magnitude")
    terminal.answer("Repository of the authors", "https://github.com/example/foo")
    terminal.answer("Licence of the repository", "unclear")
    terminal.answer("Note on the licence", "The README says MIT.")
    terminal.answer("Slug (short name")
    terminal.expect("taxonomy:")
    terminal.answer("Write")
    assert terminal.end() == 0, terminal.shown
    assert "git switch -c add-fooprune" in terminal.shown
    paper = load_catalog(papers)["fooprune"]
    assert paper.title == "FooPrune: Structured Pruning by Foo"
    assert paper.authors == ("Ann Bee", "Céd Dé", "Eva Eff")
    assert (paper.venue, paper.year, paper.status) == ("icml", 2024, "published")
    assert paper.ids.arxiv == "2401.01234"
    assert paper.taxonomy.model_dump(exclude_none=True) == {
        "granularity": ("structured",),
        "prunes": ("blocks",),
        "criterion": ("magnitude", "similarity"),
        "calibration": "forward",
        "recovery": "none",
        "when": "static",
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
    *("--title", "FooPrune: Structured Pruning", "--author", "Ann Bee", "--year", "2024"),
    *("--source", "paper", "--kind", "method", "--criterion", "magnitude"),
)


def test_continues_saved_draft(start: Start, papers: Path) -> None:
    terminal = start("add_paper.py", "--manual", "2401.01234", *GIVEN)
    terminal.answer("Conference or journal", "NIPS")
    terminal.answer("How closely you read", "paper")
    terminal.answer("Two to four sentences", SUMMARY)
    terminal.expect("Pattern of the removed weights")
    terminal.type(CTRL_C)
    assert terminal.end() == 1
    assert "Your answers are saved. Run the same command to continue." in terminal.shown
    again = start("add_paper.py", "--manual", "2401.01234", *GIVEN)
    again.answer("Continue with the saved draft of FooPrune: Structured Pruning?")
    again.answer("Pattern of the removed weights")
    again.answer("Data needed to choose", "forward")
    again.answer("Answer optional questions", "n")
    again.answer("Slug")
    again.answer("Write")
    assert again.end() == 0, again.shown
    assert "Two to four sentences" not in again.shown
    paper = load_catalog(papers)["fooprune"]
    assert (paper.venue, paper.summary) == ("neurips", SUMMARY)


def test_asks_again_only_for_invalid_answers(start: Start, papers: Path) -> None:
    given = (*GIVEN, "--granularity", "unstructured", "--calibration", "forward", "--read", "paper")
    terminal = start("add_paper.py", "--manual", "2401.01234", *given, "--venue", "icml")
    terminal.answer("Two to four sentences", "Too short.")
    terminal.answer("Answer optional questions", "n")
    terminal.answer("Slug")
    terminal.expect("summary: has 2 words; write 25 to 90")
    terminal.expect("Too short.", times=2)
    terminal.type(CLEAR, SUMMARY, ENTER)
    terminal.answer("Write")
    assert terminal.end() == 0, terminal.shown
    assert load_catalog(papers)["fooprune"].summary == SUMMARY


def test_completes_terms_of_the_vocabulary(start: Start, papers: Path) -> None:
    given = ["--title", "FooPrune: Pruning", "--author", "Ann Bee", "--year", "2024"]
    terminal = start("add_paper.py", "--manual", "2401.01234", *given, "--source", "paper")
    terminal.answer("Conference or journal")
    terminal.expect("Kind of work")
    terminal.type("sur")
    terminal.expect("A review of published work.")
    terminal.type(TAB, ENTER)
    terminal.answer("How closely you read", "paper")
    terminal.answer("Two to four sentences", SUMMARY)
    terminal.answer("Answer optional questions", "n")
    terminal.answer("Slug")
    terminal.answer("Write", "n")
    assert terminal.end() == 1
    assert "kind: survey" in terminal.shown
    assert "nothing was written" in terminal.shown
    assert "fooprune" not in load_catalog(papers)


@pytest.mark.parametrize("key", [CTRL_C, CTRL_D])
def test_cancelling_writes_nothing(start: Start, papers: Path, key: str) -> None:
    terminal = start("add_paper.py", "--manual")
    terminal.expect("address of the paper")
    terminal.type(key)
    assert terminal.end() == 1
    assert "cancelled; nothing was written" in terminal.shown
    assert "Traceback" not in terminal.shown
    assert set(load_catalog(papers)) == {"flap", "magnitude"}


def test_resolves_chosen_candidate(start: Start, replay: server.Replay, papers: Path) -> None:
    title = "A Simple and Effective Pruning Approach for Large Language Models"
    terminal = start("add_paper.py", title, **replay.environment)
    terminal.expect("Which paper is it?")
    terminal.expect("None of these")
    terminal.type(ENTER)
    terminal.expect("iclr")
    terminal.answer("Name of the method", "Wanda")
    terminal.answer("Kind of work", CLEAR, "method")
    terminal.answer("How closely you read", "abstract")
    terminal.answer("Two to four sentences", SUMMARY)
    terminal.answer("Pattern of the removed weights", CLEAR, "unstructured")
    terminal.answer("Basis of the importance scores", CLEAR, "weight-activation")
    terminal.answer("Data needed to choose", CLEAR, "forward")
    terminal.answer("Answer optional questions", "n")
    terminal.answer("Slug", CLEAR, "foo")
    terminal.answer("Write")
    assert terminal.end() == 0, terminal.shown
    paper = load_catalog(papers)["foo"]
    assert (paper.venue, paper.name) == ("iclr", "Wanda")
    assert paper.sources.unverified is None


def test_asks_for_fidelity_of_method_folder(start: Start, papers: Path) -> None:
    given = [
        *("--title", "FooPrune: Pruning", "--author", "Ann Bee", "--year", "2024"),
        *("--source", "paper", "--kind", "method", "--summary", SUMMARY, "--venue", "icml"),
        *("--criterion", "magnitude", "--calibration", "none", "--granularity", "unstructured"),
    ]
    given += ["--read", "paper"]
    terminal = start("add_paper.py", "--manual", "2401.01234", *given, "--scaffold")
    terminal.answer("Answer optional questions")
    terminal.answer("Slug")
    terminal.answer("How the method folder follows the paper: faithful, reconstruction")
    terminal.expect("An answer is required.")
    terminal.type("faithful", ENTER)
    terminal.answer("Write")
    assert terminal.end() == 0, terminal.shown
    assert load_catalog(papers)["fooprune"].fidelity == "faithful"
    assert (papers.parents[1] / "implementations" / "fooprune" / "README.md").is_file()


def test_yes_asks_nothing(start: Start, papers: Path) -> None:
    terminal = start("add_paper.py", "--manual", "--yes")
    assert terminal.end() == 1
    assert "required facts are missing; add these options:" in terminal.shown


def test_update_accepts_selected_changes(start: Start, replay: server.Replay, papers: Path) -> None:
    text = (PAPERS / "sparsegpt.yaml").read_text(encoding="utf-8")
    text = re.sub(
        r"(?m)^(venue|track|volume|pages|fidelity|published|name): .*\n|^  pmlr: .*\n", "", text
    )
    text = re.sub(r"(?ms)^(links|claims|relations):.*?(?=^[a-z])", "", text)
    text = text.replace("status: published", "status: preprint")
    (papers / "foo.yaml").write_text(text, encoding="utf-8")
    terminal = start("update_paper.py", "foo", **replay.environment)
    terminal.expect("Which changes do you accept?")
    terminal.expect("status: preprint -> published")
    terminal.type(ENTER)
    assert terminal.end() == 0, terminal.shown
    assert load_catalog(papers)["foo"].venue == "icml"
