"""Measurements behind the site's pictures of what pruning does to the embedded model.

    python -m implementations.harness.cli.pictures masks METHOD...   # which weights are removed
    python -m implementations.harness.cli.pictures blocks METHOD     # sensitivity of each block
    python -m implementations.harness.cli.pictures ties              # effect of breaking ties

Each writes `implementations/harness/pictures/<name>.json`, with everything needed to repeat it.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import combinations
from typing import Annotated, Any, cast

import torch
import typer
from torch import Tensor, nn

from implementations.harness.cli import terminal
from implementations.harness.cli.progress_output import show_progress
from implementations.harness.data.samples import Sampler
from implementations.harness.data.tokens import Tokens
from implementations.harness.errors import BadInput
from implementations.harness.measure.perplexity import perplexity
from implementations.harness.model.execution import bypass, replaced_forward
from implementations.harness.model.loading import load_model
from implementations.harness.model.view import LanguageModel
from implementations.harness.progress import track
from implementations.harness.prune.method import Method
from implementations.harness.prune.registry import get_method
from implementations.harness.prune.weight_method import NM, parse_pattern, smallest
from implementations.harness.results.files import format_json, write_atomically
from implementations.harness.results.protocol import Protocol, get_protocol
from implementations.harness.results.store import IMPLEMENTATIONS
from implementations.harness.runs.recording import commit, hardware, versions

FOLDER = IMPLEMENTATIONS / "harness" / "pictures"
PATCH = (48, 96)  # outputs and inputs of the drawn corner of a mask

Order = Callable[[Tensor], Tensor]
"""Returns for groups `[out, groups, group]` the indices of each group in order of preference."""

app = typer.Typer(no_args_is_help=True, add_completion=False)
Name = Annotated[str, typer.Option("--protocol", help="Protocol with the texts and the model")]
Share = Annotated[float, typer.Option(min=0, max=1, help="Share of the weights to remove")]


@app.command()
def masks(
    methods: list[str],
    sparsity: Share = 0.5,
    block: Annotated[int, typer.Option(help="Block of the drawn matrix")] = 15,
    role: Annotated[str, typer.Option(help="Role of the drawn matrix")] = "q",
    protocol: Name = "quick",
) -> None:
    """Write which weights several methods and a global magnitude ranking remove."""
    with show_progress():
        chosen, model, sampler = _start(protocol)
        calibration = sampler.samples(seed=0).calibration
        configured = {slug: get_method(slug).configure(sparsity=sparsity) for slug in methods}
        places = [(b.index, r) for b, r, _ in model.linears()]
        if (block, role) not in places:
            raise BadInput(f"the model has no layer {role!r} in block {block}; use another one")
        index = places.index((block, role))
        removed = {
            slug: removed_weights(model, method, calibration) for slug, method in configured.items()
        }
        content = {
            **_provenance(chosen, model),
            "sparsity": sparsity,
            "block": block,
            "role": role,
            "calibration_sha256": calibration.sha256,
            "weights": count_by_role(model),
            "patches": {slug: corner(mask[index]) for slug, mask in removed.items()},
            "in_common": overlaps(removed),
            "one_ranking": global_magnitude_shares(model, sparsity),
        }
    _write("masks", content)


@app.command()
def blocks(
    method: str,
    sparsity: Share = 0.5,
    windows: Annotated[int, typer.Option(min=1, help="Number of evaluation windows")] = 4,
    protocol: Name = "quick",
) -> None:
    """Write the perplexity with only one block pruned, and with only one block removed."""
    with show_progress():
        chosen, model, sampler = _start(protocol)
        samples = sampler.samples(seed=0)
        metric, tokens = next(iter(samples.evaluations.items()))
        text = Tokens(
            tokens.ids[:windows], tokens.source, tokens.spans[:windows], tokens.text_sha256
        )
        pruned = copy.deepcopy(model)
        get_method(method).configure(sparsity=sparsity).apply(pruned, samples.calibration)
        content = {
            **_provenance(chosen, model),
            "method": method,
            "sparsity": sparsity,
            "metric": metric,
            "windows": len(text.ids),
            "text_sha256": text.sha256,
            "dense": perplexity(model, text).value,
            "pruned": prune_each_block(model, pruned, text),
            "left_out": skip_each_block(model, text),
        }
    _write("blocks", content)


@app.command()
def ties(
    pattern: Annotated[str, typer.Option(help="N:M pattern: weights to keep per group")] = "2:4",
    lots: Annotated[int, typer.Option(min=1, help="Number of random ways to break ties")] = 3,
    protocol: Name = "quick",
) -> None:
    """Write the perplexity of magnitude pruning for different ways to break ties in a group."""
    with show_progress():
        chosen, model, sampler = _start(protocol)
        metric, text = next(iter(sampler.samples(seed=0).evaluations.items()))
        kept = parse_pattern(pattern)
        indices = torch.arange(kept.group)
        orders: dict[str, Order] = {
            "earlier": indices.expand_as,
            "later": indices.flip(0).expand_as,
            **{f"lot {seed}": random_order(seed) for seed in range(lots)},
        }
        content = {
            **_provenance(chosen, model),
            "pattern": pattern,
            "metric": metric,
            "text_sha256": text.sha256,
            "dense": perplexity(model, text).value,
            "tied": share_of_ties(model, kept),
            "values": {
                name: perplexity(prune_by_magnitude(model, kept, order), text).value
                for name, order in track(list(orders.items()), "breaking ties")
            },
        }
    _write("ties", content)


def share_of_ties(model: LanguageModel, pattern: NM) -> float:
    """Return the share of groups whose largest removed and smallest kept weight are equal."""
    removed = pattern.group - pattern.keep
    equal = groups = 0
    for _, _, linear in model.linears():
        sizes = _groups(linear, pattern).sort(-1).values
        equal += int((sizes[..., removed - 1] == sizes[..., removed]).sum())
        groups += sizes[..., 0].numel()
    return equal / groups


def random_order(seed: int) -> Order:
    """Return an order that shuffles each group."""
    generator = torch.Generator().manual_seed(seed)
    return lambda groups: torch.rand(groups.shape, generator=generator).argsort(-1)


def prune_by_magnitude(model: LanguageModel, pattern: NM, order: Order) -> LanguageModel:
    """Return a copy pruned by magnitude; among equal weights the first in `order` are removed."""
    pruned = copy.deepcopy(model)
    for _, _, linear in pruned.linears():
        groups = _groups(linear, pattern)
        indices = order(groups)
        ordered = smallest(groups.gather(-1, indices), pattern.group - pattern.keep)
        removed = torch.zeros_like(ordered).scatter(-1, indices, ordered)
        linear.weight.data.masked_fill_(removed.flatten(-2), 0)
    return pruned


def removed_weights(model: LanguageModel, method: Method, calibration: Tokens) -> list[Tensor]:
    """Prune a copy and return the mask of zeros `[out, in]` of each linear layer, in order."""
    pruned = copy.deepcopy(model)
    method.apply(pruned, calibration)
    return [linear.weight == 0 for _, _, linear in pruned.linears()]


def count_by_role(model: LanguageModel) -> dict[str, int]:
    """Count the weights of each role over all blocks, and all other parameters as `outside`."""
    counts: dict[str, int] = {}
    for _, role, linear in model.linears():
        counts[role] = counts.get(role, 0) + linear.weight.numel()
    parameters = sum(parameter.numel() for parameter in model.hf.parameters())
    return counts | {"outside": parameters - sum(counts.values())}


def corner(mask: Tensor) -> list[str]:
    """Return the corner of a mask with one string per row: 1 is removed, 0 is kept."""
    rows, columns = PATCH
    return ["".join("01"[removed] for removed in row) for row in mask[:rows, :columns].tolist()]


def overlaps(removed: dict[str, list[Tensor]]) -> dict[str, float]:
    """Return, for each pair of methods, the share of removed weights that both remove.

    All methods remove equally many, so that the share is the same for both.
    """
    return {
        f"{one} {other}": sum(
            int((a & b).sum()) for a, b in zip(removed[one], removed[other], strict=True)
        )
        / sum(int(a.sum()) for a in removed[one])
        for one, other in combinations(removed, 2)
    }


def global_magnitude_shares(model: LanguageModel, sparsity: float) -> list[dict[str, float]]:
    """Return the share that global magnitude pruning removes from each block and role."""
    sizes = [linear.weight.detach().abs().flatten() for _, _, linear in model.linears()]
    together = torch.cat(sizes)
    removed = smallest(together, round(sparsity * len(together))).split([len(s) for s in sizes])
    shares: list[dict[str, float]] = [{} for _ in model.blocks]
    for (block, role, _), mask in zip(model.linears(), removed, strict=True):
        shares[block.index][role] = round(float(mask.float().mean()), 4)
    return shares


def prune_each_block(model: LanguageModel, pruned: LanguageModel, text: Tokens) -> list[float]:
    """Return, for each block, the perplexity of `model` with the weights of `pruned` in it.

    `pruned` must have the same shapes; `model` is restored at the end.
    """
    values = []
    for dense, other in track(list(zip(model.blocks, pruned.blocks, strict=True)), "one block"):
        kept = {role: linear.weight for role, linear in dense.linears().items()}
        try:
            _swap(dense.linears(), {r: linear.weight for r, linear in other.linears().items()})
            values.append(perplexity(model, text).value)
        finally:
            _swap(dense.linears(), kept)
    return values


def skip_each_block(model: LanguageModel, text: Tokens) -> list[float]:
    """Return, for each block, the perplexity of `model` without it."""
    values = []
    for block in track(model.blocks, "skipping one block"):
        with replaced_forward(block.module, bypass):
            values.append(perplexity(model, text).value)
    return values


def _groups(linear: nn.Linear, pattern: NM) -> Tensor:
    """Return the absolute weights in groups, `[out, groups, group]`."""
    rows, columns = linear.weight.shape
    return linear.weight.detach().abs().view(rows, columns // pattern.group, pattern.group)


def _swap(linears: dict[str, nn.Linear], weights: dict[str, Tensor]) -> None:
    for role, linear in linears.items():
        linear.weight = cast(nn.Parameter, weights[role])


def _start(name: str) -> tuple[Protocol, LanguageModel, Sampler]:
    protocol = get_protocol(name)
    model = load_model(protocol.model or "smollm2-135m", dtype=protocol.dtype)
    return protocol, model, Sampler(protocol, model)


def _provenance(protocol: Protocol, model: LanguageModel) -> dict[str, Any]:
    head, dirty = commit()
    return {
        "command": "python -m implementations.harness.cli.pictures " + " ".join(sys.argv[1:]),
        "date": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "protocol": protocol.name,
        "protocol_fingerprint": protocol.fingerprint,
        "model": model.name,
        "model_sha256": model.identity and model.identity.weights,
        "dtype": str(model.dtype).removeprefix("torch."),
        "hardware": hardware(model.device).model_dump(),
        "versions": versions(),
        "commit": head,
        "dirty": dirty,
    }


def _write(name: str, content: dict[str, Any]) -> None:
    path = FOLDER / f"{name}.json"
    write_atomically(path, format_json(content) + "\n")
    terminal.show_paths(picture=path)


if __name__ == "__main__":
    app()
