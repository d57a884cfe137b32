"""D-Pruner: dual pruning for general and domain knowledge (Zhang et al., NAACL Findings 2024).

First, a SparseGPT solve of every layer on general text measures the general importance of each
weight; the pruned weights are then restored. Next, the model is fine-tuned on domain text, with a
penalty for changing weights of general importance. Every step adds to the score of each weight how
much the loss would change without it. The lowest scores are zeroed in the original model.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from implementations.harness import (
    Calibration,
    Capabilities,
    Count,
    Gram,
    LanguageModel,
    NonNegative,
    Plan,
    Positive,
    Ratio,
    Stream,
    WeightMethod,
    factored_layers,
    next_token_loss,
    optimise,
    sparse_solve,
    training_course,
    walk,
)


class DPruner(WeightMethod):
    """Score weights by regularised fine-tuning on one domain, and zero the lowest.

    Source: Zhang et al., arXiv:2405.06275, whose formulas are known second-hand.
    """

    capabilities = Capabilities(
        granularity=("unstructured",), calibration="training", trains="scores", texts=("domain",)
    )
    tiny_settings: ClassVar[dict[str, Any]] = {"steps": 3, "batch": 2}

    sparsity: Ratio = 0.5
    """Share of each matrix to zero, or of each of its column blocks."""
    steps: Count = 625
    """Number of fine-tuning steps."""
    batch: Count = 8
    """Training windows per step."""
    learning_rate: Positive = 0.03
    """Peak learning rate of gradient descent; warms up over a tenth of the steps, then decays."""
    clip: Positive = 1.0
    """Largest joint norm of all gradients of a step."""
    strength: NonNegative = 0.1
    """Weight of the penalty on general importance in the loss (lambda)."""
    general_sparsity: Ratio = 0.52
    """Share of each block of columns that the solve on general text removes."""
    block_size: Count = 128
    """Number of columns whose mask that solve chooses together."""
    damping: NonNegative = 0.01
    """Value added to the diagonal of its Hessian, as a share of the mean diagonal."""
    column_blocks: Count = 1
    """Column blocks that are pruned separately: 1, or 32 for iterative blocking."""
    penalty: Literal["paper", "normalised"] = "paper"
    """Use the penalty's gradient unchanged, or scale it to half of the loss's gradient."""
    penalty_scale: NonNegative = 1.0
    """Additional factor of the penalty's gradient; the code that was once public uses 0.001."""
    second_order: NonNegative = 0.5
    """Factor of the second-order term of a score; that code uses 0.0005."""
    cubic: bool = False
    """Add the cube of the weight in place of the omitted terms, as in that code."""
    gradient_scale: Positive = 1.0
    """Factor of the gradients while scores are computed; about 65536 in that code."""

    def prune(self, model: LanguageModel, calibration: Calibration) -> dict[str, Any]:
        """Score on both texts, restore every weight, and zero those with the lowest scores."""
        stream = calibration.domain
        assert stream is not None  # guaranteed by `check`
        with restored_parameters(model):
            general = self.general(model, calibration)
        with restored_parameters(model):
            scores, details = self.dual(model, stream, general)
        for linear, score in zip(nonempty(model), scores, strict=True):
            linear.weight.masked_fill_(self.lowest(score), 0)
        return details

    def general(self, model: LanguageModel, calibration: Calibration) -> list[Tensor]:
        """Return `G [out, in]` of every linear layer with weights, and leave the model pruned.

        `G` is `w^2 / U_jj^2`, the error of removing a weight after the earlier columns were pruned
        and compensated. The Hessian is `2 / n * X^T X` for `n` windows of text.
        """
        importances = {}
        share = self.model_copy(update={"sparsity": self.general_sparsity})
        for block in walk(model, calibration):
            grams = block.observe(Gram)
            for _, linear, factor, silent in factored_layers(block, grams, self.damping):
                if not linear.weight.numel():
                    continue
                costs: list[Tensor] = []

                def choose(costs_of_columns: Tensor, costs: list[Tensor] = costs) -> Tensor:
                    costs.append(costs_of_columns)
                    return share.choose(costs_of_columns, within="matrix")

                solved = sparse_solve(linear.weight, factor, silent, choose, self.block_size)
                linear.weight.copy_(solved)
                # `Gram` is a plain sum, and the costs scale with the Hessian.
                importances[linear] = torch.cat(costs, dim=1) * (2 / len(calibration.ids))
        return [importances[linear] for linear in nonempty(model)]

    def dual(
        self, model: LanguageModel, stream: Stream, general: Sequence[Tensor]
    ) -> tuple[list[Tensor], dict[str, Any]]:
        """Fine-tune on the domain; return the scores `[out, in]` and the details for the record."""
        weights = [linear.weight for linear in nonempty(model)]
        scores = [torch.zeros_like(weight, dtype=torch.float32) for weight in weights]
        plan = Plan(
            self.steps, self.learning_rate, self.batch, warmup=0.1, decay="linear", clip=None
        )
        parameters = [p for p in model.hf.parameters() if p.numel()]
        ratios = torch.zeros(self.steps)

        def take(step: int) -> None:
            """Add to the scores, and replace the gradients by the regularised ones."""
            rate = plan.rate * plan.factor(step)
            norm = torch.stack([p.grad.float().norm() for p in parameters if p.grad is not None])
            sizes = torch.zeros(2)
            for weight, score, worth in zip(weights, scores, general, strict=True):
                assert weight.grad is not None
                gradient = self.gradient_scale * weight.grad.float()  # [out, in]
                pull = self.pull(gradient, worth, rate)
                score.add_(self.taylor(gradient + pull, weight.float()))
                weight.grad.add_((pull / self.gradient_scale).to(weight.dtype))
                sizes.add_(torch.stack([pull.norm(), gradient.norm()]).square().cpu())
            ratios[step] = (sizes[0] / sizes[1].clamp(min=1e-30)).sqrt()
            held_back = min(1.0, self.clip / (float(norm.norm()) + 1e-6))
            for parameter in parameters:
                if parameter.grad is not None:
                    parameter.grad.mul_(held_back)

        for parameter in parameters:
            parameter.requires_grad_(True)
        losses = optimise(
            parameters,
            lambda ids: next_token_loss(model, ids),
            stream,
            plan,
            before=take,
            by=descent,
        )
        ratio = float(ratios.mean())
        return scores, {
            "penalty_over_gradient": ratio,
            "course": training_course(losses, stream, self.batch),
        }

    def pull(self, gradient: Tensor, general: Tensor, rate: float) -> Tensor:
        """Return the penalty's gradient `2 lambda rate^2 G g^2`, `[out, in]`."""
        pull = 2 * self.strength * rate**2 * self.penalty_scale * general * gradient.square()
        if self.penalty == "normalised":
            pull *= gradient.norm() / (2 * pull.norm().clamp(min=1e-30))
        return pull

    def taylor(self, gradient: Tensor, weight: Tensor) -> Tensor:
        """Return `|g w + (g w)^2 / 2|`, the estimated change of the loss without each weight."""
        first = gradient * weight
        left_out = weight**3 if self.cubic else 0
        return (first + self.second_order * first.square() + left_out).abs()

    def lowest(self, scores: Tensor) -> Tensor:
        """Mark the lowest of `scores [out, in]` in each block of columns."""
        width = -(-scores.shape[1] // self.column_blocks)
        return torch.cat([self.choose(part, within="matrix") for part in scores.split(width, 1)], 1)


def descent(parameters: Any, lr: float, **_: Any) -> torch.optim.Optimizer:
    """Return plain gradient descent, as LOMO does it layer by layer."""
    return torch.optim.SGD(parameters, lr=lr)


def nonempty(model: LanguageModel) -> list[nn.Linear]:
    """Return the linear layers of all blocks in order, without those that lost all their inputs."""
    return [linear for _, _, linear in model.linears() if linear.weight.numel()]


@contextmanager
def restored_parameters(model: LanguageModel) -> Iterator[None]:
    """Context manager that restores every parameter on exit, also after an error."""
    held: list[tuple[nn.Parameter, Tensor]] = [
        (parameter, parameter.detach().clone()) for parameter in model.hf.parameters()
    ]
    try:
        yield
    finally:
        with torch.no_grad():
            for parameter, values in held:
                parameter.copy_(values)
