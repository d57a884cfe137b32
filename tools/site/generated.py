"""Generated files for mkdocs, which under `serve` builds again only those whose text changed."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File


class Generated(File):
    """A page or data file that exists only in memory."""

    unchanged: bool = False
    """Whether the last build of this process, into the same folder, wrote the same text."""

    def is_modified(self) -> bool:
        """Whether it has to be written; mkdocs asks only when it may leave out the rest."""
        return not self.unchanged


def generated(config: MkDocsConfig, texts: Mapping[str, str]) -> list[Generated]:
    """Make the files of a build: contents by path below the docs folder."""
    files = []
    last = _last(config.site_dir)
    for path, text in texts.items():
        file = Generated(path, None, config.site_dir, config.use_directory_urls)
        file.generated_by = "tools/site"
        file.content_string = text
        file.unchanged = last.get(path) == text
        files.append(file)
    last.clear()
    last.update(texts)
    return files


@cache
def _last(site_dir: str) -> dict[str, str]:
    """The texts of the last build into a folder; loading the hook anew does not lose them."""
    return {}
