import weakref

import pytest
import torch
from transformers import AutoModelForCausalLM

from implementations.harness.contract.tiny import VOCABULARY, random_tokens, tiny_config, tiny_model
from implementations.harness.data.tokens import Tokens
from implementations.harness.errors import BadInput, NumericsError
from implementations.harness.measure import perplexity
from implementations.harness.measure.generation import on_accelerator, streamed
from implementations.harness.measure.memory import peak_memory
from implementations.harness.measure.perplexity import at_once, block_by_block, logits, pieces
from implementations.harness.model.execution import on_device_read_only, replaced_forward
from implementations.harness.model.surgery import keep_channels, keep_experts, keep_kv_groups
from implementations.harness.model.view import FAMILIES, LanguageModel

NAMES = sorted(family.name for family in FAMILIES.values())


@pytest.fixture(params=NAMES)
def model(request):
    return tiny_model(request.param)


def whole(pieces):
    """Join pieces of logits to `[windows, length, vocabulary]`."""
    rows = {}
    for piece in pieces:
        rows.setdefault(piece.windows.start, []).append(piece.values)
    return torch.cat([torch.cat(parts, dim=1) for parts in rows.values()])


def tied(hf):
    return hf.get_output_embeddings().weight is hf.get_input_embeddings().weight


def shrink(block):
    """Remove most of a block's channels or experts."""
    if block.experts:
        keep_experts(block, range(3))
    else:
        keep_channels(block.feed_forward, range(5))


def logits_by(run, model, tokens, batch_size):
    """Yield logits like `logits`, by one of the two ways to run the decoder."""
    for output in run(model, tokens, batch_size):
        yield from pieces(model, *output)


@pytest.fixture
def tokens():
    return random_tokens(samples=5, length=20, batch_size=2)  # batches of 2, 2 and 1


def test_logits_equal_those_of_the_model_in_order(model, tokens):
    with torch.no_grad():
        expected = model.hf(input_ids=tokens.ids).logits
    pieces = list(logits(model, tokens))
    assert [piece.windows for piece in pieces] == [slice(0, 2), slice(2, 4), slice(4, 5)]
    torch.testing.assert_close(whole(pieces), expected)


def test_logits_come_in_pieces_from_left_to_right(model, tokens, monkeypatch):
    expected = whole(logits(model, tokens))
    monkeypatch.setattr(perplexity, "PIECE", 2 * 7 * VOCABULARY)
    pieces = list(logits(model, tokens))
    assert [(p.positions.start, p.positions.stop) for p in pieces[:3]] == [
        (0, 7),
        (7, 14),
        (14, 20),
    ]
    assert [(p.positions.start, p.positions.stop) for p in pieces[6:]] == [(0, 14), (14, 20)]
    torch.testing.assert_close(whole(pieces), expected)
    monkeypatch.setattr(perplexity, "PIECE", 1)
    assert {p.values.shape[1] for p in logits(model, tokens)} == {1}


def test_block_by_block_gives_the_same_bits(model, tokens):
    expected = logits_by(at_once, model, tokens, 2)
    for whole, walked in zip(expected, logits_by(block_by_block, model, tokens, 2), strict=True):
        assert torch.equal(whole.values, walked.values)


def test_block_by_block_on_blocks_of_different_shapes(model, tokens):
    keep_kv_groups(model.blocks[0].attention, [])
    shrink(model.blocks[1])
    expected = whole(logits_by(at_once, model, tokens, 5))
    assert torch.equal(whole(logits_by(block_by_block, model, tokens, 5)), expected)


def test_block_by_block_with_projected_embeddings():
    config = tiny_config("opt")
    config.word_embed_proj_dim = 16  # narrower than the blocks, as in OPT-350M
    model = LanguageModel(AutoModelForCausalLM.from_config(config))
    tokens = random_tokens(samples=3)
    assert model.hf.base_model.decoder.project_out is not None
    expected = whole(logits_by(at_once, model, tokens, 3))
    assert torch.equal(whole(logits_by(block_by_block, model, tokens, 3)), expected)


def test_block_by_block_with_soft_capped_logits(tokens):
    model = tiny_model("gemma3", final_logit_softcapping=1.0)
    walked = whole(logits_by(block_by_block, model, tokens, 5))
    assert walked.abs().max() <= 1
    assert torch.equal(walked, whole(logits_by(at_once, model, tokens, 5)))


def test_streamed_model_gives_the_same_bits(model, tokens):
    with torch.no_grad():
        expected = model.hf(input_ids=tokens.ids).logits
        with streamed(model):
            assert torch.equal(model.hf(input_ids=tokens.ids).logits, expected)
    assert all("forward" not in vars(block) for block in model.layers)


