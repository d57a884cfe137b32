"""One page per entry of the catalog, with code and measurements if the method is implemented."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice

from markupsafe import Markup

from implementations.harness.errors import BadInput
from implementations.harness.results.boards import Board
from tools.catalog.exports.bibtex import bibtex
from tools.catalog.schema.addresses import best_page
from tools.catalog.schema.paper import Outside, Paper
from tools.catalog.schema.vocabulary import UNKNOWN, Term, vocabulary
from tools.site import lineage, usage
from tools.site.addresses import board_addresses
from tools.site.answers import Answer, Question, Ranking
from tools.site.atlas import Atlas, Method
from tools.site.board_columns import CHIPS
from tools.site.claim_status import check_claim
from tools.site.claim_tables import reporting_paper
from tools.site.lineage import Drawing
from tools.site.markdown import rebase
from tools.site.paper_facts import FACETS, words_of
from tools.site.quotes import imports, linked, listing
from tools.site.readme import plain_markdown
from tools.site.render import Front, fill, render
from tools.site.replication import NOISE, Comparison, Tally, all_comparisons, comparisons

SHARES = ("20", "50", "2:4")
"""The usual percentages and patterns, whose results are at the top of a method's page."""
RELATIONS = {
    "builds-on": "builds on",
    "extends": "extends",
    "compares-with": "compares itself with",
}
DATA = (
    ("calibration", "Calibration data"),
    ("training", "Training data"),
    ("evaluation", "Evaluated on"),
)
INVERSE = {
    "builds-on": "basis of",
    "extends": "extended by",
    "compares-with": "compared in",
}


@dataclass(frozen=True)
class RelatedPaper:
    """A paper with its relation: a page of the site, or a paper outside the catalog."""

    how: str
    slug: str = ""
    outside: Outside | None = None


def pages(atlas: Atlas) -> Iterator[tuple[str, str]]:
    """Yield one page per paper; raise `BadInput` if a README quotes code that does not exist."""
    missing = [
        f"implementations/{slug}/README.md, In the code: {slug}.py has no line `{quote.text}`"
        for slug, method in atlas.methods.items()
        for quote in method.quotes
        if quote.line is None
    ]
    if missing:
        raise BadInput("\n".join(missing))
    related, graph = RelatedPapers(atlas), lineage.graph(atlas)
    pairs = all_comparisons(atlas)
    for slug, paper in atlas.papers.items():
        around, own = lineage.around(graph, slug), comparisons(slug, pairs)
        yield f"papers/{slug}.md", _page(slug, paper, atlas, related, around, own)


def _page(
    slug: str,
    paper: Paper,
    atlas: Atlas,
    related: RelatedPapers,
    around: Drawing | None,
    pairs: list[Comparison],
) -> str:
    method = atlas.methods.get(slug)
    sources = [f"catalog/papers/{slug}.yaml"]
    if method:
        sources += [f"implementations/{slug}/README.md", f"implementations/{slug}/{slug}.py"]
    name = atlas.names[slug]
    front = Front(
        f"papers/{slug}.md",
        name if name in paper.title else f"{name}: {paper.title}",
        paper.summary,
        sources=tuple(sources),
        styles=("css/leaderboard.css",) * bool(method)
        + ("css/paper.css",)
        + ("css/lineage.css",) * bool(around),
        toc=True,
        extra={"head": citation_tags(slug, paper, atlas)},
    )
    records = method.records if method else ()
    shown = headline(method, atlas) if method else {}
    checked = [check_claim(claim, records) for claim in paper.claims or ()]
    text, run = readme(method, atlas) if method else ("", "")
    return render(
        "paper",
        front,
        atlas,
        slug=slug,
        paper=paper,
        method=method,
        name=name,
        readme=text,
        run=run,
        headline=shown,
        other_ranks=other_ranks(slug, shown, atlas),
        chips=CHIPS,
        listing=listing(method.source.code, method.quotes) if method else "",
        folded=len(imports(method.source.code)) if method else 0,
        share=usage.share(method) if method else "",
        trial=usage.trial(method) if method else "",
        reloading=usage.reloading(method, paper) if method else "",
        facets=list(facets(paper)),
        datasets=list(datasets(paper)),
        rankings=[Ranking(board, atlas) for board in atlas.boards_of(slug)],
        checked=checked,
        own_claims=all(reporting_paper(slug, one, atlas) == slug for one in paper.claims or ()),
        attempted=any(one.status for one in checked),
        around=around,
        comparisons=pairs,
        orders=Tally.of(pairs),
        noise=NOISE,
        relatives=related.stated(slug),
        alike=related.similar(slug),
        bibtex=bibtex(slug, paper),
    )


def headline(method: Method, atlas: Atlas) -> dict[str, tuple[Board, str, Answer] | None]:
    """Return for each of `SHARES` a board with a result, its page, and that result.

    It is the first board, or another one under the same conditions with a result closer to the
    defaults: a method may act on all tokens or only after a prompt. A share that was not measured
    has None; patterns that the method does not support are left out. A method that was only
    measured at other shares has these instead.
    """
    rankings = [Ranking(board, atlas) for board in atlas.boards]
    paths = [path for _, path in board_addresses(atlas.boards)]
    shares = [share for share in SHARES if ":" not in share or share in method.patterns]
    measured = {share for one in rankings for slug, share in one.rows if slug == method.slug}
    if measured.isdisjoint(shares):
        others = (Question(share, structured=True) for share in measured)
        shares = [one.share for one in sorted(others, key=lambda one: one.order)] or shares

    def shown(share: str) -> tuple[Board, str, Answer] | None:
        results = [
            (ranking, path, answer)
            for ranking, path in zip(rankings, paths, strict=True)
            if (answer := ranking.answer(method.slug, share))
        ]
        if not results:
            return None
        first = conditions(results[0][0].board)
        equal = [one for one in results if conditions(one[0].board) == first]
        ranking, path, answer = min(equal, key=lambda one: one[0].distance(one[2].row))
        return ranking.board, path, answer

    return {share: shown(share) for share in shares}


