"""Folders of a checkout of the atlas."""

from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
IMPLEMENTATIONS = REPOSITORY / "implementations"


def checkout(papers: Path) -> Path:
    """Return the checkout that contains a folder of entries."""
    return papers.resolve().parent.parent


def measured() -> dict[str, bool]:
    """Map each slug with a method folder to whether it has a published record."""
    return {
        slug: any((IMPLEMENTATIONS / slug / "records").glob("*/*.json"))
        for slug in sorted(implemented())
    }


def implemented(folder: Path = IMPLEMENTATIONS) -> frozenset[str]:
    """Return the slugs that have a method folder."""
    return frozenset(path.stem for path in folder.glob("*/*.py") if path.stem == path.parent.name)
