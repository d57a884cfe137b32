"""The schema of an entry, `catalog/papers/<slug>.yaml`.

The order of the fields here is their order in the file.
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
    StrictModel,
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
PAPER_FIELDS = ("authors", "year", "status")
"""Required fields of every entry except baselines without a paper."""
METRIC = r"[a-z0-9]+(-[a-z0-9]+)*(/[a-z0-9]+(-[a-z0-9]+)*)*"


class Ids(StrictModel):
    """Identifiers of the paper, from which its pages are derived."""

    arxiv: Arxiv | None = Field(None, description="Without version.", examples=["2301.00774"])
    doi: Doi | None = Field(
        None,
        description="DOI of the publisher; not arXiv's 10.48550 and not ACM's 10.5555.",
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
        """Yield the scheme and value of each identifier."""
        return ((name, value) for name in SCHEMES if (value := getattr(self, name)))


class Links(StrictModel):
    """Pages that cannot be derived from an identifier."""

    venue: Address | None = Field(
        None,
        description="Page of the paper at its venue.",
        examples=["https://icml.cc/virtual/2023/poster/24014"],
    )
    paper: Address | None = Field(
        None,
        description="Page of a paper without identifier.",
        examples=["https://example.org/paper.html"],
    )
    project: Address | None = Field(
        None, description="Project page.", examples=["https://example.org/"]
    )
    weights: Address | None = Field(
        None, description="Released checkpoints.", examples=["https://example.org/model"]
    )


class Code(StrictModel):
    """One repository of the method."""

    url: Address = Field(
        description="Address.", examples=["https://github.com/IST-DASLab/sparsegpt"]
    )
    official: Flag = Field(description="Whether it belongs to the authors.", examples=[True])
    license: Licence | None = Field(
        None,
        description="SPDX expression, NONE if there is no licence, or unclear with a note.",
        examples=["Apache-2.0"],
    )
    commit: Annotated[str, Form(r"[0-9a-f]{7,40}", "a commit", "147d215")] | None = Field(
        None, description="Commit that was read.", examples=["147d215"]
    )
    last_commit: Date | None = Field(
        None, description="Date of the newest commit.", examples=["2024-05-26"]
    )
    withdrawn: Flag | None = Field(
        None, description="Whether the code was removed.", examples=[True]
    )
    no_code: Flag | None = Field(
        None,
        description="Whether it has no code of the method, for example only a README.",
        examples=[True],
    )
    note: Line | None = Field(
        None, description="Remark for readers.", examples=["Demo of the search only."]
    )


class Taxonomy(StrictModel):
    """The classification of the paper in terms of `catalog/vocabulary`.

    The checks require the fields in `CLASSIFIED` for methods and baselines only.
    """

    granularity: Many[Annotated[str, Word("granularity")]] = Field(
        (), description="Pattern of the removed weights.", examples=[["unstructured"]]
    )
    prunes: Many[Annotated[str, Word("prunes")]] | None = Field(
        None, description="Units that are removed.", examples=[["weights"]]
    )
    criterion: Many[Annotated[str, Word("criterion")]] = Field(
        (), description="Basis of the importance scores.", examples=[["layer-hessian"]]
    )
    calibration: Annotated[str, Word("calibration")] | None = Field(
        None, description="Data needed to choose what to remove.", examples=["forward"]
    )
    recovery: Annotated[str, Word("recovery")] | None = Field(
        None, description="Default recovery after pruning.", examples=["closed-form"]
    )
    allocation: Annotated[str, Word("allocation")] | None = Field(
        None, description="Allocation of the sparsity across the model.", examples=["uniform"]
    )
    when: Many[Annotated[str, Word("when")]] | None = Field(
        None, description="Times at which the removed weights are chosen.", examples=[["static"]]
    )
    combines: Many[Annotated[str, Word("combines")]] | None = Field(
        None, description="Techniques that pruning is combined with.", examples=[["quantization"]]
    )
    architecture: Many[Annotated[str, Word("architecture")]] | None = Field(
        None, description="Model architectures of the work.", examples=[["decoder"]]
    )
    topic: Many[Annotated[str, Word("topic")]] | None = Field(
        None, description="Topic of an analysis.", examples=[["calibration-data"]]
    )


CLASSIFIED = ("granularity", "criterion", "calibration")
"""Required fields of methods and baselines; each may be `unknown`."""
DataSet = Annotated[str, Word("datasets")]


class Datasets(StrictModel):
    """Data sets in the paper, by purpose."""

    calibration: Many[DataSet] | None = Field(
        None, description="Calibration data.", examples=[["c4"]]
    )
    training: Many[DataSet] | None = Field(
        None, description="Data to train masks or to recover.", examples=[["alpaca"]]
    )
    evaluation: Many[DataSet] | None = Field(
        None, description="Evaluation data.", examples=[["wikitext2", "piqa"]]
    )


Pattern = Annotated[str, Form(r"[1-9]\d?:[1-9]\d?", "a pattern", "2:4, which keeps 2 of 4")]


class Setting(StrictModel):
    """What was removed for a value in `against`, and how, if that differs from the claim."""

    sparsity: Share | None = Field(
        None, description="Share of removed weights, as the paper counts it.", examples=[0.48]
    )
    pattern: Pattern | None = Field(None, description="N:M pattern.", examples=["2:4"])
    setting: Line | None = Field(None, description="Other conditions.", examples=["after LoRA"])


class Claim(StrictModel):
    """One number of the paper that a reader would compare with others."""

    model: Short = Field(description="Family and size.", examples=["OPT-175B"])
    sparsity: Share | None = Field(
        None, description="Share of removed weights, as the paper counts it.", examples=[0.5]
    )
    pattern: Pattern | None = Field(
        None, description="N:M pattern: keeps N of M.", examples=["2:4"]
    )
    setting: Line | None = Field(
        None,
        description="Conditions other than the defaults; `after ...` holds for the whole table.",
        examples=["after LoRA"],
    )
    metric: Annotated[str, Form(METRIC, "a metric", "ppl/wikitext2/2048")] = Field(
        description="Metric with data and protocol: ppl/DATA/LENGTH, acc/TASK, mean/SUITE.",
        examples=["ppl/wikitext2/2048"],
    )
    value: Decimal = Field(description="Value in the paper.", examples=[8.21])
    dense: Decimal | None = Field(None, description="Value of the dense model.", examples=[8.35])
    against: dict[Slug, Decimal] | None = Field(
        None,
        description="Values of other methods of the catalog in the same table.",
        examples=[{"magnitude": 193.0}],
    )
    against_at: dict[Slug, Setting] | None = Field(
        None,
        description="Settings of the methods in `against` that differ from that of the claim.",
        examples=[{"magnitude": {"sparsity": 0.48}}],
    )
    where: Short = Field(description="Place in the paper.", examples=["Table 1"])

    def beside(self) -> Iterator[tuple[str, Claim]]:
        """Yield each other method with its value and setting; `setting` is only its own."""
        for slug, value in (self.against or {}).items():
            at = (self.against_at or {}).get(slug, Setting())
            removed = at if at.sparsity is not None or at.pattern else self
            theirs = {name: getattr(removed, name) for name in ("sparsity", "pattern")}
            theirs |= {"setting": at.setting, "value": value, "against": None, "against_at": None}
            yield slug, self.model_copy(update=theirs)


class Outside(StrictModel):
    """A related paper that is not in the catalog."""

    arxiv: Arxiv | None = Field(None, description="arXiv id.", examples=["2301.00774"])
    doi: Doi | None = Field(None, description="DOI.", examples=["10.1109/icnn.1993.298572"])
    title: Line = Field(description="Title.", examples=["Optimal Brain Surgeon"])
    year: Year = Field(description="Year.", examples=[1993])


def _relative_type(value: Any) -> str:
    return "slug" if isinstance(value, str) else "outside"


Relative = Annotated[
    Annotated[Slug, Tag("slug")] | Annotated[Outside, Tag("outside")],
    Discriminator(_relative_type),
]


class Relations(StrictModel):
    """Related papers, as slugs or as papers outside the catalog."""

    builds_on: Many[Relative] | None = Field(
        None,
        alias="builds-on",
        description="Papers whose idea or algorithm it uses.",
        examples=[["wanda"]],
    )
    extends: Many[Relative] | None = Field(
        None, description="Papers whose method it extends.", examples=[["sparsegpt"]]
    )
    compares_with: Many[Relative] | None = Field(
        None,
        alias="compares-with",
        description="Papers that it compares itself with.",
        examples=[["magnitude", "wanda"]],
    )

    def __iter__(self) -> Iterator[tuple[str, str | Outside]]:  # type: ignore[override]
        """Yield the relation and the related paper of each item."""
        return ((name, relative) for name, _, relative in self.located())

    def located(self) -> Iterator[tuple[str, int, str | Outside]]:
        """Yield the relation, the index in its list and the related paper of each item."""
        for name in ("builds_on", "extends", "compares_with"):
            for index, relative in enumerate(getattr(self, name) or ()):
                yield name.replace("_", "-"), index, relative


class Sources(StrictModel):
    """The sources of all fields except those listed under `unverified`."""

    checked: Day = Field(description="Date of the check.", examples=["2026-11-25"])
    read: Annotated[str, Word("read")] | None = Field(
        None, description="How closely the work was read.", examples=["paper"]
    )
    from_: Many[Line] = Field(
        alias="from",
        description="Sources of the facts.",
        examples=[["arXiv abstract page", "paper"]],
    )
    unverified: (
        Many[Annotated[str, Form(r"[a-z][a-z_-]*(\.[a-z][a-z_-]*)*", "a field", "ids.pmlr")]] | None
    ) = Field(None, description="Fields that could not be checked.", examples=[["ids.pmlr"]])


def _require_paper_fields(schema: dict[str, Any]) -> None:
    """Require `PAPER_FIELDS` in the JSON Schema, except for baselines."""
    schema["required"] = [name for name in schema["required"] if name not in PAPER_FIELDS]
    schema["if"] = {"properties": {"kind": {"const": "baseline"}}}
    schema["else"] = {"required": list(PAPER_FIELDS)}


class Paper(StrictModel):
    """One paper of the catalog, or a baseline without a paper; the file name is its slug."""

    model_config = ConfigDict(
        title="Entry of the Pruning Atlas",
        validate_by_name=True,
        validate_by_alias=True,
        json_schema_extra=_require_paper_fields,
    )

    title: Line = Field(
        description="Title as published, with the subtitle after a colon.",
        examples=["SparseGPT: Massive Language Models Can be Accurately Pruned in One-Shot"],
    )
    name: Short | None = Field(None, description="Name of the method.", examples=["SparseGPT"])
    other_titles: Many[Line] | None = Field(
        None, description="Titles of other versions.", examples=[["Massive Language Models ..."]]
    )
    authors: Annotated[tuple[Short, ...], Field(min_length=1, max_length=5000)] | None = Field(
        description="All authors in order, first name first; absent for baselines without a paper.",
        examples=[["Elias Frantar", "Dan Alistarh"]],
    )
    kind: Annotated[str, Word("kind")] = Field(description="Kind of work.", examples=["method"])
    role: Annotated[str, Word("role")] | None = Field(
        None,
        description="Whether the method prunes on its own (default) or extends another one.",
        examples=["plug-in"],
    )
    tagline: Short | None = Field(
        None,
        description="What it does, in one short sentence for lists.",
        examples=["Prunes column by column and updates the remaining weights to compensate."],
    )
    summary: Paragraph = Field(
        description="Two to four sentences in our own words: what is new, when to use it.",
        examples=["Prunes every linear layer by a sparse least-squares solve. Use it for 2:4."],
    )
    bibkey: (
        Annotated[
            str, Form(r"[A-Za-z][A-Za-z0-9:_.+-]{0,60}", "a BibTeX key", "frantar2023sparsegpt")
        ]
        | None
    ) = Field(
        None,
        description="BibTeX key (default: author, year and slug).",
        examples=["frantar2023sparsegpt"],
    )

    venue: Annotated[str, Word("venues")] | None = Field(
        None, description="Venue of publication; absent for preprints.", examples=["icml"]
    )
    year: Year | None = Field(
        description="Year of the venue, or of the first version of a preprint.", examples=[2023]
    )
    track: Literal["main", "findings", "workshop", "industry", "demo", "journal"] | None = Field(
        None, description="Track of the venue.", examples=["main"]
    )
    status: Annotated[str, Word("status")] | None = Field(
        description="Publication status.", examples=["published"]
    )
    volume: Short | None = Field(None, description="Volume.", examples=["202"])
    number: Short | None = Field(None, description="Issue of the volume.", examples=["10"])
    pages: Annotated[str, Form(r"[A-Za-z]?\d+(-[A-Za-z]?\d+)?", "pages", "10323-10337")] | None = (
        Field(None, description="First and last page.", examples=["10323-10337"])
    )
    submitted: Date | None = Field(
        None, description="Date of the first public version.", examples=["2023-01-02"]
    )
    published: Date | None = Field(
        None, description="Date of publication at the venue.", examples=["2023-07"]
    )
    added: Day = Field(description="Date of addition to the catalog.", examples=["2026-11-25"])
    aliases: Many[Slug] | None = Field(None, description="Former slugs.", examples=[["sgpt"]])

    ids: Ids = Field(Ids(), description="Identifiers.", examples=[{"arxiv": "2301.00774"}])
    links: Links = Field(Links(), description="Other pages.")
    code: Many[Code] | None = Field(None, description="Repositories, official first.")

    taxonomy: Taxonomy | None = Field(
        None, description="Classification; required for methods and baselines."
    )

    models: Many[Annotated[str, Word("models")]] | None = Field(
        None, description="Model families in the paper.", examples=[["OPT", "BLOOM"]]
    )
    datasets: Datasets | None = Field(None, description="Data sets in the paper.")

    claims: Annotated[tuple[Claim, ...], Field(min_length=1, max_length=12)] | None = Field(
        None, description="Two or three numbers that a reader would compare."
    )
    relations: Relations = Field(Relations(), description="Related papers.")

    fidelity: Fidelity | None = Field(
        None,
        description="How the method folder follows the paper; only with a method folder.",
        examples=["faithful"],
    )

    sources: Sources = Field(description="Sources of the facts and date of the check.")
    notes: Paragraph | None = Field(
        None,
        description="Further remarks for readers.",
        examples=["The arXiv version has another title."],
    )

    @model_validator(mode="before")
    @classmethod
    def _baselines_need_no_paper(cls, data: Any) -> Any:
        """Let a baseline omit all of `PAPER_FIELDS`, but not only some of them."""
        if isinstance(data, Mapping) and data.get("kind") == "baseline":
            given = data.keys() & set(PAPER_FIELDS)
            return data if given else {**dict.fromkeys(PAPER_FIELDS), **data}
        return data

    @property
    def has_paper(self) -> bool:
        """Whether there is a paper, which a baseline may lack."""
        return self.authors is not None

    @property
    def is_method(self) -> bool:
        """Whether it is a pruning method, and not a study, survey, system or model release."""
        return self.kind in ("method", "baseline")

    @property
    def addresses(self) -> list[tuple[str, str]]:
        """Label and address of each page of the paper, starting with the venue."""
        made = [(SCHEMES[name].label, page(name, value)) for name, value in self.ids]
        if self.links.venue:
            made.insert(0, ("venue", self.links.venue))
        if self.links.paper:
            made.append(("paper", self.links.paper))
        return made
