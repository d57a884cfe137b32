"""How to use a method: an example sparsity, and how to load the pruned model."""

from __future__ import annotations

from itertools import chain

from tools.catalog.schema.paper import Paper
from tools.site.atlas import Atlas, Method

WEIGHTS = frozenset({"unstructured", "semi-structured"})
WHOLE = WEIGHTS | {"blocks"}
"""Granularities that keep the shape of every decoder layer."""
INSIDE = frozenset({"hidden", "value-dims", "rotary-pairs"})
"""Granularities inside layers or the residual stream, which no stock configuration describes."""
FOLLOWING = ("per-prompt", "per-token")


def share(method: Method) -> str:
    """Return an example of the sparsity option: 2:4 if the method supports it."""
    if method.support.get("patterns", {}).get("2:4") == "supported":
        return "--pattern 2:4"
    return f"--sparsity {0.5 if WEIGHTS & granularity(method) else 0.2}"


def reloading(method: Method, paper: Paper) -> str:
    """Return how transformers loads the saved model.

    `plain`: as any model; `alike`: as any model where all blocks came out with the same shape, else
    by the code in the folder; `code`: by that code; `nothing`: no weight changes, nothing is saved.
    """
    if paper.taxonomy and paper.taxonomy.when in FOLLOWING:
        return "nothing"
    if granularity(method) <= WHOLE:
        return "plain"
    return "code" if granularity(method) & INSIDE else "alike"


def by_reloading(atlas: Atlas) -> dict[str, list[str]]:
    """List the methods tested by the contract, by how their saved models are loaded."""
    found: dict[str, list[str]] = {"plain": [], "alike": [], "code": [], "nothing": []}
    for slug, method in atlas.methods.items():
        if granularity(method):
            found[reloading(method, atlas.papers[slug])].append(slug)
    return found


def training(atlas: Atlas) -> list[str]:
    """List the methods that train, which need the whole model on the device."""
    methods = atlas.methods.items()
    return [slug for slug, one in methods if one.support.get("calibration") == "training"]


def families(atlas: Atlas) -> list[str]:
    """List the model families of the contract's tests."""
    found = (method.support.get("families", ()) for method in atlas.methods.values())
    return list(dict.fromkeys(chain.from_iterable(found)))


def granularity(method: Method) -> frozenset[str]:
    """Return what a method removes according to the contract; empty if it was not tested."""
    return frozenset(method.support.get("granularity", ()))
