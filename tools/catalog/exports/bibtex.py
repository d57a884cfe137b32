r"""BibTeX entries that both BibTeX and biber take as they are.

Text is written in ASCII with LaTeX commands, each in braces of its own. A letter without a command
that reads back as the same letter, such as a Chinese one, stays as it is: both programs pass UTF-8
on. Identifiers and addresses are not escaped, for styles print them verbatim.
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
"""Where the encoder's command would unbalance an entry, or is read back as another character."""
SUFFIXES = frozenset({"Jr", "Jr.", "Sr", "Sr.", "II", "III", "IV"})
PLAIN = str.maketrans({"ø": "o", "ł": "l", "ß": "ss", "đ": "d", "æ": "ae", "œ": "oe", "ı": "i"})
TRACKS = {"industry": ": Industry Track", "demo": ": System Demonstrations"}


def bibliography(papers: Mapping[str, Paper]) -> str:
    """Return the entries of all papers in the order of their slugs; no two have the same key."""
    return "\n".join(bibtex(slug, papers[slug], key) for slug, key in keys(papers).items())


def bibtex(slug: str, paper: Paper, key: str | None = None) -> str:
    """Return the entry of one paper, under the key it asks for if none is given.

    It is empty for a baseline without a paper: there is nothing to cite.
    """
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
    return f"@{kind}{{{key or next(_wishes(slug, paper))},\n{lines}}}\n"


def keys(papers: Mapping[str, Paper]) -> dict[str, str]:
    """Give each slug of a paper a key; BibTeX tells them apart without regard to case."""
    made: dict[str, str] = {}
    taken: set[str] = set()
    for slug in sorted(slug for slug, paper in papers.items() if paper.has_paper):
        made[slug] = next(key for key in _wishes(slug, papers[slug]) if key.lower() not in taken)
        taken.add(made[slug].lower())
    return made


def _wishes(slug: str, paper: Paper) -> Iterator[str]:
    """Yield the key a paper would have, then what it takes where others have that."""
    first = paper.authors[0] if paper.authors else ""
    start = _letters(split(first)[1]) + str(paper.year)
    made = slug if slug.startswith(start) else start + slug
    own = (paper.bibkey,) if paper.bibkey else ()
    return chain(own, (made,), (f"{made}.{n}" for n in count(2)))


def _letters(text: str) -> str:
    plain = unicodedata.normalize("NFKD", text.lower().translate(PLAIN))
    return re.sub(r"[^a-z]", "", plain)


def _cited(paper: Paper) -> str:
    """Return the title to cite; a baseline is known by a name that no paper has."""
    if paper.kind == "baseline" and paper.other_titles:
        return paper.other_titles[0]
    return paper.title


def _place(paper: Paper) -> tuple[str, dict[str, str]]:
    """Return the type of an entry and the fields that name its venue, volume and issue.

    Proceedings in numbered issues are cited as the journal that they are; BibTeX warns of a
    conference paper with volume and number.
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

    As BibTeX has it, the family name begins at the first particle in lower case (van, de la), or
    is the last word where there is none.
    """
    words = author.split()
    suffix = words.pop() if len(words) > 2 and words[-1] in SUFFIXES else ""
    last = len(words) - 1
    start = next((i for i in range(1, last) if words[i][0].islower()), last)
    return " ".join(words[:start]), " ".join(words[start:]), suffix


def name(author: str) -> str:
    """Write a name as `von Last, Jr, First`; in braces where it would be taken apart wrongly."""
    first, last, suffix = split(author)
    if not first or "," in author or {"and", "others"} & set(author.lower().split()):
        return f"{{{encode(author)}}}"
    # biber takes a family name that ends in lower case for a particle without a name.
    family = f"{{{encode(last)}}}" if last.split()[-1][0].islower() else encode(last)
    return ", ".join(part for part in (family, encode(suffix), encode(first)) if part)


def protect(title: str, names: Iterable[str] = ()) -> str:
    """Encode a title and brace what a style must not lower: the `names`, and some words.

    These are words with a capital that is not their first character, as in SparseGPT or 2SSP, and
    capitals that stand alone or beside digits, as in N:M and C4.
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
    """What a paper calls its method and the models in it, as far as they have capitals."""
    return [one for one in (paper.name, *(paper.models or ())) if one and not one.islower()]


def encode(text: str) -> str:
    """Write a text in LaTeX; signs that would join to another one (--, '') are kept apart."""
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
    # Accents go over a plain i: on a dotless one biber reads two characters.
    written = (re.sub(r"\\([ij])\b", r"\1", made), made)
    read = LatexNodes2Text().latex_to_text
    return next((latex for latex in written if read(latex) == letter), letter)
