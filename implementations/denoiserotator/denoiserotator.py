"""DenoiseRotator: rotate the weights, then prune them (Gu et al., NeurIPS 2025).

A block computes the same in any basis of the residual stream and of its value heads. DenoiseRotator
trains these bases until few weights of each row or column carry most of its importance. Another
method then prunes the rotated weights; those that it removes matter less.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from implementations.denoiserotator.rotation import (
    INPUTS,
    READERS,
    Rotation,
    entropy,
    fold_gains,
    merge,
)
from implementations.harness import (
    ONE_BASIS,
    BadInput,
    Block,
    Capabilities,
    Count,
    Gram,
    LanguageModel,
    NonNegative,
    NumericsError,
    Pattern,
    Positive,
    Ratio,
    Tokens,
    WalkedBlock,
    WeightMethod,
    Whole,
    damped_inverse,
    prune_by_input_norms,
    prune_by_magnitude,
    prune_by_solving,
    require_whole_layers,
    set_stream_matrix,
    total_weights,
    walk,
)

# Scores are normalised along what a rotation mixes: within each row (dim 1) where a layer's inputs
# are rotated, within each column (dim 0) where its outputs are.
NORMALISED_DIMS = dict.fromkeys(READERS, (1,)) | {"v": (1, 0), "o": (1, 0), "down": (0,)}


class DenoiseRotator(WeightMethod):
    """Train rotations that concentrate the scores; prune by Wanda, SparseGPT or magnitude.

    Source: Gu et al., NeurIPS 2025, arXiv:2505.23049.
    """

    capabilities = Capabilities(
        granularity=("unstructured", "semi-structured"),
        calibration="forward",
        changes=("linears", "norms"),
        parallel=True,
        refuses=ONE_BASIS,
    )
    tiny_settings: ClassVar[dict[str, Any]] = {"steps": 5}

    sparsity: Ratio = 0.5
    """Share of the rotated weights to zero; the added rotations, which are dense, do not count."""
    pattern: Pattern | None = None
    """Keep KEEP of every GROUP consecutive inputs of a row, as in `2:4`; replaces `sparsity`."""
    base: Literal["wanda", "sparsegpt", "magnitude"] = "wanda"
    """Base method that prunes the rotated weights, and whose scores are concentrated."""
    steps: Whole = 100
    """Number of training steps per decoder layer; 0 keeps the basis of the model."""
    rate: Positive = 0.01
    """Learning rate of Adam."""
    clip: Positive = 1.0
    """Largest norm of the gradient."""
    damping: NonNegative = 0.01
    """SparseGPT only: damping of the Hessian's diagonal, as a fraction of its mean."""
    block_size: Count = 128
    """SparseGPT only: number of columns whose mask is chosen together (B)."""

    def check(self, model: LanguageModel, calibration: Tokens | None) -> None:
        super().check(model, calibration)
        if self.base == "sparsegpt":
            self.check_block_size(self.block_size)
        require_whole_layers(model, self.slug())
        total = total_weights(model)
        least = self.added_weights(model) / total
        if 0 < self.target <= least:
            raise BadInput(
                f"`sparsity` must be above {least:.4g}, got {self.target:g}: the rotations add "
                "as many weights; prune more, or use the base method alone"
            )

    def added_weights(self, model: LanguageModel) -> int:
        """Return the number of weights of the rotations before, between and after the blocks."""
        return (len(model.blocks) + 1) * model.config.hidden_size**2 if self.target else 0

    def prune(self, model: LanguageModel, calibration: Tokens) -> dict[str, Any]:
        """Rotate and prune block by block; return the entropy of each before and after."""
        if not self.target:
            return {}
        counts = self.counts(model, torch.ones(len(model.blocks)))
        size, last = model.config.hidden_size, len(model.blocks) - 1
        before = torch.eye(size, dtype=torch.float64, device=model.accelerator)
        entropies = []
        for block in walk(model, calibration):
            # Undo the rotation of the block before, while the new one is trained.
            set_stream_matrix(block.module, "entry_rotation", before)
            weights = fold_gains(block)
            rotation, losses = self.train(block, weights, self.statistics(block))
            merge(block, rotation, weights)
            del weights  # fp64; otherwise they stay in memory until the next block has its own
            Q = rotation.stream
            set_stream_matrix(block.module, "entry_rotation", Q.T @ before)
            if block.index == last:
                set_stream_matrix(block.module, "exit_rotation", Q)  # x Q -> x Q Q^T
            self.prune_block(block, self.pattern or counts[block.index])
            entropies.append([losses[0], min(losses)])
            before = Q
        return {"entropies": entropies}

    def statistics(self, block: WalkedBlock) -> dict[str, Tensor]:
        """Return `H = X^T X` or, for SparseGPT, its damped inverse, `[in, in]` fp32 by role.

        Magnitude needs none.
        """
        matrices: dict[str, Tensor] = {}
        if self.base == "magnitude":
            return matrices
        for gram, linears in block.sharing(block.observe(Gram)):
            matrix = gram.matrix
            if self.base == "sparsegpt":
                where = f"block {block.index}, {', '.join(linears)}"
                matrix = damped_inverse(matrix, self.damping, where).float()
            matrices |= dict.fromkeys(linears, matrix)
        return matrices

    def train(
        self, block: Block, weights: Mapping[str, Tensor], matrices: Mapping[str, Tensor]
    ) -> tuple[Rotation, list[float]]:
        """Minimise the entropy; return the rotation with the lowest, fp64, and all entropies.

        `weights [out, in]` and `matrices` of `statistics` are given by role.
        """
        weights = {role: weight.float() for role, weight in weights.items()}
        attention, down = block.attention, weights["down"]
        # The QR decompositions are fp64, because Adam scales up gradients that only rounding
        # keeps from being zero: those of the entries on which Q does not depend.
        A = torch.eye(len(down), dtype=torch.float64, device=down.device)
        B = torch.eye(attention.head_size, dtype=torch.float64, device=down.device)
        B = B.repeat(attention.kv_heads, 1, 1)
        best, losses = Rotation(A, B), list[float]()
        with torch.enable_grad():
            adam = torch.optim.Adam((A.requires_grad_(), B.requires_grad_()), lr=self.rate)
            for step in range(self.steps + 1):
                rotation = Rotation.of(A, B)
                loss = self.loss(rotation.to(torch.float32), weights, matrices)
                losses.append(float(loss.detach()))
                if not math.isfinite(losses[-1]):
                    cause = (
                        f"use a `rate` below {self.rate:g}"
                        if step
                        else "weights or activations are too large"
                    )
                    raise NumericsError(
                        f"block {block.index}: the entropy after {step} training steps is "
                        f"{losses[-1]}; {cause}"
                    )
                if losses[-1] < min(losses[:-1], default=math.inf):
                    best = Rotation(rotation.stream.detach(), rotation.heads.detach())
                if step < self.steps:
                    adam.zero_grad()
                    loss.backward()
                    nn.utils.clip_grad_norm_((A, B), self.clip)
                    adam.step()
        return best, losses

    def loss(
        self, rotation: Rotation, weights: Mapping[str, Tensor], matrices: Mapping[str, Tensor]
    ) -> Tensor:
        """Return the entropy of the scores of all rotated layers, summed over their groups."""
        total = rotation.stream.new_zeros(())
        for roles in INPUTS:
            factor = self.factor(rotation.diagonal(roles[0], matrices[roles[0]])) if matrices else 1
            for role in roles:
                scores = rotation.weight(role, weights[role]).square() * factor  # S
                for dim in NORMALISED_DIMS[role]:
                    total = total + entropy(scores, dim)
        return total

    def factor(self, diagonal: Tensor) -> Tensor:
        """Return the factor of `W'^2` in the score of each input, `[in]`, from the diagonal."""
        tiny = torch.finfo(diagonal.dtype).tiny  # of inputs that are zero
        return diagonal.clamp(min=tiny) if self.base == "wanda" else 1 / diagonal.clamp(min=tiny)

    def prune_block(self, block: WalkedBlock, removal: Pattern | dict[str, int]) -> None:
        """Prune a block with the base method to the numbers of weights by role, or a pattern."""
        if self.base == "sparsegpt":
            prune_by_solving(block, removal, self.block_size, self.damping)
        elif self.base == "wanda":
            prune_by_input_norms(block, removal)
        else:
            prune_by_magnitude(block, removal)
