"""The clauses of the contract: each checks one promise of a method on one tiny model family.

A clause raises `AssertionError` where the promise is broken; it says beside it, in words and as a
condition, which methods it covers.
"""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import GPT2Config, GPT2LMHeadModel

from implementations.harness.contract.tiny import CONFIGS, VOCABULARY, random_tokens, tiny_model
from implementations.harness.data.text import Tokens
from implementations.harness.errors import BadInput, NumericsError
from implementations.harness.model.checkpoint import save
from implementations.harness.model.loading import load_model
from implementations.harness.model.view import Block, LanguageModel
from implementations.harness.prune.method import Method, Weights, count_weights, parse_pattern

PATTERNS = ("1:4", "2:4", "4:8")
SHARES = (0.25, 0.5, 0.75)  # whole numbers of weights in every row, block and matrix of the models
NONSENSE: tuple[dict[str, Any], ...] = (
    {"sparsity": 1.5},
    {"sparsity": -0.1},
    {"sparsity": float("nan")},
    {"no_such_parameter": 1},
)
NO_PATTERNS = ("5:4", "0:4", "x")

Check = Callable[[type[Method], str], None]


@dataclass(frozen=True)
class Clause:
    """One promise: how it is checked, and what it covers."""

    check: Check
    covers: str
    when: Callable[[type[Method]], bool]
    families: Callable[[type[Method]], Iterable[str]]


CLAUSES: list[Clause] = []
"""All clauses in the order they run."""


def served(method: type[Method]) -> list[str]:
    """List the families that the method does not refuse."""
    return [family for family in CONFIGS if family not in method.capabilities.refuses]


def clause(
    covers: str = "every method",
    when: Callable[[type[Method]], bool] = lambda method: True,
    families: Callable[[type[Method]], Iterable[str]] = served,
) -> Callable[[Check], Check]:
    """Make a function a clause that covers, in words and by condition, some of the methods."""

    def register(check: Check) -> Check:
        CLAUSES.append(Clause(check, covers, when, families))
        return check

    return register


def calibrated(method: type[Method]) -> bool:
    """Say whether the method reads calibration text."""
    return method.capabilities.calibration != "none"


def takes_patterns(method: type[Method]) -> bool:
    """Say whether the method knows N:M patterns."""
    return "pattern" in method.model_fields


def calibration_for(method: type[Method], **changes: Any) -> Tokens | None:
    """Return random tokens for a method that needs calibration, None for one that does not."""
    return None if method.capabilities.calibration == "none" else random_tokens(**changes)


def pruned(
    method: type[Method], family: str, *, batch_size: int | None = None, **settings: Any
) -> LanguageModel:
    """Return a tiny model of `family` pruned by the method with `settings`."""
    model = tiny_model(family)
    calibration = calibration_for(method, **({"batch_size": batch_size} if batch_size else {}))
    method.configure(**settings).apply(model, calibration)
    return model


def logits(model: LanguageModel, tokens: Tokens | None = None) -> Tensor:
    """Return the logits of some tokens none of the methods has seen, `[samples, length, words]`."""
    ids = (tokens or random_tokens(3, 20, seed=1)).ids
    with torch.no_grad():
        return cast(Tensor, model.hf(input_ids=ids, use_cache=False).logits)


def fingerprint(model: LanguageModel) -> dict[str, Tensor]:
    """Copy every parameter and buffer by name."""
    return {name: tensor.clone() for name, tensor in model.hf.state_dict().items()}


def same(before: dict[str, Tensor], after: dict[str, Tensor]) -> bool:
    """Say whether two fingerprints agree to the bit, NaN equal to itself."""
    return before.keys() == after.keys() and all(
        before[name].shape == after[name].shape
        and torch.equal(before[name].nan_to_num(7.0), after[name].nan_to_num(7.0))
        for name in before
    )


@clause()
def zero_budget_is_the_identity(method: type[Method], family: str) -> None:
    """With nothing to remove, no bit of the model changes."""
    model = tiny_model(family)
    before = fingerprint(model)
    outcome = method.configure(sparsity=0).apply(model, calibration_for(method))
    assert same(before, fingerprint(model))
    assert outcome.asked == outcome.achieved == 0


