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
CLEAR = "\x15"  # Ctrl-U removes what stands before the cursor
TOKEN = re.compile(
    r"\x1b\[(?P<numbers>[0-9;?]*)(?P<command>[@-~])|\x1b\][^\x07]*\x07|\x1b[=>78]"
    r"|(?P<control>[\r\n\b])|(?P<text>[^\x1b\x00-\x1f]+)|(?P<unfinished>\x1b[^@-~]*$)"
)


class Screen:
    """What a terminal shows: only changed letters are drawn, so what was sent is no text."""

    def __init__(self) -> None:
        self.lines: list[list[str]] = [[]]
        self.x = self.y = 0
        self.rest = ""

    def feed(self, sent: str) -> None:
        """Draw what was sent."""
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
    """A script on a terminal of its own, with somebody who reads and types."""

    def __init__(self, script: str, arguments: list[str], variables: dict[str, str]) -> None:
        # Asking a terminal where its cursor is takes a terminal that answers.
        plain = {"PROMPT_TOOLKIT_NO_CPR": "1", "TERM": "xterm-256color", "COLUMNS": "200"}
        command = [sys.executable, str(REPOSITORY / "tools" / script), *arguments]
        self.child, self.wire = pty.fork()
        if self.child == 0:
            os.execve(sys.executable, command, os.environ | plain | variables)
        fcntl.ioctl(self.wire, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 200, 0, 0))
        self.screen = Screen()

    @property
    def shown(self) -> str:
        """All that stands on the screen, also above its upper edge."""
        return str(self.screen)

    def expect(self, text: str, seconds: float = 60, times: int = 1) -> None:
        """Wait until a text is shown that often."""
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
    """Start scripts on terminals of their own; none outlives the test."""
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


def test_a_whole_paper_by_hand(start: Start, papers: Path) -> None:
    terminal = start("add_paper.py", "--manual")
    terminal.answer("address of the paper", "hello")
    terminal.expect("names no paper")
    terminal.type(CLEAR, "https://arxiv.org/abs/2312.11983", ENTER)
    terminal.expect("The catalog has this paper already, as flap")
    terminal.type(CLEAR, "https://arxiv.org/abs/2401.01234v2", ENTER)
    terminal.answer("Title as published", "FooPrune: Structured Pruning by Foo")
    terminal.answer("Authors in order", "Ann Bee, Céd Dé and Eva Eff")
    terminal.answer("Year of the venue", "soon")
    terminal.expect("is not a whole number")
    terminal.type(CLEAR, "2024", ENTER)
    terminal.answer("Conference or journal", "icml")
    terminal.answer("What you looked at", "paper")
    terminal.answer("Sort of work", "metod")
    terminal.expect("did you mean method?")
    terminal.type(CLEAR, "method", ENTER)
    terminal.answer("How deep you read", "paper")
    terminal.answer("Two to four sentences")
    terminal.expect("An entry needs this")
    terminal.type(SUMMARY, ENTER)
    # What the title suggests stands there and only needs to be confirmed.
    terminal.answer("Regularity of what is removed")
    terminal.answer("What scores are made from", "magnitude, similarity")
    terminal.answer("What choosing needs of data", "forward")
    terminal.answer("Say more", "y")
    terminal.answer("Units that are removed", "blocks")
    terminal.answer("Repair, by default", "none")
    terminal.answer("How the budget is spread")
    terminal.answer("When it is decided", "static")
    terminal.answer("Whether it prunes by itself")
    terminal.answer("combined with")
    terminal.answer("Models that the work is about", "decoder-only")
    terminal.answer("Families of models", "LLaMA, OPT")
    terminal.answer("Data on which it is chosen", "c4")
    terminal.answer("Data to train masks")
    terminal.answer("Data to measure on", "WikiText-2")
    terminal.answer("Papers whose idea")
    terminal.answer("Papers to whose very method")
    terminal.answer("Papers that it measures itself against", "magnitude")
    terminal.answer("Repository of the authors", "https://github.com/example/foo")
    terminal.answer("Its licence", "unclear")
    terminal.answer("What was found of its licence", "The README says MIT.")
    terminal.answer("Slug, the short name")
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


def test_what_was_answered_is_kept_and_offered_again(start: Start, papers: Path) -> None:
    terminal = start("add_paper.py", "--manual", "2401.01234", *GIVEN)
    terminal.answer("Conference or journal", "NIPS")
    terminal.answer("How deep you read", "paper")
    terminal.answer("Two to four sentences", SUMMARY)
    terminal.expect("Regularity of what is removed")
    terminal.type(CTRL_C)
    assert terminal.end() == 1
    assert "Your answers are kept: the same command goes on from there." in terminal.shown
    again = start("add_paper.py", "--manual", "2401.01234", *GIVEN)
    again.answer("Go on with the draft of FooPrune: Structured Pruning?")
    again.answer("Regularity of what is removed")
    again.answer("What choosing needs of data", "forward")
    again.answer("Say more", "n")
    again.answer("Slug")
    again.answer("Write")
    assert again.end() == 0, again.shown
    assert "Two to four sentences" not in again.shown
    paper = load_catalog(papers)["fooprune"]
    assert (paper.venue, paper.summary) == ("neurips", SUMMARY)


