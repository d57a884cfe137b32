"""Pictures of what pruning does to the real model, measured and written down for the site.

    python -m implementations.harness.cli.pictures masks METHOD...   # which weights go
    python -m implementations.harness.cli.pictures blocks METHOD     # what each block is worth
    python -m implementations.harness.cli.pictures ties              # what broken ties change

They write `implementations/harness/pictures/<name>.json`, with everything needed to repeat them.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from itertools import combinations
from typing import Annotated, Any, cast

import torch
import typer
from torch import Tensor, nn

from implementations.harness.cli import terminal
from implementations.harness.data.activations import replaced_forward
from implementations.harness.data.samples import Sampler
from implementations.harness.data.text import Tokens
from implementations.harness.measure.perplexity import perplexity
from implementations.harness.model.loading import load_model
from implementations.harness.model.view import LanguageModel
from implementations.harness.progress import track
from implementations.harness.prune.masks import NM, parse_pattern, smallest
from implementations.harness.prune.method import Method
from implementations.harness.prune.registry import get
from implementations.harness.results.files import layout, write_whole
from implementations.harness.results.protocol import Protocol, get_protocol
from implementations.harness.results.store import IMPLEMENTATIONS
from implementations.harness.runs import environment

FOLDER = IMPLEMENTATIONS / "harness" / "pictures"
PATCH = (48, 96)  # outputs and inputs of the corner of a mask that is drawn

Order = Callable[[Tensor], Tensor]
"""Gives for the sizes of groups, `[out, groups, group]`, the places of each in their order."""

app = typer.Typer(no_args_is_help=True, add_completion=False)
Name = Annotated[str, typer.Option("--protocol", help="Protocol for text and model.")]
Share = Annotated[float, typer.Option(min=0, max=1, help="Share to remove.")]


@app.command()
def masks(
    methods: list[str],
    sparsity: Share = 0.5,
    block: Annotated[int, typer.Option(help="Block of the patch.")] = 15,
    role: Annotated[str, typer.Option(help="Matrix of the patch.")] = "q",
    protocol: Name = "quick",
) -> None:
    """Write which weights some methods remove, and which would go in one ranking by size."""
    with terminal.progress():
        chosen, model, sampler = _start(protocol)
        calibration = sampler.samples(seed=0).calibration
        asked = {slug: get(slug).configure(sparsity=sparsity) for slug in methods}
        removed = {slug: mask_of(model, method, calibration) for slug, method in asked.items()}
        place = [(b.index, r) for b, r, _ in model.linears()].index((block, role))
        content = {
            **_provenance(chosen, model),
            "sparsity": sparsity,
            "block": block,
            "role": role,
            "calibration_sha256": calibration.sha256,
            "weights": weights_of(model),
            "patches": {slug: corner(mask[place]) for slug, mask in removed.items()},
            "in_common": in_common(removed),
            "one_ranking": one_ranking(model, sparsity),
        }
    _write("masks", content)


@app.command()
def blocks(
    method: str,
    sparsity: Share = 0.5,
    windows: Annotated[int, typer.Option(min=1, help="Evaluation windows to read.")] = 4,
    protocol: Name = "quick",
) -> None:
    """Write the perplexity with one block alone pruned, and with one block alone left out."""
    with terminal.progress():
        chosen, model, sampler = _start(protocol)
        samples = sampler.samples(seed=0)
        metric, tokens = next(iter(samples.evaluations.items()))
        text = Tokens(
            tokens.ids[:windows], tokens.source, tokens.spans[:windows], tokens.text_sha256
        )
        pruned = copy.deepcopy(model)
        get(method).configure(sparsity=sparsity).apply(pruned, samples.calibration)
        content = {
            **_provenance(chosen, model),
            "method": method,
            "sparsity": sparsity,
            "metric": metric,
            "windows": windows,
            "text_sha256": text.sha256,
            "dense": perplexity(model, text).value,
            "pruned": pruned_alone(model, pruned, text),
            "left_out": left_out_alone(model, text),
        }
    _write("blocks", content)


@app.command()
def ties(
    pattern: Annotated[str, typer.Option(help="What stays of each group, as in 2:4.")] = "2:4",
    lots: Annotated[int, typer.Option(min=1, help="How often ties are broken by lot.")] = 3,
    protocol: Name = "quick",
) -> None:
    """Write what plain magnitude comes to if ties in a group go to others than the earlier ones."""
    with terminal.progress():
        chosen, model, sampler = _start(protocol)
        metric, text = next(iter(sampler.samples(seed=0).evaluations.items()))
        kept = parse_pattern(pattern)
        places = torch.arange(kept.group)
        broken: dict[str, Order] = {
            "earlier": places.expand_as,
            "later": places.flip(0).expand_as,
            **{f"lot {seed}": by_lot(seed) for seed in range(lots)},
        }
        content = {
            **_provenance(chosen, model),
            "pattern": pattern,
            "metric": metric,
            "text_sha256": text.sha256,
            "dense": perplexity(model, text).value,
            "tied": tied(model, kept),
            "values": {
                name: perplexity(by_size(model, kept, order), text).value
                for name, order in track(list(broken.items()), "breaking ties")
            },
        }
    _write("ties", content)


def tied(model: LanguageModel, pattern: NM) -> float:
    """Return the share of groups in which what goes and what stays meet at equal sizes."""
    gone = pattern.group - pattern.keep
    equal = groups = 0
    for _, _, linear in model.linears():
        sizes = _groups(linear, pattern).sort(-1).values
        equal += int((sizes[..., gone - 1] == sizes[..., gone]).sum())
        groups += sizes[..., 0].numel()
    return equal / groups


def by_lot(seed: int) -> Order:
    """Return an order that draws the places of each group."""
    source = torch.Generator().manual_seed(seed)
    return lambda groups: torch.rand(groups.shape, generator=source).argsort(-1)


def by_size(model: LanguageModel, pattern: NM, order: Order) -> LanguageModel:
    """Return a copy without the smallest of each group, of equal ones the first in `order`."""
    pruned = copy.deepcopy(model)
    for _, _, linear in pruned.linears():
        groups = _groups(linear, pattern)
        places = order(groups)
        first = smallest(groups.gather(-1, places), pattern.group - pattern.keep)
        gone = torch.zeros_like(first).scatter(-1, places, first)
        linear.weight.data.masked_fill_(gone.flatten(-2), 0)
    return pruned


def mask_of(model: LanguageModel, method: Method, calibration: Tokens) -> list[Tensor]:
    """Prune a copy and mark what went: a boolean `[out, in]` for each linear layer, in order."""
    pruned = copy.deepcopy(model)
    method.apply(pruned, calibration)
    return [linear.weight == 0 for _, _, linear in pruned.linears()]


def weights_of(model: LanguageModel) -> dict[str, int]:
    """Count the weights by role over all blocks, and all other parameters as `outside`."""
    counts: dict[str, int] = {}
    for _, role, linear in model.linears():
        counts[role] = counts.get(role, 0) + linear.weight.numel()
    parameters = sum(parameter.numel() for parameter in model.hf.parameters())
    return counts | {"outside": parameters - sum(counts.values())}


def corner(mask: Tensor) -> list[str]:
    """Write the first outputs and inputs of a mask as one text a row: 1 went, 0 stayed."""
    rows, columns = PATCH
    return ["".join("1" if gone else "0" for gone in row) for row in mask[:rows, :columns].tolist()]


def in_common(removed: dict[str, list[Tensor]]) -> dict[str, float]:
    """Return, for each two methods, the share of the one's removed weights that the other removes.

    Both remove equally many, so that the share is the same either way.
    """
    return {
        f"{one} {other}": sum(int((a & b).sum()) for a, b in _pairs(removed, one, other))
        / sum(int(a.sum()) for a in removed[one])
        for one, other in combinations(removed, 2)
    }


def one_ranking(model: LanguageModel, sparsity: float) -> list[dict[str, float]]:
    """Return by block and role the share that goes if all weights are ranked by size together."""
    sizes = [linear.weight.detach().abs().flatten() for _, _, linear in model.linears()]
    together = torch.cat(sizes)
    gone = smallest(together, round(sparsity * len(together))).split([len(s) for s in sizes])
    shares: list[dict[str, float]] = [{} for _ in model.blocks]
    for (block, role, _), mask in zip(model.linears(), gone, strict=True):
        shares[block.index][role] = round(float(mask.float().mean()), 4)
    return shares


def pruned_alone(model: LanguageModel, pruned: LanguageModel, text: Tokens) -> list[float]:
    """Return the perplexity of `model` with the linear layers of one block of `pruned`, by block.

    `pruned` must have the same shapes; `model` is as before at the end.
    """
    found = []
    for dense, other in track(list(zip(model.blocks, pruned.blocks, strict=True)), "one block"):
        kept = {role: linear.weight for role, linear in dense.linears().items()}
        try:
            _swap(dense.linears(), {r: linear.weight for r, linear in other.linears().items()})
            found.append(perplexity(model, text).value)
        finally:
            _swap(dense.linears(), kept)
    return found


def left_out_alone(model: LanguageModel, text: Tokens) -> list[float]:
    """Return the perplexity of `model` with one block left out, by block."""
    found = []
    for block in track(model.blocks, "leaving out one block"):
        with replaced_forward(block.module, lambda hidden, *_, **__: hidden):
            found.append(perplexity(model, text).value)
    return found


def _groups(linear: nn.Linear, pattern: NM) -> Tensor:
    """The sizes of the weights, `[out, groups, group]`."""
    rows, columns = linear.weight.shape
    return linear.weight.detach().abs().view(rows, columns // pattern.group, pattern.group)


def _swap(linears: dict[str, nn.Linear], weights: dict[str, Tensor]) -> None:
    for role, linear in linears.items():
        linear.weight = cast(nn.Parameter, weights[role])


def _pairs(
    removed: dict[str, list[Tensor]], one: str, other: str
) -> Sequence[tuple[Tensor, Tensor]]:
    return list(zip(removed[one], removed[other], strict=True))


def _start(name: str) -> tuple[Protocol, LanguageModel, Sampler]:
    protocol = get_protocol(name)
    model = load_model(protocol.model or "smollm2-135m", dtype=protocol.dtype)
    return protocol, model, Sampler(protocol, model)


def _provenance(protocol: Protocol, model: LanguageModel) -> dict[str, Any]:
    commit, dirty = environment.commit()
    return {
        "command": "python -m implementations.harness.cli.pictures " + " ".join(sys.argv[1:]),
        "date": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "protocol": protocol.name,
        "protocol_fingerprint": protocol.fingerprint,
        "model": model.name,
        "model_sha256": model.identity and model.identity.weights,
        "dtype": str(model.dtype).removeprefix("torch."),
        "hardware": environment.hardware(model.device).model_dump(),
        "versions": environment.versions(),
        "commit": commit,
        "dirty": dirty,
    }


def _write(name: str, content: dict[str, Any]) -> None:
    path = FOLDER / f"{name}.json"
    write_whole(path, layout(content) + "\n")
    terminal.show_paths(picture=path)


if __name__ == "__main__":
    app()
