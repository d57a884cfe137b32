"""The walk sees the model's own activations, shares statistics, and has no side effects."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor

from implementations.harness import (
    BadInput,
    ColumnNorm,
    Gram,
    LanguageModel,
    Moments,
    NumericsError,
    Tokens,
    WalkedBlock,
    keep_units,
    walk,
)
from implementations.harness.contract.tiny import (
    MODEL_TYPES,
    ShutModel,
    random_tokens,
    tiny_model,
)

FAMILIES = list(MODEL_TYPES)
SHARED = {"k": "q", "v": "q", "up": "gate"}
every_family = pytest.mark.parametrize("family", FAMILIES)


class Stream:
    """Store inputs and outputs of a block."""

    def __init__(self, features: int, device: torch.device | str = "cpu") -> None:
        self.x: list[Tensor] = []
        self.y: list[Tensor] = []

    def update(self, x: Tensor, y: Tensor) -> None:
        self.x.append(x.clone())  # [tokens, hidden]
        self.y.append(y.clone())

    def finite(self) -> bool:
        return True


def passing(block: WalkedBlock) -> Stream:
    """Run a block and store its inputs and outputs."""
    seen = Stream(0)
    for x, y in block.run():
        seen.update(x.flatten(0, 1), y.flatten(0, 1))
    return seen


class Inputs(Stream):
    """Store the inputs of a linear layer."""

    def update(self, x: Tensor) -> None:
        self.x.append(x.flatten(end_dim=-2).clone())


@contextmanager
def streams(model: LanguageModel) -> Iterator[list[Stream]]:
    """Store inputs and outputs of every block in the model's own forward pass."""
    seen = [Stream(0) for _ in model.layers]

    def keep(stream: Stream):
        return lambda module, args, out: stream.update(args[0].flatten(0, 1), out.flatten(0, 1))

    handles = [
        layer.register_forward_hook(keep(stream))
        for layer, stream in zip(model.layers, seen, strict=True)
    ]
    yield seen
    for handle in handles:
        handle.remove()


def run(model: LanguageModel, tokens: Tokens) -> Tensor:
    """Return the model's own logits, computed in the micro-batches of `tokens`."""
    with torch.no_grad():
        return torch.cat(
            [model.hf(input_ids=ids, use_cache=False).logits for ids in tokens.batches()]
        )


def own_streams(model: LanguageModel, tokens: Tokens) -> list[Stream]:
    with streams(model) as seen:
        run(model, tokens)
    return seen


def looked_at(model: LanguageModel, tokens: Tokens) -> list[Stream]:
    return [passing(b) for b in walk(model, tokens, edits=False)]


def assert_same_streams(ours: list[Stream], own: list[Stream]) -> None:
    for index, (a, b) in enumerate(zip(ours, own, strict=True)):
        assert torch.equal(torch.cat(a.x), torch.cat(b.x)), f"input of block {index}"
        assert torch.equal(torch.cat(a.y), torch.cat(b.y)), f"output of block {index}"


# Activations


@every_family
def test_walk_sees_the_models_own_activations(family: str):
    model, tokens = tiny_model(family, blocks=4), random_tokens()
    dense = run(model, tokens)
    assert_same_streams(looked_at(model, tokens), own_streams(model, tokens))
    assert torch.equal(run(model, tokens), dense)


@every_family
def test_walk_advances_without_observing(family: str):
    model, tokens = tiny_model(family, blocks=3), random_tokens()
    for edits in (True, False):
        *_, last = walk(model, tokens, edits=edits)
        assert torch.equal(
            torch.cat(last.boundary.hidden).flatten(0, 1),
            torch.cat(own_streams(model, tokens)[-1].x),
        )


