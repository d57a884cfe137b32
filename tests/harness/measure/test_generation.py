import pytest
import torch

from implementations.harness.contract.tiny import random_tokens, tiny_model
from implementations.harness.errors import BadInput, NumericsError
from implementations.harness.measure.generation import continuation, greedy, streamed
from implementations.harness.model.execution import replaced_forward
from implementations.harness.model.surgery import (
    keep_channels,
    keep_experts,
    keep_kv_groups,
    remove_blocks,
)
from implementations.harness.model.view import FAMILIES

NAMES = sorted(family.name for family in FAMILIES.values())


@pytest.fixture
def model(letters):
    made = tiny_model()
    made.tokenizer = letters
    return made


@pytest.mark.parametrize("family", NAMES)
def test_greedy_equals_generate_of_transformers(family):
    model, ids = tiny_model(family), random_tokens(samples=3, length=12).ids
    expected = model.hf.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        do_sample=False,
        max_new_tokens=20,
        eos_token_id=-1,
    )
    tokens = torch.stack(list(greedy(model, ids, 20)), dim=1)  # [batch, new]
    assert torch.equal(tokens, expected[:, 12:])


@pytest.mark.parametrize("shrunk", [False, True])
@pytest.mark.parametrize("family", NAMES)
def test_cache_does_not_change_the_tokens(family, shrunk):
    model, ids = tiny_model(family, blocks=3), random_tokens(samples=2, length=12).ids
    if shrunk:
        remove_blocks(model, [1])
        keep_kv_groups(model.blocks[0].attention, [])  # this block holds the cache length
        if model.family.experts:
            keep_experts(model.blocks[1], range(3))
        else:
            keep_channels(model.blocks[1].feed_forward, range(5))
    for token in greedy(model, ids, 16):
        with torch.no_grad():
            expected = model.hf(input_ids=ids, use_cache=False).logits[:, -1].argmax(dim=-1)
        assert torch.equal(token, expected)
        ids = torch.cat([ids, token[:, None]], dim=1)


def test_greedy_with_one_block_at_a_time_gives_the_same():
    model, ids = tiny_model("gemma3"), random_tokens(samples=2, length=12).ids
    expected = list(greedy(model, ids, 8))
    with streamed(model):
        tokens = list(greedy(model, ids, 8))
    assert torch.equal(torch.stack(tokens), torch.stack(expected))


def test_continuation_excludes_the_prompt(model):
    result = continuation(model, "The city", 12)
    ids = torch.tensor([model.tokenizer("The city")["input_ids"]])
    assert list(result.tokens) == [int(token) for token in greedy(model, ids, 12)]
    assert result.text == model.tokenizer.decode(result.tokens, skip_special_tokens=True)
    assert result.text
    assert result.tokens_per_second > 0


def test_end_token_ends_the_text(model):
    free = continuation(model, "The city", 12).tokens
    end = next(i for i in range(1, 12) if free[i] not in free[:i])  # a token that is new at i
    for ends in (free[end], [95, free[end]]):
        model.hf.generation_config.eos_token_id = ends
        assert continuation(model, "The city", 12).tokens == free[: end + 1]


def test_model_without_end_token_writes_all_tokens(model):
    model.hf.generation_config.eos_token_id = model.config.eos_token_id = None
    assert len(continuation(model, "The city", 12).tokens) == 12


def test_refuses_invalid_prompt_and_token_counts(model):
    with pytest.raises(BadInput, match="prompt is empty"):
        continuation(model, "", 5)
    with pytest.raises(BadInput, match="at least 1"):
        continuation(model, "a", 0)
    with pytest.raises(BadInput, match="128 positions"):
        continuation(model, "a" * 100, 29)
    assert continuation(model, "a" * 100, 28).tokens
    model.tokenizer = None
    with pytest.raises(BadInput, match="has no tokenizer"):
        continuation(model, "a", 5)


@pytest.mark.parametrize("end", [0, 2])  # 0 is also the argmax of NaN
def test_nan_logits_raise(model, end):
    model.hf.generation_config.eos_token_id = end
    with torch.no_grad():
        model.blocks[0].feed_forward.down.weight[0, 0] = float("nan")
    with pytest.raises(NumericsError, match="NaN"):
        continuation(model, "a", 5)


def test_model_is_restored_after_an_exception(model):
    model.hf.train()

    def fail(*_, **__):
        raise RuntimeError("on purpose")

    with (
        replaced_forward(model.layers[1], fail),
        pytest.raises(RuntimeError, match="on purpose"),
    ):
        continuation(model, "a", 5)
    assert model.hf.training
    assert torch.is_grad_enabled()
