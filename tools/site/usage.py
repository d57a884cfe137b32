"""How a method is used: the share to show it with, and how a model that it pruned is loaded."""

from __future__ import annotations

from itertools import chain

from tools.catalog.schema.paper import Paper
from tools.site.atlas import Atlas, Method

WEIGHTS = frozenset({"unstructured", "semi-structured"})
WHOLE = WEIGHTS | {"blocks"}
"""What goes without any block changing its shape."""
INSIDE = frozenset({"hidden", "value-dims", "rotary-pairs"})
"""What goes from inside layers or the residual stream, which no stock configuration can say."""
FOLLOWING = ("per-prompt", "per-token")


def share(method: Method) -> str:
    """Write the option that says how much goes, as an example: 2:4 where the method knows it."""
    if method.support.get("patterns", {}).get("2:4") == "supported":
        return "--pattern 2:4"
    return f"--sparsity {0.5 if WEIGHTS & granularity(method) else 0.2}"


def reloading(method: Method, paper: Paper) -> str:
    """Say how transformers loads what the method has saved.

    `plain`: as any model; `alike`: as any model where all blocks came out with the same shape, else
    by the code in the folder; `code`: by that code; `nothing`: no weight changes, nothing is saved.
    """
    if paper.taxonomy and paper.taxonomy.when in FOLLOWING:
        return "nothing"
    if granularity(method) <= WHOLE:
        return "plain"
    return "code" if granularity(method) & INSIDE else "alike"


def by_reloading(atlas: Atlas) -> dict[str, list[str]]:
    """List the methods of which the contract has seen what they remove, by how they reload."""
    found: dict[str, list[str]] = {"plain": [], "alike": [], "code": [], "nothing": []}
    for slug, method in atlas.methods.items():
        if granularity(method):
            found[reloading(method, atlas.papers[slug])].append(slug)
    return found


def training(atlas: Atlas) -> list[str]:
    """List the methods that train, and so want the whole model where they compute."""
    methods = atlas.methods.items()
    return [slug for slug, one in methods if one.support.get("calibration") == "training"]


def families(atlas: Atlas) -> list[str]:
    """List the model families that the contract tries every method on."""
    found = (method.support.get("families", ()) for method in atlas.methods.values())
    return list(dict.fromkeys(chain.from_iterable(found)))


def granularity(method: Method) -> frozenset[str]:
    """What it removes, as its contract has seen it; empty where nothing was seen yet."""
    return frozenset(method.support.get("granularity", ()))
