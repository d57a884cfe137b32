"""Where things are in a checkout of the atlas."""

from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
IMPLEMENTATIONS = REPOSITORY / "implementations"


def checkout(papers: Path) -> Path:
    """Return the checkout that a folder of entries lies in."""
    return papers.resolve().parent.parent


def implemented(folder: Path = IMPLEMENTATIONS) -> frozenset[str]:
    """Return the slugs that have a method folder."""
    return frozenset(path.stem for path in folder.glob("*/*.py") if path.stem == path.parent.name)
