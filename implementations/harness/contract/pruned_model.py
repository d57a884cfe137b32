"""Clauses about the pruned model: changed parts, reproducibility, shapes, saving."""

from __future__ import annotations

import copy
import tempfile
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from implementations.harness.contract.clause import clause
from implementations.harness.contract.helpers import (
    apply,
    calibration_for,
    difference,
    fingerprint,
    logits,
    pruned,
    reads_text,
    reference,
    removes_experts,
    same,
    shares,
)
from implementations.harness.contract.tiny import ShutModel, random_tokens, tiny_model
from implementations.harness.errors import NumericsError
from implementations.harness.model.loading import load_model
from implementations.harness.model.modeling_pruned import held_indices
from implementations.harness.model.saving import save_model
from implementations.harness.model.units import NAMES, count_weights, weights_of
from implementations.harness.model.view import PARTS, Block, LanguageModel
from implementations.harness.prune.masked import masked
from implementations.harness.prune.method import Method, Place


@clause()
def only_declared_parts_change(method: type[Method], family: str) -> None:
    """Embedding, norms and head do not change unless the method declares it."""
    model = tiny_model(family)
    dense = copy.deepcopy(model)
    originals = [block.module for block in model.blocks]
    apply(method, model)
    survivors = [originals.index(block.module) for block in model.blocks]
    before = outside_linears(dense, [dense.blocks[index] for index in survivors])
    after = outside_linears(model, model.blocks)
    declared = set(method.capabilities.changes)
    if {"embedding", "head"} & declared:
        declared |= {"embedding", "head"} if tied(dense) else set()
    else:
        assert tied(model) == tied(dense), "whether embedding and head share their weight changed"
    for place in before.keys() - declared:
        assert before[place].keys() == after[place].keys()
        for name, parameter in after[place].items():
            unchanged = torch.equal(parameter, before[place][name])
            assert unchanged, f"{place} changed ({name}), which `changes` does not declare"


@clause()
def equal_seeds_give_equal_results(method: type[Method], family: str) -> None:
    """Equal seeds give equal results bit for bit, whatever was drawn in between."""
    first = fingerprint(reference(method, family).model)
    torch.rand(3)
    again = fingerprint(pruned(method, family))
    assert same(first, again), f"two runs with one seed differ: {difference(first, again)}"


@clause(
    "methods that read calibration text and train neither weights nor factors",
    when=lambda method: reads_text(method) and not method.capabilities.changes_all_weights,
)
def batch_size_does_not_matter(method: type[Method], family: str) -> None:
    """Batches of 1 and 8 give the same masks, and weights within 1e-4 relative."""
    one, eight = (
        pruned(method, family, calibration=calibration_for(method, batch_size=size))
        for size in (1, 8)
    )
    for block, other in zip(one.blocks, eight.blocks, strict=True):
        weights, others = weights_of(block), weights_of(other)
        kept = f"block {block.index}: batches of 1 and 8 leave different layers"
        assert weights.keys() == others.keys(), kept
        for name, a in weights.items():
            where, b = f"block {block.index}, {name}", others[name]
            assert a.shape == b.shape, f"{where}: batches of 1 and 8 leave different shapes"
            agree = (a == 0) == (b == 0)
            share = float(agree.float().mean()) if agree.numel() else 1.0
            assert share >= 0.999, f"{where}: batches of 1 and 8 remove different weights"
            if bool(agree.all()):
                near = relative_error(a, b) <= 1e-4
                assert near, f"{where}: weights after batches of 1 and 8 differ by more than 1e-4"


@clause("methods that train", when=lambda method: method.capabilities.trains is not None)
def training_course_is_reported(method: type[Method], family: str) -> None:
    """The outcome reports the training: its steps, the tokens read, and losses."""
    course = reference(method, family).outcome.course
    assert course is not None, "`prune` returned no `course`"
    assert course.steps > 0
    assert course.read > 0
    assert 0 < len(course.losses) <= course.steps


@clause("methods that train nothing", when=lambda method: method.capabilities.trains is None)
def blocks_are_opened_one_at_a_time(method: type[Method], family: str) -> None:
    """Weights are used only inside the walk or a visit, so that models may be on disk."""
    shut = ShutModel(tiny_model(family))
    try:
        apply(method, shut)
    except (RuntimeError, NumericsError) as error:  # a shut block has no data, or NaN
        raise AssertionError(f"weights were read while their block was shut: {error}") from error
    whole, walked = fingerprint(reference(method, family).model), fingerprint(shut)
    changed = difference(whole, walked)
    assert same(whole, walked), f"the result differs if only one block is open at a time: {changed}"


