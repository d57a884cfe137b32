"""The facts that a contributor can give: by flag, by answer, or in the issue form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import get_args

from tools.catalog.documents.yaml_reader import Loc
from tools.catalog.schema.paper import Fidelity
from tools.catalog.schema.vocabulary import Words, vocabulary

FIDELITY: tuple[str, ...] = get_args(Fidelity)
MOST = 40
"""Words that are listed in the help of a flag."""


@dataclass(frozen=True)
class Field:
    """One fact: the flag that gives it, where it goes in an entry, how it is asked for."""

    flag: str
    about: str
    """Text of the question and of the flag's help."""
    loc: Loc
    vocabulary: str = ""
    many: bool = False
    mapping: bool = False
    """Whether a value has fields of its own, as `name: value` with commas between."""

    @property
    def option(self) -> str:
        """The flag as it is typed."""
        return f"--{self.flag}"

    @property
    def parameter(self) -> str:
        """The flag as the parameter of a function."""
        return self.flag.replace("-", "_")

    @property
    def words(self) -> Words | None:
        """The words to choose from, if it is not free text."""
        return vocabulary()[self.vocabulary] if self.vocabulary else None

    @property
    def help(self) -> str:
        """What the flag takes, in one line."""
        several = " (repeat it for several)" if self.many else ""
        words = ""
        if self.words and len(self.words.terms) <= MOST:
            words = f": {', '.join(self.words.terms)}"
        elif self.words:
            words = f": a word of catalog/vocabulary/{self.vocabulary}.yaml"
        return f"{self.about}{several}{words}"


CLAIM = (
    "Number of the paper, as 'model: OPT-175B, sparsity: 0.5, metric: ppl/wikitext2/2048, "
    "value: 8.21, where: Table 1'"
)


def _plain(flag: str, about: str, loc: str = "", *, many: bool = False) -> Field:
    steps = [int(step) if step.isdigit() else step for step in (loc or flag).split(".")]
    return Field(flag, about, tuple(steps), many=many)


def _word(flag: str, about: str, vocabulary: str = "") -> Field:
    return Field(flag, about, (flag,), vocabulary or flag)


def _data(flag: str, about: str) -> Field:
    return Field(f"{flag}-data", about, ("datasets", flag), "datasets", many=True)


def _relation(flag: str, about: str) -> Field:
    return _plain(flag, f"{about}, by their slugs here", f"relations.{flag}", many=True)


def _taxonomy(flag: str, about: str, *, many: bool = False) -> Field:
    return Field(flag, about, ("taxonomy", flag), flag, many)


FIELDS: Mapping[str, Field] = {
    field.flag: field
    for field in (
        _plain("title", "Title as published"),
        _plain("name", "What the method is called"),
        _plain("author", "Authors in order, first name first", "authors", many=True),
        _word("kind", "Sort of work"),
        _word("role", "Whether it prunes by itself"),
        _plain("summary", "Two to four sentences of your own: what is new, when to use it"),
        _word("venue", "Conference or journal", "venues"),
        _plain("year", "Year of the venue, or of a preprint's first version"),
        _plain("track", "Part of the venue: main, findings, workshop, industry, demo, journal"),
        _word("status", "Where the work stands"),
        _plain("volume", "Volume of the journal or proceedings"),
        _plain("number", "Issue of the volume"),
        _plain("pages", "First and last page, such as 10323-10337"),
        _plain("submitted", "Date of the first public version"),
        _plain("published", "Date of publication in the venue"),
        _plain("arxiv", "arXiv identifier", "ids.arxiv"),
        _plain("doi", "DOI of the publisher", "ids.doi"),
        _plain("openreview", "OpenReview forum", "ids.openreview"),
        _plain("anthology", "ACL Anthology identifier", "ids.anthology"),
        _plain("pmlr", "PMLR volume and key, such as v202/frantar23a", "ids.pmlr"),
        _plain("ieee", "IEEE Xplore document number", "ids.ieee"),
        _plain("venue-page", "Page of the paper in its venue", "links.venue"),
        _plain("paper-page", "Page of the paper, where it has no identifier", "links.paper"),
        _plain("code", "Repository of the authors", "code.0.url"),
        _plain("license", "Its licence: SPDX, NONE or unclear", "code.0.license"),
        _plain("code-note", "What was found of its licence, or else to know", "code.0.note"),
        _taxonomy("granularity", "Regularity of what is removed", many=True),
        _taxonomy("prunes", "Units that are removed", many=True),
        _taxonomy("criterion", "What scores are made from", many=True),
        _taxonomy("calibration", "What choosing needs of data"),
        _taxonomy("recovery", "Repair, by default"),
        _taxonomy("allocation", "How the budget is spread"),
        _taxonomy("when", "When it is decided what goes"),
        _taxonomy("combines", "What pruning is combined with", many=True),
        _taxonomy("architecture", "Models that the work is about", many=True),
        _taxonomy("topic", "What an analysis is about", many=True),
        Field("model", "Families of models in the paper", ("models",), "models", many=True),
        _data("calibration", "Data on which it is chosen what goes"),
        _data("training", "Data to train masks on, or to recover"),
        _data("evaluation", "Data to measure on"),
        Field("claim", CLAIM, ("claims",), many=True, mapping=True),
        _relation("builds-on", "Papers whose idea or algorithm it takes"),
        _relation("extends", "Papers to whose very method it adds"),
        _relation("compares-with", "Papers that it measures itself against"),
        _plain("fidelity", f"How the method folder follows the paper: {', '.join(FIDELITY)}"),
        _plain("note", "What a reader should know beside the fields", "notes"),
        Field("read", "How deep you read the work", ("sources", "read"), "read"),
        _plain("source", "What you looked at", "sources.from", many=True),
    )
}
"""Every fact by its flag, in the order of an entry."""