def test_on_accelerator_moves_nothing_on_one_device():
    model = tiny_model()
    addresses = [p.data_ptr() for p in model.hf.parameters()]
    with on_accelerator(model):
        assert [p.data_ptr() for p in model.hf.parameters()] == addresses
        assert all("forward" not in vars(block) for block in model.layers)


def test_read_only_move_restores_weights_even_after_an_exception():
    model = tiny_model("llama")  # tied embeddings
    addresses = [p.data_ptr() for p in model.hf.parameters()]

    def work():
        with on_device_read_only(model.hf, torch.device("meta"), without=model.layers[1:]):
            places = {name: p.device.type for name, p in model.hf.named_parameters()}
            assert {name for name, place in places.items() if place == "cpu"} == {
                name for name in places if "layers.1." in name
            }
            assert tied(model.hf)
            raise RuntimeError("on purpose")

    with pytest.raises(RuntimeError, match="on purpose"):
        work()
    assert [p.data_ptr() for p in model.hf.parameters()] == addresses
    assert model.dtype == torch.float32
    assert tied(model.hf)


@pytest.mark.parametrize("run", [at_once, block_by_block])
def test_everything_is_restored_after_an_exception(run, tokens):
    model = tiny_model("opt")
    model.hf.train()
    addresses = [p.data_ptr() for p in model.hf.parameters()]

    def consume():
        for _ in run(model, tokens, 2):
            raise RuntimeError("on purpose")

    with pytest.raises(RuntimeError, match="on purpose"):
        consume()
    assert [p.data_ptr() for p in model.hf.parameters()] == addresses
    assert all("forward" not in vars(block) for block in model.layers)
    assert all(module.training for module in model.hf.modules())
    assert torch.is_grad_enabled()


@pytest.mark.parametrize("run", [at_once, block_by_block])
def test_dropout_is_off_even_in_training_mode(run, tokens):
    model = tiny_model("opt")  # drops a tenth in training
    expected = whole(logits_by(run, model, tokens, 2))
    model.hf.train()
    assert torch.equal(whole(logits_by(run, model, tokens, 2)), expected)


@pytest.mark.parametrize("run", [at_once, block_by_block])
def test_one_piece_of_logits_at_a_time(run, tokens, monkeypatch):
    model = tiny_model()
    monkeypatch.setattr(perplexity, "PIECE", 2 * 10 * VOCABULARY)
    made = []
    head = model.hf.get_output_embeddings()
    own = head.forward

    def spy(hidden):
        assert all(reference() is None for reference in made)
        out = own(hidden)
        made.append(weakref.ref(out))
        return out

    with replaced_forward(head, spy):
        for piece in logits_by(run, model, tokens, 2):
            del piece
    assert len(made) == 5  # two of ten positions each for two windows, one of twenty for one


def test_refuses_ids_beyond_the_vocabulary():
    model = tiny_model()
    with pytest.raises(BadInput, match="96"):
        logits(model, Tokens.from_ids(torch.tensor([[1, 96]])))


def test_refuses_batch_size_below_one(tokens):
    with pytest.raises(BadInput, match="at least 1"):
        logits(tiny_model(), tokens, 0)


def test_nan_error_names_the_block(tokens):
    model = tiny_model()
    with torch.no_grad():
        model.blocks[1].feed_forward.down.weight[0, 0] = float("nan")
    with pytest.raises(NumericsError, match="block 1"):
        list(block_by_block(model, tokens, 2))


@pytest.mark.gpu
def test_one_block_at_a_time_on_an_accelerator_gives_the_same(model):
    device = torch.accelerator.current_accelerator()
    tokens = random_tokens(samples=4, length=24)
    expected = whole(logits(model, tokens))
    addresses = [p.data_ptr() for p in model.hf.parameters()]
    model.accelerator = device
    walked = whole(logits(model, tokens))
    with on_accelerator(model), torch.no_grad():
        called = model.hf(input_ids=tokens.ids.to(device)).logits
    assert walked.device.type == called.device.type == device.type
    torch.testing.assert_close(walked.cpu(), expected, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(called.cpu(), expected, rtol=1e-3, atol=1e-3)
    assert [p.data_ptr() for p in model.hf.parameters()] == addresses


@pytest.mark.gpu
def test_accelerator_needs_memory_for_one_block_only():
    model = tiny_model(blocks=8, hidden_size=512, head_dim=64, intermediate_size=2048)
    model.accelerator = torch.accelerator.current_accelerator()
    tokens = random_tokens(samples=2, length=24)
    block = sum(p.numel() * p.element_size() for p in model.layers[0].parameters())
    for _ in range(2):  # the first time, libraries allocate workspaces that stay
        with peak_memory(model.accelerator) as watch:
            for piece in logits(model, tokens):
                del piece
    assert block < watch.peak.above_start < 2 * block