HALVES = {f"{part}-{side}" for part in PARTS for side in ("inputs", "outputs")}
"""Kinds of units that `mask_like` does not mask: dimensions that one half of a block uses."""


@clause(
    "methods that remove units and do not change the other weights",
    when=lambda method: (
        set(NAMES) - {"experts", *HALVES} >= set(method.capabilities.granularity)
        and method.capabilities.changes == ("linears",)
        and not method.capabilities.changes_all_weights
    ),
    every=True,
)
def slicing_equals_masking(method: type[Method], family: str) -> None:
    """The smaller model computes the same as the large one with the removed parts masked."""
    model = tiny_model(family, blocks=4)
    silenced = copy.deepcopy(model)
    originals = [block.module for block in model.blocks]
    apply(method, model, sparsity=shares(method, model, 0.3)[0])
    survivors = [originals.index(block.module) for block in model.blocks]
    for index, block in enumerate(silenced.blocks):
        if index in survivors:
            mask_like(model.blocks[survivors.index(index)], block)
        else:  # mask the block by masking its outputs
            for linear in (block.attention.o, block.feed_forward.down):
                silence(linear)
    equal = torch.allclose(logits(model), logits(silenced), rtol=1e-4, atol=1e-4)
    assert equal, "the smaller model does not compute the same as the masked one"


@clause("methods that remove experts", when=removes_experts, every=True)
def remaining_experts_are_unchanged(method: type[Method], family: str) -> None:
    """The remaining experts keep their weights and order, and compute as if others were masked.

    Every block with experts loses equally many, and no other weight changes.
    """
    model = tiny_model(family, blocks=4)
    dense = copy.deepcopy(model)
    apply(method, model, sparsity=shares(method, model, 0.3)[0])
    removed = []
    for small, large in zip(model.blocks, dense.blocks, strict=True):
        for role, linear in small.linears().items():
            unchanged = torch.equal(linear.weight, large.linears()[role].weight)
            assert unchanged, f"block {small.index}, {role} changed"
        if small.experts and large.experts:
            count = model.config.num_experts
            assert small.experts.count == count, (
                f"block {small.index} does not have {count} experts"
            )
            places = [
                positions(kept, weight.detach())
                for kept, weight in zip(
                    small.experts.weights().values(), large.experts.weights().values(), strict=True
                )
            ]
            ordered = places[0] == places[1] == places[2] == sorted(set(places[0]))
            assert ordered, f"block {small.index}: the order of the remaining experts changed"
            removed.append(torch.ones(large.experts.count, dtype=torch.bool))
            removed[-1][places[0]] = False
    assert any(bool(lost.any()) for lost in removed), "no expert was removed"
    with masked(dense, torch.cat(removed), "experts"):
        equal = torch.allclose(logits(model), logits(dense), rtol=1e-4, atol=1e-4)
        assert equal, "the smaller model does not compute the same as the masked one"


@clause(
    "methods that do not train the weights themselves",
    when=lambda method: method.capabilities.trains != "weights",
)
def half_precision_works(method: type[Method], family: str) -> None:
    """A bf16 model stays bf16, loses as many weights as in fp32, and has finite logits."""
    model = tiny_model(family, dtype=torch.bfloat16)
    share = shares(method, model, 0.5)[0]
    apply(method, model, sparsity=share)
    dtypes = {p.dtype for p in model.hf.parameters()}
    assert dtypes == {torch.bfloat16}, f"a bf16 model has parameters of {dtypes}"
    assert bool(logits(model).isfinite().all()), "a bf16 model has logits that are NaN or infinite"
    if not method.capabilities.structured:
        left, wide = count_weights(model), count_weights(pruned(method, family, sparsity=share))
        removed = f"a bf16 model keeps {left.nonzero} weights, the same one in fp32 {wide.nonzero}"
        assert left == wide, removed


@clause(every=True)
def reloads_with_the_same_logits(method: type[Method], family: str) -> None:
    """After saving and reloading, logits and generated tokens are equal, with and without cache."""
    model = reference(method, family).model
    prompt = random_tokens(1, 6, seed=2).ids
    with tempfile.TemporaryDirectory() as folder:
        save_model(model, Path(folder) / "pruned")
        again = load_model(Path(folder) / "pruned", tokenizer=False)
    assert torch.equal(logits(model), logits(again)), "the reloaded model has other logits"
    assert count_weights(model) == count_weights(again), "the reloaded model has other weights"
    outputs = [continued(m, prompt, cache) for m in (model, again) for cache in (True, False)]
    equal = all(torch.equal(outputs[0], other) for other in outputs[1:])
    assert equal, "generated tokens differ after reloading, or with and without a cache"


