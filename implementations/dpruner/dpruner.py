"""D-Pruner: keep what matters in general and for one domain (Zhang et al., NAACL Findings 2024).

First a sparse solve of every layer on general text says what each weight is worth in general; what
it has pruned is thrown away. Then the model is fine-tuned on text of the domain, held back from
moving weights of general worth, and every step adds to a weight's score what the loss would change
without it. The lowest scores go, of the model as it was.
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
    course,
    factored,
    next_token_loss,
    optimise,
    sparse_solve,
    walk,
)


class DPruner(WeightMethod):
    """Score weights by a regularised fine-tuning on one domain, and zero the lowest.

    Source: Zhang et al., arXiv:2405.06275, whose formulas are known at second hand.
    """

    capabilities = Capabilities(
        granularity=("unstructured",), calibration="training", trains="scores", texts=("domain",)
    )
    small: ClassVar[dict[str, Any]] = {"steps": 3, "batch": 2}

    sparsity: Ratio = 0.5
    """Share to zero of each matrix, or of each of its column blocks."""
    steps: Count = 625
    """Steps of the fine-tuning."""
    batch: Count = 8
    """Windows a step."""
    learning_rate: Positive = 0.03
    """The largest, of plain gradient descent; it rises over a tenth of the steps, then falls."""
    clip: Positive = 1.0
    """Largest norm of all gradients of a step together."""
    strength: NonNegative = 0.1
    """What weighs general importance against the loss (lambda)."""
    general_sparsity: Ratio = 0.52
    """Share that the solve on general text removes of each block of columns."""
    block_size: Count = 128
    """Columns of that solve whose mask is chosen together."""
    damping: NonNegative = 0.01
    """Added to the diagonal of its Hessian, as a share of the mean."""
    column_blocks: Count = 1
    """Blocks of columns of a matrix that each lose the share: 1, or 32 with iterative blocking."""
    penalty: Literal["paper", "normalised"] = "paper"
    """Whether the penalty's gradient is as it comes, or scaled to half of that of the loss."""
    penalty_scale: NonNegative = 1.0
    """What multiplies it besides; the code that was once public has 0.001."""
    second_order: NonNegative = 0.5
    """What multiplies the second-order term of a score; that code has 0.0005."""
    cubic: bool = False
    """Whether the cube of the weight stands for what is left out, as in that code."""
    gradient_scale: Positive = 1.0
    """What gradients are multiplied by while scores are taken; that code had some 65536."""

    def prune(self, model: LanguageModel, calibration: Calibration) -> dict[str, Any]:
        """Score on both texts, put every weight back, and zero the lowest scores."""
        stream = calibration.domain
        assert stream is not None  # `apply` has checked
        with lent(model):
            general = self.general(model, calibration)
        with lent(model):
            scores, told = self.dual(model, stream, general)
        for (_, _, linear), score in zip(model.linears(), scores, strict=True):
            linear.weight.masked_fill_(self.lowest(score), 0)
        return told

    def general(self, model: LanguageModel, calibration: Calibration) -> list[Tensor]:
        """Return `G [out, in]` of every linear layer, in order, and leave the model pruned.

        `G` is `w^2 / U_jj^2`, the error of removing a weight after the columns before it were
        pruned and compensated. The Hessian is `2 / n * X^T X` for `n` windows of text.
        """
        found = {}
        for block in walk(model, calibration):
            grams = block.observe(Gram)
            for role, linear, factor, silent in factored(block, grams, self.damping):
                costs: list[Tensor] = []

                def choose(seen: Tensor, costs: list[Tensor] = costs) -> Tensor:
                    costs.append(seen)
                    share = self.model_copy(update={"sparsity": self.general_sparsity})
                    return share.choose(seen, within="matrix")

                solved = sparse_solve(linear.weight, factor, silent, choose, self.block_size)
                linear.weight.copy_(solved)
                # `Gram` is a plain sum, and the costs scale with the Hessian.
                found[block.index, role] = torch.cat(costs, dim=1) * (2 / len(calibration.ids))
        return [found[block.index, role] for block, role, _ in model.linears()]

    def dual(
        self, model: LanguageModel, stream: Stream, general: Sequence[Tensor]
    ) -> tuple[list[Tensor], dict[str, Any]]:
        """Fine-tune on the domain; return the scores `[out, in]` and what is worth recording."""
        weights = [linear.weight for _, _, linear in model.linears()]
        scores = [torch.zeros_like(weight, dtype=torch.float32) for weight in weights]
        plan = Plan(
            self.steps, self.learning_rate, self.batch, warmup=0.1, decay="linear", clip=None
        )
        parameters = [p for p in model.hf.parameters() if p.numel()]
        ratios = torch.zeros(self.steps)

        def take(step: int) -> None:
            """Add to the scores, and put the regularised gradients in place of the plain ones."""
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
        state = {f"score{i}": score for i, score in enumerate(scores)} | {"ratios": ratios}
        losses = optimise(
            parameters,
            lambda ids: next_token_loss(model, ids),
            stream,
            plan,
            before=take,
            state=state,
            by=descent,
        )
        ratio = float(ratios.mean())
        return scores, {
            "penalty_over_gradient": ratio,
            "course": course(losses, stream, self.batch),
        }

    def pull(self, gradient: Tensor, general: Tensor, rate: float) -> Tensor:
        """Return the penalty's gradient `2 lambda rate^2 G g^2`, `[out, in]`."""
        pull = 2 * self.strength * rate**2 * self.penalty_scale * general * gradient.square()
        if self.penalty == "normalised":
            pull *= gradient.norm() / (2 * pull.norm().clamp(min=1e-30))
        return pull

    def taylor(self, gradient: Tensor, weight: Tensor) -> Tensor:
        """Return `|g w + (g w)^2 / 2|`, what the loss would change without a weight."""
        first = gradient * weight
        left_out = weight**3 if self.cubic else 0
        return (first + self.second_order * first.square() + left_out).abs()

    def lowest(self, scores: Tensor) -> Tensor:
        """Mark what goes of `scores [out, in]`, the share of each block of columns."""
        width = -(-scores.shape[1] // self.column_blocks)
        return torch.cat([self.choose(part, within="matrix") for part in scores.split(width, 1)], 1)


def descent(parameters: Any, lr: float, **_: Any) -> torch.optim.Optimizer:
    """Return plain gradient descent, as LOMO does it layer by layer."""
    return torch.optim.SGD(parameters, lr=lr)


@contextmanager
def lent(model: LanguageModel) -> Iterator[None]:
    """Put every parameter back as it was when the `with` block ends, however it does."""
    held: list[tuple[nn.Parameter, Tensor]] = [
        (parameter, parameter.detach().clone()) for parameter in model.hf.parameters()
    ]
    try:
        yield
    finally:
        with torch.no_grad():
            for parameter, values in held:
                parameter.copy_(values)
