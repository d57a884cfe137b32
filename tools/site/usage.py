"""How to use a method: an example of its options, and how to load the pruned model."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import chain

from tools.catalog.schema.paper import Paper
from tools.site.atlas import Atlas, Method
from tools.site.paper_facts import words_of

WEIGHTS = frozenset({"unstructured", "semi-structured"})
STOCK_SHAPE = WEIGHTS | {"blocks", "experts"}
"""Granularities that keep the shape of every decoder layer, or change all in the same way."""
CUSTOM_SHAPE = frozenset({"hidden", "value-dims", "rotary-pairs"})
"""Granularities whose result no configuration of transformers describes.

Hidden dimensions that the whole model loses are an exception; see `reloading`."""
PER_INPUT = frozenset({"per-prompt", "per-token"})


def only_per_input(paper: Paper) -> bool:
    """Return whether a method selects units only for each input."""
    when = frozenset(words_of(paper, "when"))
    return bool(when) and when <= PER_INPUT


def share(method: Method) -> str:
    """Return an example of the sparsity option: 2:4 if the method supports it."""
    if "2:4" in method.patterns:
        return "--pattern 2:4"
    return f"--sparsity {0.5 if WEIGHTS & method.granularity else 0.2}"


def trial(method: Method) -> str:
    """Return example options of a first run; to remove experts, they include a model with some."""
    mixture = " --model my-mixture" if removes_experts(method) else ""
    return f"{share(method)}{mixture}"


def reloading(method: Method, paper: Paper) -> str:
    """Return how transformers loads the saved model.

    `plain`: like any model. `code`: with the code saved in the folder. `alike`: like any model if
    all blocks have the same shape, otherwise with that code. `nothing`: no weight changes, so
    nothing is saved.
    """
    if only_per_input(paper):
        return "nothing"
    if method.granularity <= STOCK_SHAPE:
        # DenoiseRotator adds matrices, although its layers keep their shapes.
        return "code" if adds_stream_matrices(method) else "plain"
    if "shape_of" in method.source.code:  # cuts all layers and the whole stream to one shape
        return "alike"
    return "code" if method.granularity & CUSTOM_SHAPE else "alike"


def adds_stream_matrices(method: Method) -> bool:
    """Return whether a method adds a matrix to the stream of every half layer."""
    return bool(re.search(r"\b(set_stream_matrix|rotate_embedding)\b", method.source.code))


def by_reloading(atlas: Atlas) -> dict[str, list[str]]:
    """List the methods tested by the contract, by how their saved models are loaded."""
    groups: dict[str, list[str]] = {"plain": [], "alike": [], "code": [], "nothing": []}
    for slug, method in atlas.methods.items():
        if method.granularity:
            groups[reloading(method, atlas.papers[slug])].append(slug)
    return groups


def training(atlas: Atlas) -> list[str]:
    """List the methods that train, which need the whole model on the device."""
    methods = atlas.methods.items()
    return [slug for slug, one in methods if one.capabilities.get("calibration") == "training"]


def parallel(atlas: Atlas) -> list[str]:
    """List the methods whose calibration set several processes can share."""
    return [slug for slug, one in atlas.methods.items() if one.capabilities.get("parallel")]


def families(atlas: Atlas) -> list[str]:
    """List the model families that methods other than those for mixtures support."""
    return _families(method for method in atlas.methods.values() if not removes_experts(method))


def mixtures(atlas: Atlas) -> list[str]:
    """List the families of mixtures of experts."""
    return _families(method for method in atlas.methods.values() if removes_experts(method))


def _families(methods: Iterable[Method]) -> list[str]:
    return list(dict.fromkeys(chain.from_iterable(method.families for method in methods)))


def removes_experts(method: Method) -> bool:
    """Return whether a method removes experts, which only mixtures have."""
    return "experts" in method.granularity