def outside_linears(model: LanguageModel, blocks: list[Block]) -> dict[Place, dict[str, Tensor]]:
    """Return the parameters of embedding, head, and norms, including those of `blocks`."""
    head = model.hf.get_output_embeddings()
    found: dict[Place, dict[str, Tensor]] = {"embedding": {}, "norms": {}, "head": {}}
    for name, tensor in model.outside().items():
        place: Place = "embedding" if "embed" in name else "norms"
        found["head" if head is not None and tensor is head.weight else place][name] = tensor
    for number, block in enumerate(blocks):
        for path, norm in block.norms.items():
            for name, tensor in norm.state_dict().items():
                found["norms"][f"{number}.{path}.{name}"] = tensor
    return found


def tied(model: LanguageModel) -> bool:
    """Return whether embedding and head share their weight."""
    head = model.hf.get_output_embeddings()
    return head is not None and head.weight is model.embedding


def relative_error(a: Tensor, b: Tensor) -> float:
    """Return the largest difference between two tensors relative to their largest entry."""
    if a.numel() == 0:
        return 0.0
    return float((a - b).detach().abs().max() / a.detach().abs().max().clamp(min=1e-30))


def continued(model: LanguageModel, prompt: Tensor, cache: bool) -> Tensor:
    """Continue a prompt greedily by 16 tokens."""
    with torch.no_grad():
        tokens = model.hf.generate(
            prompt,
            attention_mask=torch.ones_like(prompt),
            max_new_tokens=16,
            min_new_tokens=16,
            do_sample=False,
            use_cache=cache,
        )
    return cast(Tensor, tokens)


def silence(linear: nn.Linear) -> None:
    """Zero all parameters of a layer."""
    with torch.no_grad():
        linear.weight.zero_()
        if linear.bias is not None:
            linear.bias.zero_()


def mask_like(small: Block, large: Block) -> None:
    """Zero the units of `large` that `small` lacks, and copy v and the output weights, with biases.

    The remaining KV groups and channels are identified by the rows of v and up, and by the indices
    of `IndexedLinear`s. Methods that remove KV groups or channels do not change these rows.
    """
    narrow, wide = small.linears(), large.linears()
    size, group = large.attention.head_size, large.attention.group
    groups = torch.arange(large.attention.kv_heads)
    if small.attention.kv_heads < len(groups):
        groups = (rows_left(narrow["v"], wide["v"]) // size).unique()
    assert len(groups) == small.attention.kv_heads, f"block {small.index}: the rows of v changed"
    queries, keys = (
        (groups[:, None] * width + torch.arange(width)).flatten() for width in (group * size, size)
    )
    channels = rows_left(narrow["up"], wide["up"])
    left = {"q": queries, "k": keys, "v": keys, "o": queries}
    left |= dict.fromkeys(narrow.keys() - left.keys(), channels)
    for role, places in left.items():
        dim = 1 if role in ("o", "down") else 0
        held = held_indices(narrow[role], dim)
        kept = places if held is None else places[held]
        equal = len(kept) == narrow[role].weight.shape[dim]
        assert equal, f"block {small.index}, {role}: not the units that v and up keep"
        weight, bias = wide[role].weight, wide[role].bias
        removed = torch.ones(weight.shape[dim], dtype=torch.bool)
        removed[kept] = False
        with torch.no_grad():
            weight.movedim(dim, 0)[removed] = 0
            if dim == 0 and bias is not None:
                bias[removed] = 0
            if role == "v":  # value dimensions may be mixed
                weight[kept] = narrow[role].weight
                if bias is not None:
                    bias[kept] = narrow[role].bias
            if dim == 1:
                weight[:, kept] = narrow[role].weight
                if narrow[role].bias is not None:
                    wide[role].bias = nn.Parameter(narrow[role].bias.clone())


def positions(narrow: Tensor, wide: Tensor) -> list[int]:
    """Return the index in `wide` of each slice of `narrow`, compared by value."""
    equal = (wide[:, None] == narrow[None]).flatten(2).all(dim=-1)  # [wide, narrow]
    assert bool(equal.any(dim=0).all()), "the weights of an expert changed"
    return equal.int().argmax(dim=0).tolist()


def rows_left(narrow: nn.Linear, wide: nn.Linear) -> Tensor:
    """Return the rows of `wide` that are in `narrow`, compared by value."""
    equal = (wide.weight[:, None] == narrow.weight[None]).all(dim=-1)  # [wide, narrow]
    return equal.any(dim=1).nonzero().flatten()
