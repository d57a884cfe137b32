"""An edit on trial: it holds, other layers are left alone, and afterwards nothing tells of it."""

import pytest
import torch

from implementations.harness.contract.probes import fingerprint, logits, same
from implementations.harness.contract.tiny import MODEL_TYPES, ShutModel, tiny_model
from implementations.harness.model.surgery import mask_units
from implementations.harness.model.view import Block
from implementations.harness.prune.trial import on_trial


def narrow(block: Block) -> None:
    """Keep half of the value dimensions."""
    mask_units(block, "value-dims", range(block.attention.head_size // 2))


@pytest.mark.parametrize("family", MODEL_TYPES)
def test_an_edit_holds_and_leaves_no_trace(family):
    model, edited = tiny_model(family), tiny_model(family)
    before = fingerprint(model)
    narrow(edited.blocks[1])
    with on_trial(model, model.blocks[1], narrow, "v", "o"):
        assert same(fingerprint(edited), fingerprint(model))
        assert torch.equal(logits(edited), logits(model))
    assert same(before, fingerprint(model))


def test_weights_and_biases_come_back_however_it_ends():
    model = tiny_model("qwen2")
    before = fingerprint(model)
    with pytest.raises(KeyboardInterrupt), on_trial(model, model.blocks[0], narrow, "v", "o"):
        raise KeyboardInterrupt
    assert same(before, fingerprint(model))

    def half_way(block: Block) -> None:
        narrow(block)
        raise ValueError("half way")

    trial = on_trial(model, model.blocks[0], half_way, "v", "o")
    with pytest.raises(ValueError, match="half way"), trial:
        pytest.fail("an edit that fails is no edit")
    assert same(before, fingerprint(model))


def test_only_the_layers_named_are_brought_back():
    model = tiny_model()
    with on_trial(model, model.blocks[0], narrow, "v"):
        pass
    dense = tiny_model().blocks[0]
    assert torch.equal(model.blocks[0].attention.v.weight, dense.attention.v.weight)
    assert not torch.equal(model.blocks[0].attention.o.weight, dense.attention.o.weight)


def test_the_block_is_shut_while_the_edit_holds():
    model = ShutModel(tiny_model())
    before = fingerprint(model)
    with on_trial(model, model.blocks[1], narrow, "v", "o"):
        assert model.open is None
        assert not same(before, fingerprint(model))
    assert same(before, fingerprint(model))