@clause()
def share_is_met(method: type[Method], family: str) -> None:
    """The share asked for is met to the weight; a budget within half of the largest unit."""
    for share in SHARES:
        model = tiny_model(family, blocks=4)
        dense = count_weights(model)
        allowed = largest_unit(method, model) / 2 if method.capabilities.structured else 0
        outcome = method.configure(sparsity=share).apply(model, calibration_for(method))
        left = count_weights(model)
        gone = dense.all - (left.all if method.capabilities.structured else left.nonzero)
        assert abs(gone - share * dense.all) <= allowed + 1e-6
        assert outcome.asked == share
        assert abs(outcome.achieved * dense.all - gone) < 1e-3


@clause()
def everything_goes_or_is_refused(method: type[Method], family: str) -> None:
    """All weights can go; a budget that would empty the model is refused."""
    model = tiny_model(family)
    before = fingerprint(model)
    everything = method.configure(sparsity=1)
    if method.capabilities.structured:
        message = refusal(everything.apply, model, calibration_for(method))
        assert "empty" in message
        assert same(before, fingerprint(model))
    else:
        everything.apply(model, calibration_for(method))
        assert count_weights(model).nonzero == 0


@clause("methods that know N:M patterns", when=takes_patterns)
def patterns_hold_in_every_group(method: type[Method], family: str) -> None:
    """N:M holds in every group of every row, for 1:4 as well as 2:4."""
    for text in PATTERNS:
        pattern = parse_pattern(text)
        for _, _, linear in pruned(method, family, pattern=text).linears():
            groups = linear.weight.unflatten(1, (-1, pattern.group))  # [out, groups, group]
            assert bool((groups.count_nonzero(dim=-1) == pattern.keep).all())


@clause("methods that know N:M patterns", when=takes_patterns)
def pattern_must_divide(method: type[Method], family: str) -> None:
    """A pattern that does not divide a layer is refused by name of block and layer."""
    model = tiny_model(family)
    before = fingerprint(model)
    settings: dict[str, Any] = {"pattern": "3:7"}
    if "block_size" in method.model_fields:
        settings["block_size"] = 7
    message = refusal(method.configure(**settings).apply, model, calibration_for(method))
    assert "3:7" in message
    assert "block 0, q" in message
    assert same(before, fingerprint(model))


@clause()
def only_the_blocks_linears_change(method: type[Method], family: str) -> None:
    """Embeddings, norms and head stay bit-identical, tied ones stay tied."""
    model = tiny_model(family)
    dense = copy.deepcopy(model)
    originals = [block.module for block in model.blocks]
    method.configure().apply(model, calibration_for(method))
    for name, parameter in outside_blocks(model):
        assert torch.equal(parameter, dict(outside_blocks(dense))[name]), name
    for block in model.blocks:
        before = dense.blocks[originals.index(block.module)]
        for path, norm in block.norms.items():
            assert same(dict(norm.state_dict()), dict(before.norms[path].state_dict())), path
    assert tied(model) == tied(dense)


@clause()
def same_seed_same_result(method: type[Method], family: str) -> None:
    """Twice the same is twice the same, to the bit."""
    assert same(fingerprint(pruned(method, family)), fingerprint(pruned(method, family)))


@clause("methods that read calibration text", when=calibrated)
def batch_size_does_not_matter(method: type[Method], family: str) -> None:
    """Batches of 1 and 8 give the same masks, and weights within 1e-4 relative."""
    one, eight = (pruned(method, family, batch_size=size) for size in (1, 8))
    for (block, role, a), (_, _, b) in zip(one.linears(), eight.linears(), strict=True):
        where = f"block {block.index}, {role}"
        assert a.weight.shape == b.weight.shape, where
        agree = (a.weight == 0) == (b.weight == 0)
        assert agree.float().mean() >= 0.999 if agree.numel() else True, where
        if bool(agree.all()):
            assert relative_error(a.weight, b.weight) <= 1e-4, where


@clause("methods that remove whole units", when=lambda method: method.capabilities.structured)
def slicing_equals_masking(method: type[Method], family: str) -> None:
    """The smaller model computes what the large one does with the removed parts silenced."""
    model = tiny_model(family, blocks=4)
    masked = copy.deepcopy(model)
    originals = [block.module for block in model.blocks]
    method.configure(sparsity=0.4).apply(model, calibration_for(method))
    survivors = [originals.index(block.module) for block in model.blocks]
    for index, block in enumerate(masked.blocks):
        if index in survivors:
            mask_like(model.blocks[survivors.index(index)], block)
        else:  # a block that writes nothing into the residual stream is not there
            for linear in (block.attention.o, block.feed_forward.down):
                silence(linear)
    assert torch.allclose(logits(model), logits(masked), rtol=1e-4, atol=1e-4)


