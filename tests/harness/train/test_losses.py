"""Training losses compared with torch's formulas."""

from __future__ import annotations

import pytest
import torch

from implementations.harness import perplexity
from implementations.harness.contract.tiny import random_tokens, tiny_model
from implementations.harness.train.losses import distillation_loss, next_token_loss


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
