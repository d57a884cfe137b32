"""Complete pages in a frame of our own, for a site that no other generator builds."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from implementations.harness.errors import BadInput
from tools.site.atlas import Atlas
from tools.site.body import Body, finish
from tools.site.discovery import sitemap
from tools.site.links import broken
from tools.site.menu import Group, items, menu
from tools.site.pages import fronts, make
from tools.site.policy import protect
from tools.site.render import fill
from tools.site.sections import front
from tools.site.words import built

NAME = "Pruning Atlas"
NOTICE = (
    "Code under Apache-2.0. "
    "Every number on this site is generated from a record that a program wrote."
)


def write(atlas: Atlas, folder: Path, served: bool = True) -> None:
    """Write the whole site below `folder`, making it where it is missing.

    Pages that are not `served` but opened from disk have no scripts, which a browser refuses there.

    Raises:
        BadInput: a formula cannot be set, or a link leads nowhere; nothing is written.
    """
    made = make(atlas)
    files = {path: text for path, text in made.items() if not path.endswith(".md")}
    assets = atlas.root / "docs" / "assets"
    copied = {f"assets/{file.relative_to(assets).as_posix()}" for file in assets.rglob("*")}
    listed = menu(fronts())
    bodies = {}
    for path in made.keys() - files.keys():
        said, text = front(made[path])
        body = finish(path, said, text, listed)
        bodies[built(path)] = body.html
        files[built(path)] = _framed(path, said, body, listed, atlas, served)
    if problems := list(broken(bodies, files.keys() | copied)):
        raise BadInput("\n".join(problems))
    if atlas.site:
        files["sitemap.xml"] = sitemap(atlas, bodies)
    shutil.copytree(assets, folder / "assets", dirs_exist_ok=True)
    for path, text in files.items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")


def _framed(
    path: str, said: dict[str, Any], body: Body, listed: Group, atlas: Atlas, served: bool
) -> str:
    above = said["trail"][0][1] if "trail" in said else ""
    page = fill(
        "frame.html",
        path=built(path),
        said=said,
        body=body,
        menu=items(listed, path, above),
        atlas=atlas,
        served=served,
        name=NAME,
        notice=NOTICE,
    )
    return protect(page, body.html)
