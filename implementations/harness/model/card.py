"""The model card of a saved checkpoint."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from implementations.harness.download.embedded import MODEL_ALIAS
from implementations.harness.model.modeling_pruned import FEATURES, INDICES, held_indices
from implementations.harness.model.units import residual_widths, rotations
from implementations.harness.model.view import Block, LanguageModel

HUB_NAMES = {MODEL_ALIAS: "HuggingFaceTB/SmolLM2-135M-Instruct"}

STOCK = "This is a standard checkpoint of its family, so no custom code is needed."
CUSTOM = """\
`trust_remote_code=True` is needed because the stock configuration cannot express the shapes of \
the blocks. `{file}` in this folder builds them; it needs only torch and transformers. Without the \
flag, transformers builds the stock model and raises an error because the sizes do not match. If \
only biases or rotations were added, it drops them with a warning, and the results are wrong."""

ATLAS = """\
The Pruning Atlas loads it without running code from this folder:

```python
from pruning_atlas import load_model

model = load_model(folder)
```"""


def model_card(model: LanguageModel, record: dict[str, Any] | None, code: Path | None) -> str:
    """Return the text of README.md; `code` is the code file that the checkpoint needs, if any."""
    method = (record or {}).get("method", "")
    base = HUB_NAMES.get(model.name, model.name)
    parts = [
        _front_matter(base, method),
        f"# {base}, pruned{f' by {method}' if method else ''}",
        "Made by the Pruning Atlas. The licence is that of the base model.",
        _loading(code),
        _shapes(model),
        *_record(record),
    ]
    return "\n\n".join(parts) + "\n"


def _front_matter(base: str, method: str) -> str:
    entries = {
        "base_model": base,
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["pruning", "pruning-atlas", *([method] if method else [])],
    }
    return f"---\n{yaml.safe_dump(entries, sort_keys=False, allow_unicode=True)}---"


def _loading(code: Path | None) -> str:
    flag = ", trust_remote_code=True" if code else ""
    why = CUSTOM.format(file=code.name) if code else STOCK
    return f"""\
## Loading

```python
from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained(folder{flag})
tokenizer = AutoTokenizer.from_pretrained(folder)
```

{why}

{ATLAS}"""


def _shapes(model: LanguageModel) -> str:
    rows = [
        f"| {block.index} | {block.attention.heads} | {block.attention.kv_heads} "
        f"| {_feed_forward(block)} |"
        for block in model.blocks
    ]
    head = "| decoder layer | query heads | key/value heads | MLP channels |\n|---|---|---|---|"
    parts = ["## Shapes", "", head, *rows]
    for heading, lines in (
        ("Layers that hold only some of these rows and columns:", _inside(model)),
        ("Width of the residual stream before, between the halves of, and after:", _stream(model)),
        ("Matrices that rotate the whole residual stream:", _rotations(model)),
    ):
        items = list(lines)
        parts += ["", heading, "", *items] if items else []
    return "\n".join(parts)


def _feed_forward(block: Block) -> str:
    experts = block.experts
    if experts is None:
        return str(block.feed_forward.channels)
    channels = experts.weights()["down_proj"].shape[2]
    return f"{experts.count} experts of {channels}, {experts.top_k} for each token"


def _stream(model: LanguageModel) -> Iterator[str]:
    for block in model.blocks:
        widths = residual_widths(block)
        if widths:
            yield f"- block {block.index}: {', '.join(map(str, widths))}"


def _rotations(model: LanguageModel) -> Iterator[str]:
    for block in model.blocks:
        for name in rotations(block):
            yield f"- block {block.index}: {name}"


def _inside(model: LanguageModel) -> Iterator[str]:
    for block in model.blocks:
        for role, linear in block.linears().items():
            for dim, index in enumerate(INDICES):
                held = held_indices(linear, dim)
                if held is not None:
                    width = getattr(linear, FEATURES[dim])
                    yield f"- block {block.index}, {role}: {len(held)} of {width} {index}"


def _record(record: dict[str, Any] | None) -> list[str]:
    if record is None:
        return []
    text = json.dumps(record, indent=2, ensure_ascii=False)
    # Generated text may contain a fence.
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
    return ["## Record", f"{fence}json\n{text}\n{fence}"]
