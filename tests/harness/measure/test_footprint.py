import pytest
import torch

from implementations.harness.contract.tiny import tiny_model
from implementations.harness.measure.memory import footprint
from implementations.harness.model.surgery import keep_channels, keep_kv_groups
from implementations.harness.model.units import count_weights

# Computed by hand for vocabulary 96, hidden size 32, MLP size 48, 4 heads and 2 blocks: weights of
# one block's linear layers, its norms and biases, and the parameters outside the blocks.
BY_HAND = {
    # q, k, v, o with 2 KV heads of 8; gate, up, down; embedding (tied) and last norm
    "llama": (1024 + 512 + 512 + 1024 + 3 * 1536, 64, 3072 + 32),
    # 4 KV heads; the head is untied
    "mistral": (4 * 1024 + 3 * 1536, 64, 2 * 3072 + 32),
    # as llama, with biases of q, k and v; untied
    "qwen2": (1024 + 512 + 512 + 1024 + 3 * 1536, 64 + 32 + 16 + 16, 2 * 3072 + 32),
    # 1 KV head of 16, query and key norms; untied
    "qwen3": (2048 + 512 + 512 + 2048 + 3 * 1536, 64 + 16 + 16, 2 * 3072 + 32),
    # 2 KV heads of 16, four norms and query and key norms; tied
    "gemma3": (2048 + 1024 + 1024 + 2048 + 3 * 1536, 4 * 32 + 16 + 16, 3072 + 32),
    # no gate, biases everywhere, norms with bias; 128 + 2 learned positions; tied
    "opt": (4 * 1024 + 2 * 1536, 4 * 32 + 48 + 32 + 2 * 64, 3072 + 130 * 32 + 64),
}
HEAD = 96 * 32


@pytest.mark.parametrize("family", sorted(BY_HAND))
def test_counts_equal_those_computed_by_hand(family):
    weights, rest, outside = BY_HAND[family]
    model = tiny_model(family)
    size, blocks = footprint(model), count_weights(model)
    assert size.parameters == 2 * (weights + rest) + outside
    assert blocks.all == blocks.nonzero == 2 * weights
    assert size.macs == 2 * weights + HEAD
    assert size.bytes == 4 * size.parameters


def test_tied_embedding_counts_once_as_parameter_and_once_in_macs():
    tied = footprint(tiny_model("llama", tie_word_embeddings=True))
    untied = footprint(tiny_model("llama", tie_word_embeddings=False))
    assert untied.parameters - tied.parameters == HEAD
    assert untied.macs == tied.macs


def test_zeros_reduce_nonzero_but_not_macs():
    model = tiny_model("qwen2")
    dense, weights = footprint(model), count_weights(model)
    model.blocks[0].feed_forward.down.weight.detach()[:, :10] = 0
    model.hf.get_output_embeddings().weight.detach()[:5] = 0
    pruned = footprint(model)
    assert weights.nonzero - count_weights(model).nonzero == 32 * 10
    assert dense.nonzero - pruned.nonzero == 32 * 10 + 5 * 32
    assert pruned.parameters == dense.parameters
    assert pruned.macs == dense.macs
    assert pruned.bytes == dense.bytes


def test_removed_channels_and_heads_are_not_counted():
    model = tiny_model("llama")
    dense, weights = footprint(model), count_weights(model)
    keep_channels(model.blocks[0].feed_forward, range(40))  # of 48
    keep_kv_groups(model.blocks[1].attention, [1])  # of 2, with 2 query heads of 8
    removed = 3 * 8 * 32 + (16 + 8 + 8 + 16) * 32
    pruned = footprint(model)
    assert dense.parameters - pruned.parameters == removed
    assert dense.macs - pruned.macs == removed
    assert weights.all - count_weights(model).all == removed


def test_bytes_follow_the_dtype_of_each_parameter():
    model = tiny_model(dtype=torch.bfloat16)
    before = footprint(model)
    assert before.bytes == 2 * before.parameters
    model.hf.base_model.norm.float()
    assert footprint(model).bytes == before.bytes + 2 * 32
