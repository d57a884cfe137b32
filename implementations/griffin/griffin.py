"""GRIFFIN: the prompt picks the channels that write the answer (Dong et al., COLM 2024).

Within one text, tokens excite much the same feed-forward channels; another text excites others. So
the whole model reads the prompt, each block notes which of its channels took part most, and only
those compute what comes after. Nothing is trained, nothing is removed for good.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import normalize

from implementations.harness import Block, Capabilities, PromptMethod, Ratio


class Griffin(PromptMethod):
    """Keep, for what follows a prompt, the channels that its tokens excite most.

    Source: Dong et al., arXiv:2404.01365, and the authors' code.
    """

    capabilities = Capabilities(
        granularity=("channels",),
        calibration="none",
        when="input-dependent",
        prompted=True,
        changes=(),
    )

    sparsity: Ratio = 0.33
    """Share of the blocks' weights not used in writing: of Llama 2, half of the channels."""
    select: Literal["prompt", "sampled", "magnitude", "random"] = "prompt"
    """What chooses: the prompt, a draw by what it says, or, for comparison, weights or chance."""
    shared: bool = False
    """One choice for all samples of a batch, so that its layers can be cut; else each its own."""

    def evidence(self, inner: Tensor) -> Tensor:
        """Return each channel's part of a token, squared, `[samples, tokens, channels]`.

        The parts of a token add up to 1, however large its activations are.
        """
        return normalize(inner, dim=-1).square()  # a token of zeros says nothing

    def scores(self, block: Block, evidence: Tensor, generator: torch.Generator) -> Tensor:
        """Return the channels' scores: by the prompt, or by what else `select` says."""
        if self.select == "magnitude":
            return magnitude(block)[None]
        if self.select == "random":
            return torch.rand(1, evidence.shape[-1], generator=generator)
        if self.shared:  # texts count alike, however long
            tokens = evidence.sum(dim=-1, keepdim=True).clamp(min=1)  # [samples, 1]
            statistic = (evidence / tokens).sqrt().sum(dim=0, keepdim=True)
        else:
            statistic = evidence.sqrt()  # s, [samples, channels]
        if self.select == "prompt":
            return statistic
        # The largest of log s plus Gumbel noise are a draw by s without replacement.
        noise = torch.rand(statistic.shape[-1], generator=generator).to(statistic.device)
        return statistic.log() - (-noise.log()).log()


def magnitude(block: Block) -> Tensor:
    """Return the product of the norms of each channel's rows in gate and up, `[channels]`."""
    linears = block.linears()
    norms = [linears[role].weight.float().norm(dim=1) for role in ("gate", "up") if role in linears]
    return torch.stack(norms).prod(dim=0)