def test_what_is_wrong_is_asked_again_and_nothing_else(start: Start, papers: Path) -> None:
    given = (*GIVEN, "--granularity", "unstructured", "--calibration", "forward", "--read", "paper")
    terminal = start("add_paper.py", "--manual", "2401.01234", *given, "--venue", "icml")
    terminal.answer("Two to four sentences", "Too short.")
    terminal.answer("Say more", "n")
    terminal.answer("Slug")
    terminal.expect("summary: has 2 words; write 25 to 90")
    terminal.expect("Too short.", times=2)
    terminal.type(CLEAR, SUMMARY, ENTER)
    terminal.answer("Write")
    assert terminal.end() == 0, terminal.shown
    assert load_catalog(papers)["fooprune"].summary == SUMMARY


def test_completion_comes_from_the_vocabulary(start: Start, papers: Path) -> None:
    given = ["--title", "FooPrune: Pruning", "--author", "Ann Bee", "--year", "2024"]
    terminal = start("add_paper.py", "--manual", "2401.01234", *given, "--source", "paper")
    terminal.answer("Conference or journal")
    terminal.expect("Sort of work")
    terminal.type("sur")
    terminal.expect("A review of the work of others.")
    terminal.type(TAB, ENTER)
    terminal.answer("How deep you read", "paper")
    terminal.answer("Two to four sentences", SUMMARY)
    terminal.answer("Say more", "n")
    terminal.answer("Slug")
    terminal.answer("Write", "n")
    assert terminal.end() == 1
    assert "kind: survey" in terminal.shown
    assert "nothing was written" in terminal.shown
    assert "fooprune" not in load_catalog(papers)


@pytest.mark.parametrize("key", [CTRL_C, CTRL_D])
def test_leaving_a_question_writes_nothing(start: Start, papers: Path, key: str) -> None:
    terminal = start("add_paper.py", "--manual")
    terminal.expect("address of the paper")
    terminal.type(key)
    assert terminal.end() == 1
    assert "left; nothing was written" in terminal.shown
    assert "Traceback" not in terminal.shown
    assert set(load_catalog(papers)) == {"flap", "magnitude"}


def test_a_title_is_resolved_once_somebody_has_chosen(
    start: Start, replay: server.Replay, papers: Path
) -> None:
    title = "A Simple and Effective Pruning Approach for Large Language Models"
    terminal = start("add_paper.py", title, **replay.environment)
    terminal.expect("Which paper is it?")
    terminal.expect("None of these")
    terminal.type(ENTER)
    terminal.expect("iclr")
    terminal.answer("What the method is called", "Wanda")
    terminal.answer("Sort of work", CLEAR, "method")
    terminal.answer("How deep you read", "abstract")
    terminal.answer("Two to four sentences", SUMMARY)
    terminal.answer("Regularity", CLEAR, "unstructured")
    terminal.answer("What scores are made from", CLEAR, "weight-activation")
    terminal.answer("What choosing needs", CLEAR, "forward")
    terminal.answer("Say more", "n")
    terminal.answer("Slug", CLEAR, "foo")
    terminal.answer("Write")
    assert terminal.end() == 0, terminal.shown
    paper = load_catalog(papers)["foo"]
    assert (paper.venue, paper.name) == ("iclr", "Wanda")
    assert paper.sources.unverified is None


def test_a_method_folder_has_to_say_how_it_follows_the_paper(start: Start, papers: Path) -> None:
    given = [
        *("--title", "FooPrune: Pruning", "--author", "Ann Bee", "--year", "2024"),
        *("--source", "paper", "--kind", "method", "--summary", SUMMARY, "--venue", "icml"),
        *("--criterion", "magnitude", "--calibration", "none", "--granularity", "unstructured"),
    ]
    given += ["--read", "paper"]
    terminal = start("add_paper.py", "--manual", "2401.01234", *given, "--scaffold")
    terminal.answer("Say more")
    terminal.answer("Slug")
    terminal.answer("How the method folder follows the paper: faithful, reconstruction")
    terminal.expect("An entry needs this.")
    terminal.type("faithful", ENTER)
    terminal.answer("Write")
    assert terminal.end() == 0, terminal.shown
    assert load_catalog(papers)["fooprune"].fidelity == "faithful"
    assert (papers.parents[1] / "implementations" / "fooprune" / "README.md").is_file()


def test_nothing_is_asked_with_yes(start: Start, papers: Path) -> None:
    terminal = start("add_paper.py", "--manual", "--yes")
    assert terminal.end() == 1
    assert "an entry needs more than is known; give" in terminal.shown


def test_an_update_takes_what_is_picked(start: Start, replay: server.Replay, papers: Path) -> None:
    text = (PAPERS / "sparsegpt.yaml").read_text(encoding="utf-8")
    text = re.sub(
        r"(?m)^(venue|track|volume|pages|fidelity|published|name): .*\n|^  pmlr: .*\n", "", text
    )
    text = re.sub(r"(?ms)^(links|claims|relations):.*?(?=^[a-z])", "", text)
    text = text.replace("status: published", "status: preprint")
    (papers / "foo.yaml").write_text(text, encoding="utf-8")
    terminal = start("update_paper.py", "foo", **replay.environment)
    terminal.expect("Take which?")
    terminal.expect("status: preprint -> published")
    terminal.type(ENTER)
    assert terminal.end() == 0, terminal.shown
    assert load_catalog(papers)["foo"].venue == "icml"
