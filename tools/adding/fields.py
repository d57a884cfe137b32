"""The facts of an entry that a contributor can give: as options, answers or in the issue form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import get_args

from tools.catalog.documents.yaml_reader import Loc
from tools.catalog.schema.paper import Fidelity
from tools.catalog.schema.vocabulary import Words, vocabulary

FIDELITY: tuple[str, ...] = get_args(Fidelity)
MAX_LISTED = 40
"""Maximum number of terms listed in the help of an option."""


@dataclass(frozen=True)
class Field:
    """One fact: its option, its path in an entry, and the question for it."""

    flag: str
    about: str
    """Text of the question and of the help."""
    loc: Loc
    vocabulary: str = ""
    many: bool = False
    mapping: bool = False
    """Whether a value has fields of its own, written as `name: value, name: value`."""

    @property
    def option(self) -> str:
        """The option on the command line."""
        return f"--{self.flag}"

    @property
    def parameter(self) -> str:
        """The name of the function parameter."""
        return self.flag.replace("-", "_")

    @property
    def words(self) -> Words | None:
        """The vocabulary of the field, or None for free text."""
        return vocabulary()[self.vocabulary] if self.vocabulary else None

    @property
    def help(self) -> str:
        """The help text of the option."""
        several = " (repeatable)" if self.many else ""
        words = ""
        if self.words and len(self.words.terms) <= MAX_LISTED:
            words = f": {', '.join(self.words.terms)}"
        elif self.words:
            words = f": a term of catalog/vocabulary/{self.vocabulary}.yaml"
        return f"{self.about}{several}{words}"


CLAIM = (
    "Result stated in the paper, written as 'model: OPT-175B, sparsity: 0.5, metric: "
    "ppl/wikitext2/2048, value: 8.21, where: Table 1'"
)


def _plain(flag: str, about: str, loc: str = "", *, many: bool = False) -> Field:
    steps = [int(step) if step.isdigit() else step for step in (loc or flag).split(".")]
    return Field(flag, about, tuple(steps), many=many)


def _word(flag: str, about: str, vocabulary: str = "") -> Field:
    return Field(flag, about, (flag,), vocabulary or flag)


def _data(flag: str, about: str) -> Field:
    return Field(f"{flag}-data", about, ("datasets", flag), "datasets", many=True)


def _relation(flag: str, about: str) -> Field:
    return _plain(flag, f"{about}, as slugs of the catalog", f"relations.{flag}", many=True)


def _taxonomy(flag: str, about: str, *, many: bool = False) -> Field:
    return Field(flag, about, ("taxonomy", flag), flag, many)


FIELDS: Mapping[str, Field] = {
    field.flag: field
    for field in (
        _plain("title", "Title as published"),
        _plain("name", "Name of the method"),
        _plain("author", "Authors in order, first name first", "authors", many=True),
        _word("kind", "Kind of work"),
        _word("role", "Whether the method prunes on its own or extends another one"),
        _plain("tagline", "What it does, in one short sentence of at most 120 characters"),
        _plain("summary", "Two to four sentences in your own words: what is new, when to use it"),
        _word("venue", "Conference or journal", "venues"),
        _plain("year", "Year of the venue, or of the first version of a preprint"),
        _plain("track", "Track of the venue: main, findings, workshop, industry, demo, journal"),
        _word("status", "Publication status"),
        _plain("volume", "Volume of the journal or proceedings"),
        _plain("number", "Issue of the volume"),
        _plain("pages", "First and last page, such as 10323-10337"),
        _plain("submitted", "Date of the first public version"),
        _plain("published", "Date of publication in the venue"),
        _plain("arxiv", "arXiv identifier", "ids.arxiv"),
        _plain("doi", "DOI of the publisher", "ids.doi"),
        _plain("openreview", "OpenReview forum id", "ids.openreview"),
        _plain("anthology", "ACL Anthology identifier", "ids.anthology"),
        _plain("pmlr", "PMLR volume and key, such as v202/frantar23a", "ids.pmlr"),
        _plain("ieee", "IEEE Xplore document number", "ids.ieee"),
        _plain("venue-page", "Page of the paper at its venue", "links.venue"),
        _plain("paper-page", "Page of a paper without identifier", "links.paper"),
        _plain("code", "Repository of the authors", "code.0.url"),
        _plain("license", "Licence of the repository: SPDX, NONE or unclear", "code.0.license"),
        _plain("code-note", "Note on the licence or the repository", "code.0.note"),
        _taxonomy("granularity", "Pattern of the removed weights", many=True),
        _taxonomy("prunes", "Units that are removed", many=True),
        _taxonomy("criterion", "Basis of the importance scores", many=True),
        _taxonomy("calibration", "Data needed to choose what to remove"),
        _taxonomy("recovery", "Default recovery after pruning"),
        _taxonomy("allocation", "Allocation of the sparsity across the model"),
        _taxonomy("when", "Times at which the removed weights are chosen", many=True),
        _taxonomy("combines", "Techniques that pruning is combined with", many=True),
        _taxonomy("architecture", "Model architectures of the work", many=True),
        _taxonomy("topic", "Topic of an analysis", many=True),
        Field("model", "Model families in the paper", ("models",), "models", many=True),
        _data("calibration", "Calibration data"),
        _data("training", "Data to train masks or to recover"),
        _data("evaluation", "Evaluation data"),
        Field("claim", CLAIM, ("claims",), many=True, mapping=True),
        _relation("builds-on", "Papers whose idea or algorithm it uses"),
        _relation("extends", "Papers whose method it extends"),
        _relation("compares-with", "Papers that it compares itself with"),
        _plain("fidelity", f"How the method folder follows the paper: {', '.join(FIDELITY)}"),
        _plain("note", "Further remarks for readers", "notes"),
        Field("read", "How closely you read the work", ("sources", "read"), "read"),
        _plain("source", "Sources that you looked at", "sources.from", many=True),
    )
}
"""All facts by flag, in the order of an entry."""