@every_family
def test_layers_with_the_same_input_share_a_statistic(family: str):
    for block in walk(tiny_model(family), random_tokens()):
        grams, linears = block.observe(Gram), block.linears()
        assert list(grams) == list(linears)
        groups = [(gram, list(readers)) for gram, readers in block.sharing(grams)]
        for role, gram in grams.items():
            collector = SHARED.get(role)
            assert gram is grams[collector if collector in grams else role]
        up = ["gate", "up"] if "gate" in linears else ["up"]
        assert [roles for _, roles in groups] == [["q", "k", "v"], ["o"], up, ["down"]]
        assert len({id(gram) for gram, _ in groups}) == 4


@every_family
def test_statistics_use_each_layers_own_input(family: str):
    tokens = random_tokens()
    for block in walk(tiny_model(family), tokens):
        grams, norms, inputs = (block.observe(s) for s in (Gram, ColumnNorm, Inputs))
        for role, linear in block.linears().items():
            x = torch.cat(inputs[role].x)  # [tokens, in]
            assert x.shape == (tokens.ids.numel(), linear.in_features)
            assert grams[role].count == len(x)
            torch.testing.assert_close(grams[role].matrix, x.T @ x, rtol=1e-4, atol=1e-4)
            torch.testing.assert_close(norms[role].norms, x.norm(dim=0), rtol=1e-4, atol=1e-5)


class Shapes(Stream):
    """Store the shapes of the inputs of a linear layer."""

    def update(self, x: Tensor) -> None:
        self.x.append(x.shape[:-1])


@every_family
def test_statistics_get_whole_samples(family: str):
    for block in walk(tiny_model(family), random_tokens(3, 8, batch_size=2)):
        for seen in block.observe(Shapes).values():
            assert seen.x == [(2, 8), (1, 8)]


def test_observes_only_requested_roles():
    block = next(walk(tiny_model(), random_tokens()))
    assert list(block.observe(Gram, "up")) == ["up"]  # alone, without the gate that collects it
    seen = block.observe(Gram, "v", "q", "o")
    assert list(seen) == ["v", "q", "o"]
    assert seen["v"] is seen["q"]
    assert seen["q"] is not block.observe(Gram, "q")["q"]


def test_refuses_unknown_layer():
    for family, place in (("llama", "fc1"), ("opt", "gate")):
        block = next(walk(tiny_model(family), random_tokens()))
        with pytest.raises(BadInput, match=f"no layer '{place}'; use q, k, v, o"):
            block.observe(Gram, place)


# Differences between families


@pytest.mark.parametrize("first", ["sliding_attention", "full_attention"])
def test_gemma3_blocks_get_their_own_mask_and_rotary_embedding(first: str):
    kinds = ["sliding_attention", "full_attention"]
    kinds = kinds if kinds[0] == first else kinds[::-1]
    tokens = random_tokens(length=24)  # three windows long
    model = tiny_model("gemma3", layer_types=kinds)
    ours = looked_at(model, tokens)
    assert_same_streams(ours, own_streams(model, tokens))
    mixed = tiny_model("gemma3", layer_types=[first, first])  # the same weights, one kind of block
    assert not torch.equal(torch.cat(looked_at(mixed, tokens)[1].y), torch.cat(ours[1].y))


@pytest.mark.parametrize(("length", "matters"), [(8, False), (9, True), (24, True)])
def test_sliding_windows_shorter_than_the_sequence(length: int, matters: bool):
    tokens = random_tokens(length=length)
    narrow, wide = (tiny_model("mistral", sliding_window=size) for size in (8, 128))
    ours = looked_at(narrow, tokens)
    assert_same_streams(ours, own_streams(narrow, tokens))
    same = torch.equal(torch.cat(ours[-1].y), torch.cat(looked_at(wide, tokens)[-1].y))
    assert same is not matters


# Edits


