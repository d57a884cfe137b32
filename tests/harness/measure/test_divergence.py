import pytest
import torch
from torch.nn.functional import kl_div

from implementations.harness.contract.tiny import random_tokens, tiny_model
from implementations.harness.errors import BadInput
from implementations.harness.measure.divergence import DensePredictions
from implementations.harness.measure.perplexity import perplexity, split_perplexity
from implementations.harness.model.view import FAMILIES

NAMES = sorted(family.name for family in FAMILIES.values())
TOKENS = random_tokens(samples=5, length=20, batch_size=2)


def damage(model):
    """Zero half of the weights of each linear layer, and change the head."""
    generator = torch.Generator().manual_seed(0)
    head = model.hf.get_output_embeddings()
    with torch.no_grad():
        for layer in (*(layer for *_, layer in model.linears()), head):
            kept = torch.rand(layer.weight.shape, generator=generator) < 0.5
            layer.weight.mul_(kept)


def all_logits(model):
    """Return the logits of all predictions, `[windows, length - 1, vocabulary]`, in fp64."""
    with torch.no_grad():
        return model.hf(input_ids=TOKENS.ids).logits[:, :-1].double()


@pytest.mark.parametrize("family", NAMES)
@pytest.mark.parametrize("prompt", [0, 7])
def test_equals_the_plain_formulas(family, prompt):
    shape = {"final_logit_softcapping": 1.0} if family == "gemma3" else {}
    model = tiny_model(family, **shape)
    before = all_logits(model)[:, prompt:]
    dense = DensePredictions(model, [TOKENS])
    damage(model)
    after = all_logits(model)[:, prompt:]
    p, q = before.log_softmax(-1), after.log_softmax(-1)
    comparison = dense.compare(model, TOKENS, prompt=prompt)
    expected = kl_div(q, p, log_target=True, reduction="none").sum(-1).mean().item()
    assert expected > 1e-3
    assert comparison.divergence == pytest.approx(expected, rel=1e-5)
    same = (p.argmax(-1) == q.argmax(-1)).double().mean().item()
    assert comparison.agreement == pytest.approx(same)
    alone = split_perplexity(model, TOKENS, prompt) if prompt else perplexity(model, TOKENS)
    assert comparison.perplexity == alone


def test_an_unchanged_model_agrees_everywhere():
    model = tiny_model()
    comparison = DensePredictions(model, [TOKENS]).compare(model, TOKENS)
    assert comparison.divergence == pytest.approx(0, abs=1e-12)
    assert comparison.agreement == 1


def test_refuses_a_text_that_the_dense_model_did_not_read():
    model = tiny_model()
    dense = DensePredictions(model, [TOKENS])
    with pytest.raises(BadInput, match="the dense model has not read these tokens"):
        dense.compare(model, random_tokens(samples=1, length=20))


def test_the_model_keeps_its_own_head():
    model = tiny_model()
    dense = DensePredictions(model, [TOKENS])
    damage(model)
    own = model.hf.get_output_embeddings()
    dense.compare(model, TOKENS)
    assert model.hf.get_output_embeddings() is own
    assert dense.head is not own
    assert not torch.equal(dense.head.weight, own.weight)


def test_tokens_without_probability_count_as_nothing():
    model = tiny_model()
    head = model.hf.get_output_embeddings()
    with torch.no_grad():
        bias = torch.zeros(head.out_features)
        bias[6] = -torch.inf  # a token that does not occur
        head.bias = torch.nn.Parameter(bias)
    assert not (TOKENS.ids == 6).any()
    dense = DensePredictions(model, [TOKENS])
    assert dense.compare(model, TOKENS).divergence == pytest.approx(0, abs=1e-12)
