"""Training losses compared with torch's formulas."""

from __future__ import annotations

import pytest
import torch

from implementations.harness import perplexity
from implementations.harness.contract.tiny import random_tokens, tiny_model
from implementations.harness.train.losses import distillation_loss, logits_of, next_token_loss


def test_next_token_loss_is_the_logarithm_of_perplexity():
    model, tokens = tiny_model(), random_tokens()
    loss = next_token_loss(model, tokens.ids).exp()
    assert float(loss) == pytest.approx(perplexity(model, tokens).value, rel=1e-5)


def test_distillation_loss_is_the_mean_divergence_per_token():
    student, teacher = torch.randn(2, 3, 5, 7, dtype=torch.float64)
    for temperature in (1.0, 2.0):
        p = torch.softmax(teacher.float() / temperature, -1)
        q = torch.softmax(student.float() / temperature, -1)
        by_hand = (p * (p / q).log()).sum(-1).mean() * temperature**2
        given = distillation_loss(student, teacher, temperature)
        assert float(given) == pytest.approx(float(by_hand), rel=1e-5)
    assert float(distillation_loss(teacher, teacher)) == pytest.approx(0, abs=1e-6)


def test_minimising_distillation_loss_matches_the_teacher():
    teacher = torch.randn(1, 4, 6)
    student = torch.zeros(1, 4, 6, requires_grad=True)
    optimizer = torch.optim.SGD([student], lr=2.0)
    for _ in range(500):
        optimizer.zero_grad()
        distillation_loss(student, teacher).backward()
        optimizer.step()
    torch.testing.assert_close(student.softmax(-1), teacher.softmax(-1), rtol=1e-2, atol=1e-2)


def test_logits_have_the_shape_of_the_model():
    model, ids = tiny_model(), random_tokens(2, 9).ids
    assert logits_of(model, ids).shape == (2, 9, model.vocabulary_size)
