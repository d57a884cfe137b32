"""Links between a method's file and the rows of its README that explain single lines."""

from __future__ import annotations

import ast
import re
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


def _line(quote: str, statements: list[tuple[int, str]]) -> int | None:
    # Formatters add or remove a comma before a closing bracket.
    parts = [
        re.compile(r"\s*,?\s*".join(map(_whole, WORD.findall(part)))) for part in quote.split("...")
    ]
    for number, statement in statements:
        first = found = parts[0].search(statement)
        for part in parts[1:]:
            found = found and part.search(statement, found.end())
        if first and found:
            return number + statement.count("\n", 0, first.start())
    return None


def _whole(word: str) -> str:
    """Return the pattern of a symbol, or of a word that is not part of a longer one."""
    return rf"\b{word}\b" if word[0].isalnum() or word[0] == "_" else re.escape(word)


def _statements(code: str) -> Iterator[tuple[int, str]]:
    """Yield first line and text of each statement, of compound ones up to the body."""
    lines = code.splitlines()
    nodes = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.stmt)]
    for node in sorted(nodes, key=lambda node: node.lineno):
        if not _is_docstring(node):
            body = getattr(node, "body", None)
            end = max(node.lineno, body[0].lineno - 1) if body else node.end_lineno
            yield node.lineno, "\n".join(lines[node.lineno - 1 : end])
