"""SparseLLM: prune the layers of each MLP together, through auxiliary variables (Bai et al., 2024).

SparseGPT fits each layer to its own dense outputs. Here only the output of the whole MLP is fixed.
The activations inside are variables, tied by penalties to the weights on one side and to each other
on the other. In each round, the variables move towards the dense output, the weights are refitted
to them, and SparseGPT prunes the weights again.
"""

from __future__ import annotations

import torch
from torch import Tensor

from implementations.harness import (
    BadInput,
    Capabilities,
    Count,
    Gram,
    LanguageModel,
    NonNegative,
    Pattern,
    Positive,
    Ratio,
    Tokens,
    WalkedBlock,
    WeightMethod,
    Whole,
    damped_factor,
    factored_layers,
    inverse_factor,
    sparse_solve,
    walk,
)
from implementations.sparsellm.mlp import MLP, Inputs, Variables

RIDGE = 1e-4
"""Value added to the diagonal for a fit, as a fraction of its mean.

The inputs of an MLP after a LayerNorm are nearly linearly dependent, so that pseudo-inverses would
amplify their rounding.
"""


class SparseLLM(WeightMethod):
    """Prune by SparseGPT, in turn with refits of each MLP to auxiliary variables.

    Source: Bai et al., arXiv:2402.17946, and the official code.
    """

    capabilities = Capabilities(
        granularity=("unstructured", "semi-structured"), calibration="forward"
    )

    sparsity: Ratio = 0.5
    """Share of weights to zero in each block of columns, over all rows of the matrix together."""
    pattern: Pattern | None = None
    """Keep KEEP of every GROUP consecutive inputs of a row, as in `2:4`; replaces `sparsity`."""
    rounds: Count = 4
    """Number of times that each MLP is pruned; with 1, the method is SparseGPT."""
    alpha: Positive = 5.0
    """Penalty for the distance of the variables from the outputs of up and gate."""
    beta: Positive = 5.0
    """Penalty for the distance of the output of down from that of the dense MLP."""
    gamma: Positive = 5.0
    """Penalty for the distance of the input of down from the product of the variables."""
    steps: Whole = 2
    """Number of gradient steps on the variables of gate in each round."""
    rate: Positive = 0.01
    """Size of these steps."""
    block_size: Count = 128
    """Number of columns whose mask is chosen together, and between two lazy updates."""
    damping: NonNegative = 0.01
    """Value added to the Hessian's diagonal, as a fraction of its mean."""

    def check(self, model: LanguageModel, calibration: Tokens | None) -> None:
        super().check(model, calibration)
        self.check_block_size(self.block_size)
        function = getattr(model.config, "activation_function", "relu")
        if model.blocks[0].feed_forward.gate is None and function != "relu":
            raise BadInput(
                f"sparsellm prunes MLPs without a gate only with ReLU, but {model.name} has "
                f"{function}; use sparsegpt"
            )
        widest = max(block.feed_forward.down.weight.shape[1] for block in model.blocks)
        tokens = 0 if calibration is None else calibration.ids.numel()
        if self.rounds > 1 and tokens <= widest:
            raise BadInput(
                f"sparsellm needs more calibration tokens than the {widest} inputs of down, got "
                f"{tokens}; use a larger calibration set, or rounds=1"
            )

    def prune(self, model: LanguageModel, calibration: Tokens) -> None:
        rounds = self.rounds if self.target else 1  # refits would round
        for block in walk(model, calibration):
            mlp = self.first_round(block)
            for _ in range(rounds - 1):
                self.next_round(mlp)
            del mlp  # otherwise its variables stay in memory while those of the next are collected

    def first_round(self, block: WalkedBlock) -> MLP:
        """Prune all layers of a block by SparseGPT; return its MLP with the dense activations."""
        with block.watching(Inputs, "up", "down") as seen:
            grams = block.observe(Gram)  # of the dense block
        mlp = MLP(block, seen["up"].batches, seen["down"].batches)
        for _, layer, factor, silent in factored_layers(block, grams, self.damping):
            layer.weight.copy_(self.solve(layer.weight, factor, silent))
        return mlp

    def next_round(self, mlp: MLP) -> None:
        """Move the variables, refit the weights to them, and prune these again, in place."""
        W = mlp.layers["down"].weight.float()
        H = W @ W.T
        H.diagonal().add_(self.gamma / self.beta)
        solved_W = torch.cholesky_solve(W, torch.linalg.cholesky(H))  # [hidden, channels]
        for v in mlp.batches:
            v.P = self.best_P(mlp, v, solved_W)
            v.Z = self.best_Z(mlp, v)
            v.S = self.moved_S(mlp, v)
        targets = {"up": [v.Z for v in mlp.batches]}
        if "gate" in mlp.layers:
            targets["gate"] = [v.S for v in mlp.batches if v.S is not None]
        self.fit(mlp, [v.X for v in mlp.batches], targets)
        self.fit(mlp, [v.P for v in mlp.batches], {"down": [v.Y for v in mlp.batches]})

    def best_P(self, mlp: MLP, v: Variables, solved_W: Tensor) -> Tensor:
        """Return `argmin_P beta ||Y - down(P)||^2 + gamma ||P - A||^2`.

        `A` is the product of the variables `Z` and `S`. With the weight `W` of down, `solved_W
        [hidden, channels]` is `(W W^T + gamma / beta I)^-1 W`.
        """
        A = mlp.product(v.Z, v.S)
        return A + (v.Y - mlp.output("down", A)) @ solved_W

    def best_Z(self, mlp: MLP, v: Variables) -> Tensor:
        """Return `argmin_Z alpha ||Z - M||^2 + gamma ||P - A||^2`, with the output `M` of up."""
        M, P, alpha, gamma = mlp.output("up", v.X), v.P, self.alpha, self.gamma
        if v.S is not None:
            G = mlp.activation(v.S)
            return (alpha * M + gamma * G * P) / (alpha + gamma * G.square())
        positive = ((alpha * M + gamma * P) / (alpha + gamma)).clamp(min=0)  # where relu(Z) = Z
        negative = M.clamp(max=0)  # where relu(Z) = 0
        gain = alpha * (negative - M).square() + gamma * P.square()
        gain -= alpha * (positive - M).square() + gamma * (P - positive).square()
        return torch.where(gain >= 0, positive, negative)

    def moved_S(self, mlp: MLP, v: Variables) -> Tensor | None:
        """Return `S` after gradient steps on `alpha ||S - M||^2 + gamma ||P - A||^2`.

        `M` is the output of gate. Each entry takes a step only if that lowers its own cost.
        """
        S, Z, P = v.S, v.Z, v.P
        if S is None:
            return None
        M = mlp.output("gate", v.X)

        def cost(S: Tensor) -> Tensor:
            return self.alpha * (S - M).square() + self.gamma * (P - mlp.product(Z, S)).square()

        for _ in range(self.steps):
            S.requires_grad_()
            with torch.enable_grad():
                before = cost(S)
                (slope,) = torch.autograd.grad(before.sum(), S)
            S = S.detach()
            step = S - self.rate * slope
            S = torch.where(cost(step) < before.detach(), step, S)
        return S

    def fit(self, mlp: MLP, inputs: list[Tensor], targets: dict[str, list[Tensor]]) -> None:
        """Fit layers to targets `[tokens, out]` for their inputs, and prune the fits, in place.

        Every layer is fitted from its dense weight D: `D + (T - D X)^T X (X^T X)^-1`.
        """
        gram = Gram(inputs[0].shape[1], inputs[0].device, torch.float64)
        for x in inputs:
            gram.update(x)
        where, H = f"{mlp.where}, {', '.join(targets)}", gram.matrix
        _, lower = damped_factor(H, RIDGE, where)
        factor, silent = inverse_factor(H, self.damping, where), H.diagonal() == 0
        for role, of_role in targets.items():
            D = mlp.dense[role]
            moments = torch.zeros_like(D)  # [out, in]
            for x, target in zip(inputs, of_role, strict=True):
                moments.addmm_((target - mlp.output(role, x, D)).T, x)
            W = D + torch.cholesky_solve(moments.double().T, lower).T.float()
            mlp.layers[role].weight.copy_(self.solve(W, factor, silent))

    def solve(self, weight: Tensor, factor: Tensor, silent: Tensor) -> Tensor:
        """Return the weight pruned by SparseGPT, fp32 `[out, in]`; see `sparse_solve`."""
        group = self.pattern.group if self.pattern else None
        return sparse_solve(weight, factor, silent, self.mask, self.block_size, group)

    def mask(self, costs: Tensor) -> Tensor:
        """Mark the weights to remove, boolean `[out, columns]`, by their OBS errors."""
        return self.choose(costs, within="matrix")