@every_family
def test_each_block_sees_earlier_edits(family: str):
    model, tokens = tiny_model(family, blocks=3), random_tokens()
    dense = own_streams(model, tokens)
    seen = []
    for block in walk(model, tokens):
        seen.append(passing(block))
        with torch.no_grad():
            block.attention.v.weight[::2] = 0
            block.feed_forward.down.weight[:, ::2] = 0
    pruned = own_streams(model, tokens)
    for index, (ours, own, before) in enumerate(zip(seen, pruned, dense, strict=True)):
        x = torch.cat(ours.x)
        assert torch.equal(x, torch.cat(own.x)), f"input of block {index}"
        assert torch.equal(x, torch.cat(before.x)) is (index == 0)


def test_walk_without_edits_observes_each_block_once():
    for block in walk(tiny_model(), random_tokens(), edits=False):
        block.observe(Gram)
        with pytest.raises(BadInput, match="once"):
            block.observe(Gram)


# The original model (`beside`)


def halved(block: WalkedBlock) -> None:
    """Edit a block, by weights and by shape."""
    with torch.no_grad():
        block.attention.v.weight[::2] = 0
    keep_units(block, "channels", range(0, 48, 2))


@every_family
@pytest.mark.parametrize("first", ["look", "edit"])
def test_beside_is_the_original_model(family: str, first: str):
    model, tokens = tiny_model(family, blocks=4), random_tokens()
    dense, beside, seen = own_streams(model, tokens), [], []
    for block in walk(model, tokens, beside=True):
        if first == "edit":
            halved(block)
        seen.append(passing(block))
        beside.append(passing(block.beside))
        if first == "look":
            halved(block)
    assert_same_streams(beside, dense)
    pruned = own_streams(model, tokens)
    for index, (ours, own) in enumerate(zip(seen, pruned, strict=True)):
        assert torch.equal(torch.cat(ours.x), torch.cat(own.x)), f"input of block {index}"
        assert torch.equal(torch.cat(ours.x), torch.cat(dense[index].x)) is (index == 0)


def test_both_models_have_the_same_micro_batches():
    model, tokens = tiny_model(blocks=3), random_tokens()
    expected = []
    for block in walk(tiny_model(blocks=3), tokens):
        expected.append(block.observe(Gram, "down")["down"].matrix)
    for block in walk(model, tokens, beside=True):
        halved(block)
        with block.beside.watching(Gram, "down") as dense:
            for (x, _), (was, _) in zip(block.run(), block.beside.run(), strict=True):
                assert x.shape == was.shape
                assert torch.equal(x, was) is (block.index == 0)
        assert torch.equal(dense["down"].matrix, expected[block.index])


def test_beside_opens_no_other_block():
    tokens, outputs = random_tokens(), []
    for model in (tiny_model(blocks=3), ShutModel(tiny_model(blocks=3))):
        for block in walk(model, tokens, beside=True):
            halved(block)
            outputs.append(torch.cat(passing(block.beside).y))
    for a, b in zip(outputs[:3], outputs[3:], strict=True):
        assert torch.equal(a, b)


def test_beside_must_be_requested():
    with pytest.raises(BadInput, match="beside=True"):
        _ = next(walk(tiny_model(), random_tokens())).beside


# Batches and dtypes


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_boundary_has_the_models_dtype_and_statistics_are_wider(dtype: torch.dtype):
    for block in walk(tiny_model(dtype=dtype), random_tokens()):
        gram, moments = block.observe(Gram, "q")["q"], block.observe(Moments, "o")["o"]
        norm = block.observe(ColumnNorm, "down")["down"]
        assert {h.dtype for h in block.boundary.hidden} == {dtype}
        assert {h.device.type for h in block.boundary.hidden} == {"cpu"}
        assert gram.matrix.dtype == norm.norms.dtype == torch.float32
        assert moments.mean.dtype == torch.float64


# Side effects