def other_ranks(
    slug: str, shown: Mapping[str, tuple[Board, str, Answer] | None], atlas: Atlas
) -> dict[str, list[str]]:
    """List for each share the ranks under other protocols that contradict the rank shown."""
    rankings = [Ranking(board, atlas) for board in atlas.boards]
    result: dict[str, list[str]] = {}
    for share, found in shown.items():
        if not found:
            continue
        board, _, answer = found
        for other in rankings:
            there = other.answer(slug, share)
            alike = conditions(other.board)[1:] == conditions(board)[1:]
            if not alike or not there or there.question != answer.question:
                continue
            one, two = answer.rank, there.rank
            if one and two and (one.last < two.first or two.last < one.first):
                text = f"{two} of {there.competitors} under {other.board.protocol}"
                result.setdefault(share, []).append(text)
    return result


def conditions(board: Board) -> tuple[str, str, str, str, str]:
    """Return the protocol, model, number format, device and fine-tuning of a board."""
    return board.protocol, board.model, board.dtype, board.device, str(board.recovery or "")


def citation_tags(slug: str, paper: Paper, atlas: Atlas) -> str:
    """Return the elements of the head for link previews and reference managers."""
    best = best_page(paper)
    return fill("citation_tags.html", slug=slug, paper=paper, atlas=atlas, best_page=best).strip()


def readme(method: Method, atlas: Atlas) -> tuple[Markup, Markup]:
    """Return a method's README for its page, and its section "Run" separately.

    Relative links are adapted to the page, and the rows of "In the code" link to their lines.
    """
    folder = f"implementations/{method.slug}"
    page = f"papers/{method.slug}.md"
    text = rebase(method.readme, page, atlas.methods, atlas.repository, folder)
    text = plain_markdown(linked(text, method.quotes), f"{folder}/README.md")
    about, _, run = text.partition("\n## Run\n")
    run, heading, more = run.partition("\n## ")
    return Markup(about + heading + more), Markup(run)


def datasets(paper: Paper) -> Iterator[tuple[str, list[str]]]:
    """Yield the data sets that a paper uses, by purpose."""
    terms = vocabulary()["datasets"].terms
    for field, label in DATA:
        words = getattr(paper.datasets, field, None)
        if words:
            yield label, [terms[word].label if word in terms else word for word in words]


def facets(paper: Paper) -> Iterator[tuple[str, list[tuple[str, Term]]]]:
    """Yield the label of each facet of a paper with its words, each with its definition."""
    for field, label in FACETS:
        terms = vocabulary()[field].terms
        if words := words_of(paper, field):
            yield label, [(field, terms.get(word, Term(word, word, ""))) for word in words]


class RelatedPapers:
    """Related papers: by relations that entries state, and by similar words of the vocabulary."""

    def __init__(self, atlas: Atlas) -> None:
        self.papers = atlas.papers
        self.incoming: dict[str, list[RelatedPaper]] = defaultdict(list)
        self.groups: dict[frozenset[tuple[str, str]], list[str]] = defaultdict(list)
        for slug, paper in atlas.papers.items():
            self.groups[_words(paper)].append(slug)
            for how, target in paper.relations:
                if isinstance(target, str):
                    self.incoming[target].append(RelatedPaper(INVERSE[how], slug=slug))

    def stated(self, slug: str) -> list[RelatedPaper]:
        """List the relations that a paper states, then those that other papers state with it."""
        own = [
            RelatedPaper(RELATIONS[how], slug=other)
            if isinstance(other, str)
            else RelatedPaper(RELATIONS[how], outside=other)
            for how, other in self.papers[slug].relations
        ]
        return own + self.incoming[slug]

    def similar(self, slug: str, most: int = 5) -> list[str]:
        """List papers of the same kind that share half of the words or more, most similar first."""
        mine, kind = _words(self.papers[slug]), _kind(self.papers[slug])
        # Papers of one group are equally similar, and there are fewer groups than papers.
        near = [
            (len(mine & words) / len(mine | words), group)
            for words, group in self.groups.items()
            if 2 * len(mine & words) >= len(mine | words) > 0
        ]
        near.sort(key=lambda pair: -pair[0])
        others = (other for _, group in near for other in group if other != slug)
        return list(islice((o for o in others if _kind(self.papers[o]) == kind), most))


def _kind(paper: Paper) -> str:
    """Return the kind of a paper, treating baselines as methods."""
    return "method" if paper.is_method else paper.kind


def _words(paper: Paper) -> frozenset[tuple[str, str]]:
    """Return the words that are compared, without unknown ones and the depth of reading."""
    fields = (field for field, _ in FACETS if field != "read")
    return frozenset(
        (field, word) for field in fields for word in words_of(paper, field) if word != UNKNOWN
    )
