"""Links between a method's file and the rows of its README that explain single lines."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import takewhile

from markupsafe import Markup
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

TABLE = re.compile(r"^(#+ In the code)\n\n((?:\|.*\n?)+)", re.MULTILINE)
CELL = re.compile(r"^\| `([^`]+)` \|", re.MULTILINE)
WORD = re.compile(r"\w+|[^\w\s]")
SILENT = (tokenize.COMMENT, tokenize.NL, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER)


@dataclass(frozen=True)
class Quote:
    """One row of a README's table: the quoted code, and the line of the file where it begins."""

    number: int
    text: str
    line: int | None
    """Counted from 1; None if the file has no such line."""


def quotes(readme: str, code: str) -> list[Quote]:
    """Find the first line that matches each row of the table "In the code".

    A quote lies within one statement. Spaces and line breaks are ignored, and `...` matches any
    code.
    """
    table = TABLE.search(readme)
    cells = CELL.findall(table[2]) if table else []
    statements = list(_statements(code))
    return [Quote(number, text, _line(text, statements)) for number, text in enumerate(cells, 1)]


def linked(readme: str, quotes: Iterable[Quote]) -> str:
    """Link each row of the table to its line, and exclude the table from the search."""
    rows = {quote.text: quote for quote in quotes if quote.line}

    def link(cell: re.Match[str]) -> str:
        quote = rows.get(cell[1])
        if not quote:
            return cell[0]
        return f"| [`{quote.text}`](#line-{quote.line}){{ #row-{quote.number} }} |"

    def table(match: re.Match[str]) -> str:
        return f"{match[1]} {{ data-search-exclude }}\n\n{CELL.sub(link, match[2])}"

    return TABLE.sub(table, readme)


def listing(code: str, quotes: Iterable[Quote]) -> Markup:
    """Highlight a file; each line has an anchor, and quoted lines link back to their rows.

    The imports have an element of their own, so that they can be folded.
    """
    rows = {quote.line: quote for quote in reversed(list(quotes))}
    folded = imports(code)
    # With `nowrap`, the formatter closes every element on the line where it begins.
    lines = highlight(code, PythonLexer(stripnl=False), HtmlFormatter(nowrap=True)).splitlines()
    text = "".join(
        '<span class="atlas-imports">' * (number == folded.start)
        + f'<span id="line-{number}">{_back(line, rows.get(number))}\n</span>'
        + "</span>" * (number == folded.stop - 1)
        for number, line in enumerate(lines, 1)
    )
    return Markup(f'<div class="highlight"><pre><code>{text}</code></pre></div>')


def imports(code: str) -> range:
    """Return the range of lines with imports, up to the first other statement."""
    body = ast.parse(code).body
    if body and _is_docstring(body[0]):
        del body[0]
    nodes = list(takewhile(lambda node: isinstance(node, ast.Import | ast.ImportFrom), body))
    if not nodes:
        return range(0)
    # Empty lines after the imports belong to the range.
    last = nodes[-1].end_lineno or 0
    empty = takewhile(lambda line: not line.strip(), code.splitlines()[last:])
    return range(nodes[0].lineno, last + len(list(empty)) + 1)


def _is_docstring(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _back(line: str, quote: Quote | None) -> str:
    if not quote:
        return line
    code = line.lstrip()
    margin = " " * (len(line) - len(code))
    return f'{margin}<a class="atlas-quoted" href="#row-{quote.number}">{code}</a>'


def _line(quote: str, statements: list[list[tuple[str, int]]]) -> int | None:
    parts = [WORD.findall(part) for part in quote.split("...")]
    for statement in statements:
        if (start := _start(parts, [word for word, _ in statement])) is not None:
            return statement[start][1]
    return None


def _start(parts: list[list[str]], words: list[str]) -> int | None:
    """Return the index of the first part if `words` contains all parts in order, else None."""
    first, at = None, 0
    for part in parts:
        ends = range(at + len(part), len(words) + 1)
        end = next((end for end in ends if words[end - len(part) : end] == part), None)
        if end is None:
            return None
        first = end - len(part) if first is None else first
        at = end
    return first


def _statements(code: str) -> Iterator[list[tuple[str, int]]]:
    """Yield the words and symbols of each statement with their lines, without docstrings."""
    statement: list[tuple[str, int]] = []
    for token in tokenize.generate_tokens(io.StringIO(code).readline):
        if token.type == tokenize.NEWLINE:
            if statement[0][0] not in ("'", '"'):
                yield statement
            statement = []
        elif token.type not in SILENT:
            # Formatters add or remove a comma before a closing bracket.
            if statement and token.string in (")", "]", "}") and statement[-1][0] == ",":
                statement.pop()
            statement += [(word, token.start[0]) for word in WORD.findall(token.string)]
