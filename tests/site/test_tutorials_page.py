"""The pages of the tutorials: text, code, outputs and images of the notebooks."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tools.site import notebook
from tools.site.atlas import Atlas
from tools.site.pages import fronts, tutorials


def cell(source: str, *outputs: dict[str, Any], kind: str = "code", **metadata: str) -> Any:
    return {"cell_type": kind, "source": source, "outputs": outputs, "metadata": metadata}


def test_cells_and_outputs_become_markdown() -> None:
    content = {
        "cells": [
            cell("# Title", kind="markdown"),
            cell("%%writefile a.yaml\nname: a", {"output_type": "stream", "text": "Writing"}),
            cell("!atlas check ./a.py", {"output_type": "stream", "text": ["one\n", "two\n"]}),
            cell("1 + 1", {"data": {"text/plain": "2"}}),
            cell("table()", {"data": {"text/plain": "<T>", "text/markdown": "| a |"}}),
            cell("plot()", {"data": {"image/svg+xml": "<svg>", "text/plain": "<F>"}}, alt="A plot"),
        ]
    }
    parts = [
        "# Title",
        '```yaml title="a.yaml"\nname: a\n```',
        "```bash\natlas check ./a.py\n```",
        "```{ .text .atlas-output }\none\ntwo\n```",
        "```python\n1 + 1\n```",
        "```{ .text .atlas-output }\n2\n```",
        "```python\ntable()\n```",
        "| a |",
        "```python\nplot()\n```",
        "![A plot](b-1.svg){ .atlas-plot }",
    ]
    assert notebook.to_markdown(content, "b") == "\n\n".join(parts) + "\n"
    assert notebook.images(content, "b") == {"b-1.svg": "<svg>"}


def test_each_tutorial_has_a_page_its_notebook_and_its_images(real: Atlas) -> None:
    made = dict(tutorials.pages(real))
    for front in tutorials.FRONTS:
        page = made[front.path]
        source = (real.root / front.sources[0]).read_text(encoding="utf-8")
        assert f"\n# {front.title}\n" in page
        assert front in fronts()
        download = Path(front.sources[0]).name
        assert f'<a href="{download}" download>' in page
        assert made[f"tutorials/{download}"] == source
        for code in json.loads(source)["cells"]:
            last = "".join(code["source"]).splitlines()[-1]
            assert last.removeprefix("!") in page
    images = [path for path in made if path.endswith(".svg")]
    assert len(images) >= len(tutorials.FRONTS)
    for path in images:
        assert any(f"]({Path(path).name})" in page for page in made.values())


@pytest.mark.browser
@pytest.mark.parametrize("path", [front.path for front in tutorials.FRONTS])
def test_images_load_and_the_notebook_downloads_without_javascript(
    visit: Callable[..., Any], path: str
) -> None:
    visitor = visit(java_script_enabled=False)
    page = visitor.open(path.replace(".md", ".html"))
    for image in page.locator("img.atlas-plot").all():
        assert image.evaluate("image => image.naturalWidth") > 100
    link = page.get_by_role("link", name="as a notebook")
    answer = page.request.get(f"{visitor.home}tutorials/{link.get_attribute('href')}")
    assert answer.json()["nbformat"] == 4
    assert visitor.complaints == []
