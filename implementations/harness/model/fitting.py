"""Weights and configuration compared, name by name and shape by shape, before a weight is read."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor
from transformers import PreTrainedModel

from implementations.harness.errors import BadInput, in_short
from implementations.harness.model.modeling_pruned import FEATURES, INDICES

FLOATS = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
BLOCK = re.compile(r"\blayers\.(\d+)\.")


def fitted(
    folder: Path, model: PreTrainedModel, weights: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Return `weights` by the names that `model`, built without data, has for them.

    Checkpoints of old hold more than a model needs: buffers that it computes itself, and a head
    that is tied to the embedding. Those are left out, the head if it equals the embedding.

    Raises:
        BadInput: a weight is missing, unexpected, of another shape, not of floating point, or
            shares its bytes with others, with the number of them and an example; or what says
            which rows or columns an indexed layer holds cannot be.
    """
    expected = model.state_dict(keep_vars=True)
    held = _named_alike(folder, weights, expected, f"{model.base_model_prefix}.")
    for first, *others in _tied(expected):
        expected = {name: tensor for name, tensor in expected.items() if name not in others}
        _untie(folder, held, [first, *others])
    computed = {name.rpartition(".")[2] for name, _ in model.named_buffers()}
    computed -= {name.rpartition(".")[2] for name in expected}
    missing = [name for name in expected if name not in held]
    unexpected = [
        name for name in held if name not in expected and name.rpartition(".")[2] not in computed
    ]
    other = [
        f"{name} of {list(held[name].shape)} in place of {list(tensor.shape)}"
        for name, tensor in expected.items()
        if name in held and held[name].shape != tensor.shape
    ]
    complaints = [
        _counted(names, what)
        for names, what in (
            (missing, "missing"),
            (unexpected, "unexpected"),
            (other, "of another shape"),
        )
        if names
    ]
    if complaints:
        raise BadInput(
            f"the weights in {folder} do not fit its configuration{_blocks(held, expected)}: "
            f"{'; '.join(complaints)}. Take both from the same model."
        )
    found = {name: held[name] for name in expected}
    indices = [name for name, tensor in expected.items() if not tensor.is_floating_point()]
    for name in indices:
        _check_places(folder, model, name, found[name])
    _check_storage(folder, {name: t for name, t in found.items() if name not in indices})
    return found


def _named_alike(
    folder: Path, weights: Mapping[str, Tensor], expected: Iterable[str], prefix: str
) -> dict[str, Tensor]:
    """Return the weights by the model's names, whether or not theirs begin with the prefix."""
    full = {name.removeprefix(prefix): name for name in expected}
    held: dict[str, Tensor] = {}
    for name, tensor in weights.items():
        known = full.get(name.removeprefix(prefix), name)
        if known in held:
            raise BadInput(f"the weights in {folder} hold {in_short(known, 100)} twice")
        held[known] = tensor
    return held


def _tied(expected: Mapping[str, Tensor]) -> list[list[str]]:
    """Return the groups of names that stand for one and the same parameter."""
    names = defaultdict(list)
    for name, tensor in expected.items():
        names[id(tensor)].append(name)
    return [group for group in names.values() if len(group) > 1]


def _untie(folder: Path, held: dict[str, Tensor], names: list[str]) -> None:
    """Leave of tied weights the first name only; raise `BadInput` if they differ."""
    there = [name for name in names if name in held]
    tensors = [held.pop(name) for name in there]
    for name, tensor in zip(there[1:], tensors[1:], strict=True):
        if not _same(tensors[0], tensor):
            raise BadInput(
                f"the configuration in {folder} ties {name} to {there[0]}, and the weights have "
                "different values for them: set tie_word_embeddings to false in config.json"
            )
    if tensors:
        held[names[0]] = tensors[0]


def _same(one: Tensor, other: Tensor) -> bool:
    if (one.shape, one.dtype) != (other.shape, other.dtype):
        return False
    return one.data_ptr() == other.data_ptr() or torch.equal(one, other)


def _counted(names: list[str], what: str) -> str:
    return f"{len(names):,} are {what}, such as {in_short(names[0], 120)}"


def _blocks(held: Iterable[str], expected: Iterable[str]) -> str:
    """Say so when they differ in the number of blocks, which explains the rest."""
    has, says = (
        {m[1] for name in names if (m := BLOCK.search(name))} for names in (held, expected)
    )
    if len(has) == len(says):
        return ""
    return f", which says num_hidden_layers {len(says)} where they have {len(has)} blocks"


def _check_places(folder: Path, model: PreTrainedModel, name: str, places: Tensor) -> None:
    path, _, index = name.rpartition(".")
    width = getattr(model.get_submodule(path), FEATURES[INDICES.index(index)])
    if places.dtype != torch.int64:
        wrong = f"is {places.dtype}, not torch.int64"
    elif bool(((places < 0) | (places >= width)).any()):
        wrong = f"goes beyond the {width} that there are"
    elif bool((places.diff() <= 0).any()):
        wrong = "is not ascending"
    else:
        return
    raise BadInput(
        f"the weights in {folder} do not say which {index} are left: {name} {wrong}; "
        "fetch them again"
    )


def _check_storage(folder: Path, weights: Mapping[str, Tensor]) -> None:
    for name, tensor in weights.items():
        if tensor.dtype not in FLOATS:
            raise BadInput(
                f"the weights in {folder} are no plain numbers: {name} is {tensor.dtype}; "
                "load the checkpoint in full precision instead"
            )
    # Empty tensors lie in a file where the next one begins.
    storages = [tensor.untyped_storage() for tensor in weights.values() if tensor.numel()]
    stored = {storage.data_ptr(): storage.nbytes() for storage in storages}
    if sum(tensor.nbytes for tensor in weights.values()) > sum(stored.values()):
        raise BadInput(f"the weights in {folder} share their bytes, so they are damaged")
