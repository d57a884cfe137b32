"""Markdown files of the repository on pages of the site: links and nested lists."""

from __future__ import annotations

import pytest

from tools.site.markdown import indent, rebase

HOME = "https://example.org/atlas"


@pytest.mark.parametrize(
    ("text", "page", "expected"),
    [
        ("[a](implementations/wanda/README.md)", "contribute.md", "[a](papers/wanda.md)"),
        ("[a](implementations/wanda/)", "api/index.md", "[a](../papers/wanda.md)"),
        ("[a](catalog/papers/wanda.yaml)", "contribute.md", "[a](papers/wanda.md)"),
        (
            "[a](implementations/harness/run.py)",
            "x.md",
            f"[a]({HOME}/blob/main/implementations/harness/run.py)",
        ),
        ("[a](LICENSE)", "contribute.md", f"[a]({HOME}/blob/main/LICENSE)"),
        ("[a](https://arxiv.org/abs/1)", "contribute.md", "[a](https://arxiv.org/abs/1)"),
        ("[a](#below)", "contribute.md", "[a](#below)"),
        ("`W[i](j)` and ![a](b.png)", "contribute.md", "`W[i](j)` and ![a](b.png)"),
        ("```\n[a](LICENSE)\n```", "contribute.md", "```\n[a](LICENSE)\n```"),
    ],
)
def test_links_are_relative_to_the_page(text: str, page: str, expected: str) -> None:
    assert rebase(text, page, {"wanda"}, HOME) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("see [Wanda](../wanda/README.md)", "see [Wanda](wanda.md)"),
        ("see [how\nWanda prunes](../wanda/README.md)", "see [how\nWanda prunes](wanda.md)"),
        ("an open [\n\na](../wanda/README.md)", "an open [\n\na](../wanda/README.md)"),
        ("the [code](sparsegpt.py) and [how](../../CONTRIBUTING.md)", "the code and how"),
        ("[below](#differences)", "[below](#differences)"),
    ],
)
def test_links_of_a_readme_start_at_its_folder(text: str, expected: str) -> None:
    known, folder = {"wanda", "sparsegpt"}, "implementations/sparsegpt"
    assert rebase(text, "papers/sparsegpt.md", known, folder=folder) == expected


def test_without_an_address_only_the_link_text_stays() -> None:
    assert rebase("[the licence](LICENSE)", "contribute.md", set()) == "the licence"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1. a\n   b", "1. a\n    b"),
        ("1. a\n   - b\n     c", "1. a\n    - b\n      c"),
        ("- a\n  b", "- a\n  b"),
        ("no\n\n   yes", "no\n\n    yes"),
    ],
)
def test_contents_of_numbered_lists_are_indented(text: str, expected: str) -> None:
    assert indent(text) == expected