@clause()
def state_is_restored(method: type[Method], family: str) -> None:
    """Hooks, modes, flags, dtypes and devices are as before."""
    for training in (False, True):
        model = tiny_model(family)
        model.hf.train(training)
        frozen = next(model.hf.parameters()).requires_grad_(False)
        before = state(model)
        method.configure().apply(model, calibration_for(method))
        assert state(model) == before
        assert not frozen.requires_grad


@clause("methods that read calibration text", when=calibrated)
def state_is_restored_after_an_exception(method: type[Method], family: str) -> None:
    """The same holds when a pass through the last block is interrupted."""
    model = tiny_model(family)
    model.hf.train()
    before = state(model)

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    handle = model.layers[-1].register_forward_pre_hook(interrupt)
    try:
        method.configure().apply(model, calibration_for(method))
    except KeyboardInterrupt:
        pass
    else:
        raise AssertionError("the method never ran the last block")
    finally:
        handle.remove()
    assert state(model) == before


@clause()
def half_precision_works(method: type[Method], family: str) -> None:
    """A bf16 model is pruned in bf16, exactly as much, and still computes."""
    model = tiny_model(family, dtype=torch.bfloat16)
    dense = count_weights(model)
    method.configure(sparsity=0.5).apply(model, calibration_for(method))
    assert {p.dtype for p in model.hf.parameters()} == {torch.bfloat16}
    assert bool(logits(model).isfinite().all())
    if not method.capabilities.structured:
        assert count_weights(model) == Weights(dense.all, dense.all // 2)


@clause()
def reloads_with_the_same_logits(method: type[Method], family: str) -> None:
    """Saved and reloaded, it gives the same logits and continues a prompt alike, cache or not."""
    model = pruned(method, family)
    prompt = random_tokens(1, 6, seed=2).ids
    with tempfile.TemporaryDirectory() as folder:
        save(model, Path(folder) / "pruned")
        again = load_model(Path(folder) / "pruned", tokenizer=False)
    assert torch.equal(logits(model), logits(again))
    assert count_weights(model) == count_weights(again)
    told = [continued(m, prompt, cache) for m in (model, again) for cache in (True, False)]
    assert all(torch.equal(told[0], other) for other in told[1:])


@clause()
def nonsense_is_refused(method: type[Method], family: str) -> None:
    """Wrong parameters and damaged weights are refused with a message, the model as it was."""
    for settings in NONSENSE:
        refusal(method.configure, **settings)
    if takes_patterns(method):
        for text in NO_PATTERNS:
            assert text in refusal(method.configure, pattern=text)
        refusal(method.configure, pattern="2:4", sparsity=0.7)
    for damage in damaged(family):
        before = fingerprint(damage)
        message = refusal(method.configure().apply, damage, calibration_for(method))
        assert "block 1" in message
        assert same(before, fingerprint(damage))


@clause("methods that read calibration text", when=calibrated)
def bad_calibration_is_refused(method: type[Method], family: str) -> None:
    """No calibration, an empty one, or ids beyond the vocabulary are refused."""
    model = tiny_model(family)
    before = fingerprint(model)
    refusal(random_tokens, 0)  # samples without a token cannot even be made
    for calibration in (None, random_tokens(vocabulary=VOCABULARY * 9)):
        refusal(method.configure().apply, model, calibration)
        assert same(before, fingerprint(model))


@clause(families=lambda method: ["gpt2"])
def unsupported_family_is_named(method: type[Method], family: str) -> None:
    """A family without an adapter is named, with the supported ones."""
    config = GPT2Config(n_layer=1, n_head=2, n_embd=8, vocab_size=16, n_positions=8)
    message = refusal(LanguageModel, GPT2LMHeadModel(config))
    assert "gpt2" in message
    assert "llama" in message


@clause(
    "families that a method refuses", families=lambda method: method.capabilities.refuses.keys()
)
def refused_family_says_why(method: type[Method], family: str) -> None:
    """A family that the method refuses is refused with the declared reason."""
    model = tiny_model(family)
    before = fingerprint(model)
    message = refusal(method.configure().apply, model, calibration_for(method))
    assert method.capabilities.refuses[family] in message
    assert same(before, fingerprint(model))


def refusal(action: Callable[..., Any], *arguments: Any, **settings: Any) -> str:
    """Return the message that refuses `action`; raises `AssertionError` where nothing does."""
    try:
        action(*arguments, **settings)
    except (BadInput, NumericsError) as error:
        message = str(error)
    else:
        raise AssertionError("was not refused")
    assert len(message) > 20, f"too short to help: {message}"
    return message


def damaged(family: str) -> Iterator[LanguageModel]:
    """Yield models with one NaN and one infinite weight in their second block."""
    for value in (float("nan"), float("inf")):
        model = tiny_model(family)
        with torch.no_grad():
            model.blocks[1].feed_forward.up.weight[3, 5] = value
        yield model


def largest_unit(method: type[Method], model: LanguageModel) -> int:
    """Count the weights of the largest unit that the method removes whole."""
    block = model.blocks[0]
    attention, hidden = block.attention, block.feed_forward.up.in_features
    sizes = {
        "blocks": sum(linear.weight.numel() for linear in block.linears().values()),
        "kv-groups": (2 * attention.group + 2) * attention.head_size * hidden,
        "channels": 3 * hidden,
    }
    return max(sizes[granularity] for granularity in method.capabilities.granularity)


def outside_blocks(model: LanguageModel) -> list[tuple[str, Tensor]]:
    """List the parameters that belong to no decoder block, by name."""
    inside = {id(p) for p in model.layers.parameters()}
    return [(n, p) for n, p in model.hf.named_parameters() if id(p) not in inside]


def tied(model: LanguageModel) -> bool:
    """Say whether embedding and head share their weight."""
    head = model.hf.get_output_embeddings()
    return head is not None and head.weight is model.hf.get_input_embeddings().weight


def state(model: LanguageModel) -> dict[str, Any]:
    """Collect what pruning must leave as it was: hooks, modes, flags, dtypes and devices."""
    modules = list(model.hf.modules())
    return {
        "hooks": sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in modules),
        "backward hooks": sum(len(m._backward_hooks) for m in modules),
        "patched": [name for name, m in model.hf.named_modules() if "forward" in vars(m)],
        "training": {m.training for m in modules},
        "use_cache": model.config.use_cache,
        "dtypes": {p.dtype for p in model.hf.parameters()},
        "devices": {p.device for p in model.hf.parameters()},
    }


