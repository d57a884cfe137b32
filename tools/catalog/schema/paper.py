"""The schema of an entry: everything `catalog/papers/<slug>.yaml` may hold, field by field.

The order of the fields here is the order in which they are written.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Discriminator, Field, Tag, model_validator

from tools.catalog.schema.field_types import (
    Decimal,
    Flag,
    Line,
    Many,
    Paragraph,
    Share,
    Short,
    Strict,
    Year,
)
from tools.catalog.schema.identifiers import (
    SCHEMES,
    Address,
    Anthology,
    Arxiv,
    Date,
    Day,
    Doi,
    Form,
    Ieee,
    OpenReview,
    Pmlr,
    Slug,
    page,
)
from tools.catalog.schema.vocabulary import Word

Fidelity = Literal["faithful", "reconstruction", "in-the-spirit"]
Licence = Annotated[
    str,
    Form(
        r"NONE|unclear|[A-Za-z0-9][A-Za-z0-9.+-]*( (AND|OR|WITH) [A-Za-z0-9][A-Za-z0-9.+-]*)*",
        "a licence",
        "Apache-2.0 (SPDX), NONE or unclear",
    ),
]
RECORD = ("authors", "year", "status")
"""Fields of every entry but those of baselines that have no paper."""
METRIC = r"[a-z0-9]+(-[a-z0-9]+)*(/[a-z0-9]+(-[a-z0-9]+)*)*"


class Ids(Strict):
    """Identifiers of the paper; the addresses of their pages are derived."""

    arxiv: Arxiv | None = Field(None, description="Without version.", examples=["2301.00774"])
    doi: Doi | None = Field(
        None,
        description="Of the publisher, registered; not arXiv's 10.48550 and not ACM's 10.5555.",
        examples=["10.1609/aaai.v38i10.28960"],
    )
    openreview: OpenReview | None = Field(None, description="Forum id.", examples=["PxoFut3dWW"])
    anthology: Anthology | None = Field(
        None, description="ACL Anthology id.", examples=["2024.findings-acl.178"]
    )
    pmlr: Pmlr | None = Field(None, description="Volume and key.", examples=["v202/frantar23a"])
    ieee: Ieee | None = Field(
        None, description="Document number of IEEE Xplore.", examples=["10889000"]
    )

    def __iter__(self) -> Iterator[tuple[str, str]]:  # type: ignore[override]
        """Yield scheme and identifier of each one given."""
        return ((name, value) for name in SCHEMES if (value := getattr(self, name)))


class Links(Strict):
    """Pages that no identifier leads to."""

    venue: Address | None = Field(
        None,
        description="Page of the paper in its venue.",
        examples=["https://icml.cc/virtual/2023/poster/24014"],
    )
    paper: Address | None = Field(
        None,
        description="Another page of the paper, where nothing better exists.",
        examples=["https://example.org/paper.html"],
    )
    project: Address | None = Field(
        None, description="Project page.", examples=["https://example.org/"]
    )
    weights: Address | None = Field(
        None, description="Released checkpoints.", examples=["https://example.org/model"]
    )


class Code(Strict):
    """One repository of the method."""

    url: Address = Field(
        description="Address.", examples=["https://github.com/IST-DASLab/sparsegpt"]
    )
    official: Flag = Field(description="Whether it is the authors' own.", examples=[True])
    license: Licence | None = Field(
        None,
        description="SPDX expression; NONE where none was found; unclear with a note.",
        examples=["Apache-2.0"],
    )
    commit: Annotated[str, Form(r"[0-9a-f]{7,40}", "a commit", "147d215")] | None = Field(
        None, description="The commit that was read.", examples=["147d215"]
    )
    last_commit: Date | None = Field(
        None, description="Date of the newest commit seen.", examples=["2024-05-26"]
    )
    withdrawn: Flag | None = Field(
        None, description="Whether the code is gone from there.", examples=[True]
    )
    note: Line | None = Field(
        None, description="What else a reader should know.", examples=["Demo of the search only."]
    )


class Taxonomy(Strict):
    """The paper in the catalog's words; see `catalog/vocabulary`.

    What a method must say of itself (`CLASSIFIED`) the checks ask for, since an analysis need not.
    """

    granularity: Many[Annotated[str, Word("granularity")]] = Field(
        (), description="Regularity of what is removed.", examples=[["unstructured"]]
    )
    prunes: Many[Annotated[str, Word("prunes")]] | None = Field(
        None, description="Units that are removed.", examples=[["weights"]]
    )
    criterion: Many[Annotated[str, Word("criterion")]] = Field(
        (), description="What scores are made from.", examples=[["layer-hessian"]]
    )
    calibration: Annotated[str, Word("calibration")] | None = Field(
        None, description="What choosing needs of data.", examples=["forward"]
    )
    recovery: Annotated[str, Word("recovery")] | None = Field(
        None, description="Repair, by default.", examples=["closed-form"]
    )
    allocation: Annotated[str, Word("allocation")] | None = Field(
        None, description="How the budget is spread.", examples=["uniform"]
    )
    when: Annotated[str, Word("when")] | None = Field(
        None, description="When it is decided what goes.", examples=["static"]
    )
    combines: Many[Annotated[str, Word("combines")]] | None = Field(
        None, description="What pruning is combined with.", examples=[["quantization"]]
    )
    architecture: Many[Annotated[str, Word("architecture")]] | None = Field(
        None, description="Models that the work is about.", examples=[["decoder"]]
    )
    topic: Many[Annotated[str, Word("topic")]] | None = Field(
        None, description="What an analysis is about.", examples=[["calibration-data"]]
    )


CLASSIFIED = ("granularity", "criterion", "calibration")
"""Words that every method and baseline has; each may be `unknown`."""
DataSet = Annotated[str, Word("datasets")]


class Datasets(Strict):
    """Data the paper used, by purpose."""

    calibration: Many[DataSet] | None = Field(
        None, description="To choose what goes.", examples=[["c4"]]
    )
    training: Many[DataSet] | None = Field(
        None, description="To train masks or to recover.", examples=[["alpaca"]]
    )
    evaluation: Many[DataSet] | None = Field(
        None, description="To measure.", examples=[["wikitext2", "piqa"]]
    )


class Claim(Strict):
    """One number of the paper that a reader would compare."""

    model: Short = Field(description="Family and size.", examples=["OPT-175B"])
    sparsity: Share | None = Field(
        None, description="Share removed, as the paper counts it.", examples=[0.5]
    )
    pattern: (
        Annotated[str, Form(r"[1-9]\d?:[1-9]\d?", "a pattern", "2:4, which keeps 2 of 4")] | None
    ) = Field(None, description="N:M pattern: keeps N of M.", examples=["2:4"])
    setting: Line | None = Field(
        None, description="What else the number depends on.", examples=["after LoRA"]
    )
    metric: Annotated[str, Form(METRIC, "a metric", "ppl/wikitext2/2048")] = Field(
        description="Quantity, data and protocol: ppl/DATA/LENGTH, acc/TASK, mean/SUITE.",
        examples=["ppl/wikitext2/2048"],
    )
    value: Decimal = Field(description="The paper's number.", examples=[8.21])
    dense: Decimal | None = Field(None, description="The same of the dense model.", examples=[8.35])
    against: dict[Slug, Decimal] | None = Field(
        None,
        description="What the same table gives for other methods of the catalog.",
        examples=[{"magnitude": 193.0}],
    )
    where: Short = Field(description="Where in the paper.", examples=["Table 1"])


class Outside(Strict):
    """A related paper that is not in the catalog."""

    arxiv: Arxiv | None = Field(None, description="arXiv id.", examples=["2301.00774"])
    doi: Doi | None = Field(None, description="DOI.", examples=["10.1109/icnn.1993.298572"])
    title: Line = Field(description="Title.", examples=["Optimal Brain Surgeon"])
    year: Year = Field(description="Year.", examples=[1993])


def _kind_of_relative(value: Any) -> str:
    return "slug" if isinstance(value, str) else "outside"


Relative = Annotated[
    Annotated[Slug, Tag("slug")] | Annotated[Outside, Tag("outside")],
    Discriminator(_kind_of_relative),
]


class Relations(Strict):
    """Papers this one has to do with: slugs, or papers outside the catalog."""

    builds_on: Many[Relative] | None = Field(
        None,
        alias="builds-on",
        description="Takes its idea or algorithm from.",
        examples=[["wanda"]],
    )
    extends: Many[Relative] | None = Field(
        None, description="Adds to the very same method.", examples=[["sparsegpt"]]
    )
    compares_with: Many[Relative] | None = Field(
        None,
        alias="compares-with",
        description="Measures itself against.",
        examples=[["magnitude", "wanda"]],
    )

    def __iter__(self) -> Iterator[tuple[str, str | Outside]]:  # type: ignore[override]
        """Yield the name of the relation and each relative."""
        return ((name, relative) for name, _, relative in self.located())

    def located(self) -> Iterator[tuple[str, int, str | Outside]]:
        """Yield the name of the relation, the place in its list and each relative."""
        for name in ("builds_on", "extends", "compares_with"):
            for index, relative in enumerate(getattr(self, name) or ()):
                yield name.replace("_", "-"), index, relative


class Sources(Strict):
    """Where the facts were checked; holds for every field but those named under `unverified`."""

    checked: Day = Field(description="When.", examples=["2026-11-25"])
    read: Annotated[str, Word("read")] | None = Field(
        None, description="How deep the work was read.", examples=["paper"]
    )
    from_: Many[Line] = Field(
        alias="from", description="What was looked at.", examples=[["arXiv abstract page", "paper"]]
    )
    unverified: (
        Many[Annotated[str, Form(r"[a-z][a-z_-]*(\.[a-z][a-z_-]*)*", "a field", "ids.pmlr")]] | None
    ) = Field(None, description="Fields that could not be checked.", examples=[["ids.pmlr"]])


def _needs_a_record(schema: dict[str, Any]) -> None:
    """Tell editors of what `Paper` requires of all but baselines."""
    schema["required"] = [name for name in schema["required"] if name not in RECORD]
    schema["if"] = {"properties": {"kind": {"const": "baseline"}}}
    schema["else"] = {"required": list(RECORD)}


class Paper(Strict):
    """One paper of the catalog, or a baseline without one; the file name is its slug."""

    model_config = ConfigDict(
        title="Entry of the Pruning Atlas",
        validate_by_name=True,
        validate_by_alias=True,
        json_schema_extra=_needs_a_record,
    )

    title: Line = Field(
        description="Title as published; subtitle after a colon.",
        examples=["SparseGPT: Massive Language Models Can be Accurately Pruned in One-Shot"],
    )
    name: Short | None = Field(
        None, description="What the method is called, if it has a name.", examples=["SparseGPT"]
    )
    other_titles: Many[Line] | None = Field(
        None, description="Titles of other versions.", examples=[["Massive Language Models ..."]]
    )
    authors: Annotated[tuple[Short, ...], Field(min_length=1, max_length=5000)] | None = Field(
        description="All authors, in order, first name first; none of a baseline without a paper.",
        examples=[["Elias Frantar", "Dan Alistarh"]],
    )
    kind: Annotated[str, Word("kind")] = Field(description="Sort of work.", examples=["method"])
    role: Annotated[str, Word("role")] | None = Field(
        None,
        description="Whether it prunes by itself; standalone if left out.",
        examples=["plug-in"],
    )
    summary: Paragraph = Field(
        description="Two to four sentences of our own: what is new, when to use it.",
        examples=["Prunes every linear layer by a sparse least-squares solve. Use it for 2:4."],
    )
    bibkey: (
        Annotated[
            str, Form(r"[A-Za-z][A-Za-z0-9:_.+-]{0,60}", "a BibTeX key", "frantar2023sparsegpt")
        ]
        | None
    ) = Field(
        None,
        description="BibTeX key; made from author, year and slug if left out.",
        examples=["frantar2023sparsegpt"],
    )

    venue: Annotated[str, Word("venues")] | None = Field(
        None, description="Where it was published; left out for a preprint.", examples=["icml"]
    )
    year: Year | None = Field(
        description="Year of the venue; of the first version for a preprint.", examples=[2023]
    )
    track: Literal["main", "findings", "workshop", "industry", "demo", "journal"] | None = Field(
        None, description="Part of the venue.", examples=["main"]
    )
    status: Annotated[str, Word("status")] | None = Field(
        description="Where the work stands.", examples=["published"]
    )
    volume: Short | None = Field(None, description="Volume.", examples=["202"])
    number: Short | None = Field(None, description="Issue of the volume.", examples=["10"])
    pages: Annotated[str, Form(r"[A-Za-z]?\d+(-[A-Za-z]?\d+)?", "pages", "10323-10337")] | None = (
        Field(None, description="First and last page.", examples=["10323-10337"])
    )
    submitted: Date | None = Field(
        None, description="First public version.", examples=["2023-01-02"]
    )
    published: Date | None = Field(
        None, description="Publication in the venue.", examples=["2023-07"]
    )
    added: Day = Field(description="When it came to this catalog.", examples=["2026-11-25"])
    aliases: Many[Slug] | None = Field(
        None, description="Slugs it had before.", examples=[["sgpt"]]
    )

    ids: Ids = Field(Ids(), description="Identifiers.", examples=[{"arxiv": "2301.00774"}])
    links: Links = Field(Links(), description="Other pages.")
    code: Many[Code] | None = Field(None, description="Repositories, official first.")

    taxonomy: Taxonomy | None = Field(
        None, description="In the catalog's words; methods and baselines need one."
    )

    models: Many[Annotated[str, Word("models")]] | None = Field(
        None, description="Families of models in the paper.", examples=[["OPT", "BLOOM"]]
    )
    datasets: Datasets | None = Field(None, description="Data in the paper.")

    claims: Annotated[tuple[Claim, ...], Field(min_length=1, max_length=12)] | None = Field(
        None, description="Two or three numbers that a reader compares."
    )
    relations: Relations = Field(Relations(), description="Related papers.")

    fidelity: Fidelity | None = Field(
        None,
        description="How the method folder follows the paper; only where there is one.",
        examples=["faithful"],
    )

    sources: Sources = Field(description="Where and when the facts were checked.")
    notes: Paragraph | None = Field(
        None,
        description="What a reader should know beside the fields.",
        examples=["The arXiv version has another title."],
    )

    @model_validator(mode="before")
    @classmethod
    def _baselines_need_no_paper(cls, data: Any) -> Any:
        """Let a baseline leave out all of its record; of part of it the rest is missing."""
        if isinstance(data, Mapping) and data.get("kind") == "baseline":
            return data if data.keys() & set(RECORD) else {**dict.fromkeys(RECORD), **data}
        return data

    @property
    def has_paper(self) -> bool:
        """Whether there is a work to read and to cite."""
        return self.authors is not None

    @property
    def is_method(self) -> bool:
        """Whether it is a way of pruning, and no study, survey, system or release of one."""
        return self.kind in ("method", "baseline")

    @property
    def addresses(self) -> list[tuple[str, str]]:
        """Label and address of each page of the paper, the most official first."""
        made = [(SCHEMES[name].label, page(name, value)) for name, value in self.ids]
        if self.links.venue:
            made.insert(0, ("venue", self.links.venue))
        if self.links.paper:
            made.append(("paper", self.links.paper))
        return made
