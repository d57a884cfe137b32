"""Lines of a method's file that its README explains: found, and linked with their rows."""

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
    """One row of a README's table: what it quotes, and the line of the file where that begins."""

    number: int
    text: str
    line: int | None
    """Counted from 1; None where the file has no such line."""


def quotes(readme: str, code: str) -> list[Quote]:
    """Find the line that each row of the table "In the code" quotes, the first of several.

    A quote lies within one statement. Spaces and line ends do not count, and `...` stands for
    anything.
    """
    table = TABLE.search(readme)
    said = CELL.findall(table[2]) if table else []
    statements = list(_statements(code))
    return [Quote(number, text, _line(text, statements)) for number, text in enumerate(said, 1)]


def linked(readme: str, found: Iterable[Quote]) -> str:
    """Make each row of the table lead to its line, and leave the table out of the search."""
    rows = {quote.text: quote for quote in found if quote.line}

    def link(cell: re.Match[str]) -> str:
        quote = rows.get(cell[1])
        if not quote:
            return cell[0]
        return f"| [`{quote.text}`](#line-{quote.line}){{ #row-{quote.number} }} |"

    def table(found: re.Match[str]) -> str:
        return f"{found[1]} {{ data-search-exclude }}\n\n{CELL.sub(link, found[2])}"

    return TABLE.sub(table, readme)


def listing(code: str, found: Iterable[Quote]) -> Markup:
    """Set a file in colours, each line with an anchor; a quoted one leads back to its row.

    Its imports stand in an element of their own, so that they can be folded.
    """
    rows = {quote.line: quote for quote in reversed(list(found))}
    folded = imports(code)
    # Without its own frame the formatter ends every element on the line where it begins.
    lines = highlight(code, PythonLexer(stripnl=False), HtmlFormatter(nowrap=True)).splitlines()
    text = "".join(
        '<span class="atlas-imports">' * (number == folded.start)
        + f'<span id="line-{number}">{_back(line, rows.get(number))}\n</span>'
        + "</span>" * (number == folded.stop - 1)
        for number, line in enumerate(lines, 1)
    )
    return Markup(f'<div class="highlight"><pre><code>{text}</code></pre></div>')


def imports(code: str) -> range:
    """Return the lines of a file that import, up to its first statement that does not."""
    body = ast.parse(code).body
    if body and _is_docstring(body[0]):
        del body[0]
    found = list(takewhile(lambda node: isinstance(node, ast.Import | ast.ImportFrom), body))
    if not found:
        return range(0)
    # The empty lines behind them go with them.
    last = found[-1].end_lineno or 0
    empty = takewhile(lambda line: not line.strip(), code.splitlines()[last:])
    return range(found[0].lineno, last + len(list(empty)) + 1)


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
    """Return where words begin that hold all parts in their order, each as soon as it can be."""
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
    """Yield the words and signs of each statement, each with its line, without docstrings."""
    statement: list[tuple[str, int]] = []
    for token in tokenize.generate_tokens(io.StringIO(code).readline):
        if token.type == tokenize.NEWLINE:
            if statement[0][0] not in ("'", '"'):
                yield statement
            statement = []
        elif token.type not in SILENT:
            # A comma before a bracket is there or not as the line breaks.
            if statement and token.string in (")", "]", "}") and statement[-1][0] == ",":
                statement.pop()
            statement += [(word, token.start[0]) for word in WORD.findall(token.string)]