def continued(model: LanguageModel, prompt: Tensor, cache: bool) -> Tensor:
    """Continue a prompt by 16 tokens, greedily."""
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


def relative_error(a: Tensor, b: Tensor) -> float:
    """Return the largest difference between two tensors relative to their largest entry."""
    if a.numel() == 0:
        return 0.0
    return float((a - b).detach().abs().max() / a.detach().abs().max().clamp(min=1e-30))


def silence(linear: nn.Linear) -> None:
    """Make a layer put out zero."""
    with torch.no_grad():
        linear.weight.zero_()
        if linear.bias is not None:
            linear.bias.zero_()


def mask_like(small: Block, large: Block) -> None:
    """Zero in `large` what `small` no longer has, and give it the same output weights and biases.

    What is left is found by the rows of v and up, which no method of this kind changes.
    """
    narrow, wide = small.linears(), large.linears()
    for entry, exit_ in (("v", "o"), ("up", "down")):
        narrow_in, wide_in = narrow[entry], wide[entry]
        narrow_out, wide_out = narrow[exit_], wide[exit_]
        equal = (wide_in.weight[:, None] == narrow_in.weight[None]).all(dim=-1)  # [wide, narrow]
        kept = equal.any(dim=1)
        assert int(kept.sum()) == narrow_in.out_features
        if entry == "v":  # from value channels to the channels o reads
            size, group = large.attention.head_size, large.attention.group
            kept = kept.view(-1, 1, size).expand(-1, group, size).flatten()
        with torch.no_grad():
            wide_out.weight.zero_()
            wide_out.weight[:, kept] = narrow_out.weight
            if narrow_out.bias is not None:
                wide_out.bias = nn.Parameter(narrow_out.bias.clone())