def state(model: LanguageModel) -> dict[str, object]:
    modules = list(model.hf.modules())
    return {
        "hooks": [(len(m._forward_hooks), len(m._forward_pre_hooks)) for m in modules],
        "patched": ["forward" in vars(m) for m in modules],
        "training": [m.training for m in modules],
        "requires_grad": [p.requires_grad for p in model.hf.parameters()],
        "use_cache": model.config.use_cache,
        "devices": [p.device for p in model.hf.parameters()],
        "grad_enabled": torch.is_grad_enabled(),
    }


class Failing(Gram):
    """A statistic that fails in the middle of a pass."""

    def update(self, x: Tensor) -> None:
        raise RuntimeError("on purpose")


def to_the_end(model: LanguageModel, tokens: Tokens, edits: bool) -> None:
    for block in walk(model, tokens, edits=edits):
        block.observe(Gram)
        for parameter in block.module.parameters():
            parameter.requires_grad_(False)
        block.module.train()
        model.config.use_cache = block.index % 2 == 0


def beside(model: LanguageModel, tokens: Tokens, edits: bool) -> None:
    for block in walk(model, tokens, edits=edits, beside=True):
        block.beside.observe(Gram)
        block.beside.module.train()


def with_break(model: LanguageModel, tokens: Tokens, edits: bool) -> None:
    for block in walk(model, tokens, edits=edits):
        block.observe(Gram)
        if block.index == 1:
            break


def failing_in_the_body(model: LanguageModel, tokens: Tokens, edits: bool) -> None:
    for block in walk(model, tokens, edits=edits):
        block.observe(Gram)
        raise RuntimeError("on purpose")


def failing_in_a_statistic(model: LanguageModel, tokens: Tokens, edits: bool) -> None:
    for block in walk(model, tokens, edits=edits):
        block.observe(Failing, "o")


def failing_in_a_block(model: LanguageModel, tokens: Tokens, edits: bool) -> None:
    for block in walk(model, tokens, edits=edits):
        with torch.no_grad():
            block.attention.v.weight[0] = float("nan")


def failing_in_the_capture(model: LanguageModel, tokens: Tokens, edits: bool) -> None:
    beyond = Tokens.from_ids(tokens.ids + model.vocabulary_size)
    next(walk(model, beyond, edits=edits))


@pytest.mark.parametrize("edits", [True, False])
@pytest.mark.parametrize(
    ("way", "error"),
    [
        (to_the_end, None),
        (beside, None),
        (with_break, None),
        (failing_in_the_body, RuntimeError),
        (failing_in_a_statistic, RuntimeError),
        (failing_in_a_block, NumericsError),
        (failing_in_the_capture, IndexError),
    ],
)
def test_restores_the_model(way, error, edits: bool):
    model, tokens = tiny_model(blocks=3), random_tokens()
    model.hf.train()
    model.blocks[1].module.eval()  # a mixture must come back as a mixture
    model.blocks[0].attention.q.weight.requires_grad_(False)
    before = state(model)
    if error is None:
        way(model, tokens, edits)
    else:
        with pytest.raises(error):
            way(model, tokens, edits)
    assert state(model) == before


def test_walk_runs_in_evaluation_mode():
    tokens = random_tokens()
    model, training = (tiny_model("opt", dropout=0.5) for _ in range(2))
    training.hf.train()  # dropout would change every value
    assert_same_streams(looked_at(training, tokens), own_streams(model, tokens))


# Values that are not finite


@pytest.mark.parametrize("edits", [True, False])
@pytest.mark.parametrize(
    ("role", "named"), [("v", "block 1, o"), ("up", "block 1, down"), ("down", "block 1")]
)
def test_error_names_block_and_layer_of_values_that_are_not_finite(edits, role, named):
    model = tiny_model(blocks=3)
    with torch.no_grad():
        model.blocks[1].linears()[role].weight[0, 0] = float("inf")

    def look() -> None:
        for block in walk(model, random_tokens(), edits=edits):
            block.observe(Gram)

    with pytest.raises(NumericsError, match=f"{named}\\b.*check the weights"):
        look()
