"""Where a pruned model runs, and what pruning changes there."""

from __future__ import annotations

from typing import NamedTuple

from tools.catalog.schema.paper import Paper
from tools.site.atlas import Method
from tools.site.method_candidates import PATTERN
from tools.site.usage import WEIGHTS, adds_stream_matrices, reloading

TARGETS = {
    "gpu": "GPU, dense kernels",
    "sparse": "GPU with 2:4 kernels",
    "gguf": "llama.cpp",
    "cpu": "CPU, PyTorch",
}
"""Places to run a pruned model, by their name in the address."""
BLOCKS, WIDTHS, INSIDE, PROMPT = "blocks", "widths", "inside", "prompt"
STREAM, ROTATED, ZEROS = "stream", "rotated", "zeros"
"""Results of pruning; a pattern is one as well."""


class Verdict(NamedTuple):
    """What a kind of result gains on a target."""

    gain: bool | None
    """Whether it is smaller or faster; None if it does not run there."""
    text: str


_FEWER_LAYERS = Verdict(True, "Smaller and faster, and loads like any model.")
_SMALLER = Verdict(True, "Smaller and faster. Layers of unequal width need trust_remote_code.")
_INSIDE = Verdict(
    True, "Smaller. Indexing in the layers costs some speed. Needs trust_remote_code."
)
_STREAM = Verdict(
    True,
    "Narrower layers with an added matrix per attention and MLP; smaller only if more weights were "
    "removed than added. Needs trust_remote_code.",
)
_ROTATED = Verdict(
    False, "Neither smaller nor faster: zeros, and an added matrix per attention and MLP."
)
_ZEROS = Verdict(False, "Neither smaller nor faster: dense kernels multiply zeros too.")
_PROMPT = Verdict(True, "Decodes faster after each prompt. Not smaller; nothing is saved.")
_REFUSED = "llama.cpp cannot run it: "
_CODE = Verdict(None, _REFUSED + "its layers need modeling_pruned.py")

VERDICTS = {
    BLOCKS: dict.fromkeys(TARGETS, _FEWER_LAYERS)
    | {"gguf": Verdict(True, "Smaller and faster. Converts to GGUF like the dense model.")},
    WIDTHS: dict.fromkeys(TARGETS, _SMALLER)
    | {"gguf": Verdict(True, "Smaller and faster. atlas export-gguf writes layers of any width.")},
    INSIDE: dict.fromkeys(TARGETS, _INSIDE) | {"gguf": _CODE},
    STREAM: dict.fromkeys(TARGETS, _STREAM) | {"gguf": _CODE},
    ROTATED: dict.fromkeys(TARGETS, _ROTATED) | {"gguf": _CODE},
    PROMPT: dict.fromkeys(TARGETS, _PROMPT)
    | {"gguf": Verdict(None, _REFUSED + "it selects units for each prompt and saves nothing")},
    ZEROS: dict.fromkeys(TARGETS, _ZEROS)
    | {
        "sparse": Verdict(False, "Neither smaller nor faster: 2:4 kernels need the 2:4 pattern."),
        "gguf": Verdict(False, "Converts to GGUF, neither smaller nor faster: zeros are stored."),
    },
    PATTERN: dict.fromkeys(TARGETS, Verdict(False, "Not faster without 2:4 kernels."))
    | {
        "sparse": Verdict(
            True,
            "Prefill and large batches faster after torch.sparse.to_sparse_semi_structured.",
        ),
        "gguf": Verdict(False, "Converts to GGUF, but llama.cpp has no 2:4 kernels."),
    },
}


def result(method: Method, paper: Paper) -> str:
    """Return the kind of result of a method without a pattern, a key of `VERDICTS`."""
    loads = reloading(method, paper)
    if loads == "nothing":
        return PROMPT
    if loads == "plain":
        return ZEROS if WEIGHTS & method.granularity else BLOCKS
    if loads == "code":
        if adds_stream_matrices(method):
            return ROTATED if WEIGHTS & method.granularity else STREAM
        return INSIDE
    return WIDTHS
