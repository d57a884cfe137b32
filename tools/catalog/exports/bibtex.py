r"""BibTeX entries that work with both BibTeX and biber.

Text is ASCII with LaTeX commands in braces. Letters without a command that decodes to the same
letter, such as Chinese ones, stay as UTF-8. Identifiers and addresses are not escaped, because
styles print them verbatim.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from itertools import chain, count

from pylatexenc.latex2text import LatexNodes2Text
from pylatexenc.latexencode import UnicodeToLatexEncoder

from tools.catalog.schema.addresses import best_page
from tools.catalog.schema.paper import Paper
from tools.catalog.schema.vocabulary import Term, vocabulary

COMMANDS = {"{": r"\textbraceleft", "}": r"\textbraceright", "^": r"\textasciicircum"}
"""Characters whose command from the encoder breaks an entry or decodes to another character."""
SUFFIXES = frozenset({"Jr", "Jr.", "Sr", "Sr.", "II", "III", "IV"})
PLAIN = str.maketrans({"ø": "o", "ł": "l", "ß": "ss", "đ": "d", "æ": "ae", "œ": "oe", "ı": "i"})
TRACKS = {"industry": ": Industry Track", "demo": ": System Demonstrations"}


def bibliography(papers: Mapping[str, Paper]) -> str:
    """Return the entries of all papers, sorted by slug, with unique keys."""
    return "\n".join(bibtex(slug, papers[slug], key) for slug, key in keys(papers).items())


def bibtex(slug: str, paper: Paper, key: str | None = None) -> str:
    """Return the entry of one paper, or an empty text for a baseline without a paper."""
    if not paper.authors:
        return ""
    kind, place = _place(paper)
    fields = {
        "author": " and ".join(map(name, paper.authors)),
        "title": protect(_cited(paper), _names(paper)),
        **{field: encode(text) for field, text in place.items()},
        "year": str(paper.year),
        "pages": (paper.pages or "").replace("-", "--") if paper.venue else "",
        "note": "To appear" if paper.status == "accepted" else "",
        "doi": paper.ids.doi or "",
        "eprint": paper.ids.arxiv or "",
        "archiveprefix": "arXiv" if paper.ids.arxiv else "",
        "url": best_page(paper),
    }
    lines = "".join(f"  {field} = {{{text}}},\n" for field, text in fields.items() if text)
    return f"@{kind}{{{key or next(_candidates(slug, paper))},\n{lines}}}\n"


def keys(papers: Mapping[str, Paper]) -> dict[str, str]:
    """Return a key for each slug, unique without regard to case."""
    keys_by_slug: dict[str, str] = {}
    used: set[str] = set()
    for slug in sorted(slug for slug, paper in papers.items() if paper.has_paper):
        key = next(key for key in _candidates(slug, papers[slug]) if key.lower() not in used)
        keys_by_slug[slug] = key
        used.add(key.lower())
    return keys_by_slug


def _candidates(slug: str, paper: Paper) -> Iterator[str]:
    """Yield keys for a paper in order of preference."""
    first = paper.authors[0] if paper.authors else ""
    start = _letters(split(first)[1]) + str(paper.year)
    default = slug if slug.startswith(start) else start + slug
    own = (paper.bibkey,) if paper.bibkey else ()
    return chain(own, (default,), (f"{default}.{n}" for n in count(2)))


def _letters(text: str) -> str:
    plain = unicodedata.normalize("NFKD", text.lower().translate(PLAIN))
    return re.sub(r"[^a-z]", "", plain)


def _cited(paper: Paper) -> str:
    """Return the title to cite; the title of a baseline is not that of its paper."""
    if paper.kind == "baseline" and paper.other_titles:
        return paper.other_titles[0]
    return paper.title


def _place(paper: Paper) -> tuple[str, dict[str, str]]:
    """Return the entry type and the fields of venue, volume and issue.

    Proceedings with an issue number are cited as a journal, because BibTeX warns about an
    `inproceedings` entry with volume and number.
    """
    if not paper.venue:
        return "misc", {}
    venue = vocabulary()["venues"].terms[paper.venue]
    name = venue.definition if venue.journal else _proceedings(paper, venue)
    part = {"volume": paper.volume or "", "number": paper.number or ""}
    if venue.journal or paper.number:
        return "article", {"journal": name, **part}
    return "inproceedings", {"booktitle": name, **part}


def _proceedings(paper: Paper, venue: Term) -> str:
    if venue.definition.startswith("Findings of"):
        return f"{venue.definition} {paper.year}"
    if paper.track == "workshop":
        return f"Workshop at the {venue.definition}"
    return f"Proceedings of the {venue.definition}{TRACKS.get(paper.track or '', '')}"


def split(author: str) -> tuple[str, str, str]:
    """Split a name into first names, family name and suffix.

    As in BibTeX, the family name begins at the first lower-case particle (van, de la), or is the
    last word if there is no particle.
    """
    words = author.split()
    suffix = words.pop() if len(words) > 2 and words[-1] in SUFFIXES else ""
    last = len(words) - 1
    start = next((i for i in range(1, last) if words[i][0].islower()), last)
    return " ".join(words[:start]), " ".join(words[start:]), suffix


def name(author: str) -> str:
    """Return a name as `von Last, Jr, First`, or in braces if BibTeX would split it wrongly."""
    first, last, suffix = split(author)
    if not first or "," in author or {"and", "others"} & set(author.lower().split()):
        return f"{{{encode(author)}}}"
    # biber reads a lower-case family name as a particle.
    family = f"{{{encode(last)}}}" if last.split()[-1][0].islower() else encode(last)
    return ", ".join(part for part in (family, encode(suffix), encode(first)) if part)


def protect(title: str, names: Iterable[str] = ()) -> str:
    """Encode a title and put the parts in braces that a style must not convert to lower case.

    These are the `names`, words with an inner capital (SparseGPT, 2SSP), single capitals (N:M), and
    capitals followed by digits (C4).
    """
    longest = sorted(names, key=len, reverse=True)
    either = [rf"(?<!\w){re.escape(one)}(?!\w)" for one in longest] + [r"\w+"]
    parts = re.split(f"({'|'.join(either)})", title)
    return "".join(
        f"{{{encode(part)}}}" if part in longest or _fixed(part) else encode(part) for part in parts
    )


def _fixed(word: str) -> bool:
    alone = len(word) == 1 and word.isupper() and word != "A"
    return alone or any(c.isupper() for c in word[1:]) or bool(re.match(r"[A-Z]\w*\d", word))


def _names(paper: Paper) -> list[str]:
    """Return the names of the method and of the models, if they contain capitals."""
    return [one for one in (paper.name, *(paper.models or ())) if one and not one.islower()]


def encode(text: str) -> str:
    """Encode a text in LaTeX; `{}` separates characters that would form a ligature (--, '')."""
    return re.sub(r"([-',])(?=\1)", r"\1{}", "".join(map(_command, text)))


@cache
def _command(letter: str) -> str:
    if letter in COMMANDS:
        return f"{{{COMMANDS[letter]}}}"
    encoder = UnicodeToLatexEncoder(
        unknown_char_policy="keep",
        unknown_char_warning=False,
        replacement_latex_protection="braces-all",
    )
    made: str = encoder.unicode_to_latex(letter)
    # An accent on a dotless i becomes two characters in biber, so a plain i is used.
    written = (re.sub(r"\\([ij])\b", r"\1", made), made)
    read = LatexNodes2Text().latex_to_text
    return next((latex for latex in written if read(latex) == letter), letter)
