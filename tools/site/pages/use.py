"""Use it: commands by task, from installing to loading a pruned model, and all options."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from tools.site import usage
from tools.site.answers import Question, first_ranking
from tools.site.atlas import Atlas
from tools.site.code import HARNESS
from tools.site.markdown import rebase
from tools.site.options import commands
from tools.site.render import Front, render

FRONT = Front(
    "use.md",
    "Use it",
    "Prune your own model, save it and load it again; on a GPU, in sweeps, from Python.",
    styles=("css/use.css",),
    sources=("docs/templates/pages/use.md", (HARNESS / "cli" / "commands.py").as_posix()),
    toc=True,
)


def pages(atlas: Atlas) -> Iterator[tuple[str, str]]:
    """Yield the page."""
    yield (
        FRONT.path,
        render(
            "use",
            FRONT,
            atlas,
            commands=commands(),
            best=best_method(atlas),
            extras=rebase(
                extras(atlas.root / "README.md"), FRONT.path, atlas.papers, atlas.repository
            ),
            reloading=usage.by_reloading(atlas),
            training=usage.training(atlas),
            parallel=usage.parallel(atlas),
            families=usage.families(atlas),
            mixtures=usage.mixtures(atlas),
            for_mixtures=[
                slug for slug, one in atlas.methods.items() if usage.removes_experts(one)
            ],
        ),
    )


def best_method(atlas: Atlas) -> str:
    """Return the best one-shot method at 2:4; Wanda if none was measured."""
    ranking = first_ranking(atlas)
    answers = ranking.best(Question("2:4", structured=False)) if ranking else []
    return answers[0].method if answers else "wanda"


def extras(readme: Path) -> str:
    """Return the README's table of extras; empty if there is none."""
    text = readme.read_text(encoding="utf-8") if readme.exists() else ""
    match = re.search(r"^\| extra \|.*\n(?:\|.*\n)+", text, re.MULTILINE)
    return match[0] if match else ""
