"""GRIFFIN: the prompt selects the channels that generate the answer (Dong et al., COLM 2024).

Within one text, the tokens activate mostly the same MLP channels; another text activates others.
Therefore, the whole model processes the prompt, each block records which of its channels are most
active, and only those compute the following tokens. Nothing is trained or removed permanently.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import normalize

from implementations.griffin.prompt import PromptMethod
from implementations.harness import Block, Capabilities, Ratio


class Griffin(PromptMethod):
    """For each prompt, keep the MLP channels that its tokens activate most.

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
    """Share of the decoder's weights unused after the prompt: for Llama 2, half of the channels."""
    select: Literal["prompt", "sampled", "magnitude", "random"] = "prompt"
    """How channels are selected: by the highest scores on the prompt, by a random sample with these
    scores as probabilities, or, as baselines, by the largest weight norms or at random."""
    shared: bool = False
    """Use one selection for the whole batch, so that layers can be sliced, not one per sample."""

    def evidence(self, inner: Tensor) -> Tensor:
        """Return each channel's squared share of a token, `[samples, tokens, channels]`.

        The squared shares of a token sum to 1, regardless of the size of its activations.
        """
        return normalize(inner, dim=-1).square()  # a token of zeros contributes nothing

    def scores(self, block: Block, evidence: Tensor, generator: torch.Generator) -> Tensor:
        """Return the scores of the channels, by the criterion that `select` names."""
        if self.select == "magnitude":
            return magnitude(block)[None]
        if self.select == "random":
            return torch.rand(1, evidence.shape[-1], generator=generator).to(evidence.device)
        if self.shared:  # texts of any length count equally
            tokens = evidence.sum(dim=-1, keepdim=True).clamp(min=1)  # [samples, 1]
            statistic = (evidence / tokens).sqrt().sum(dim=0, keepdim=True)
        else:
            statistic = evidence.sqrt()  # s, [samples, channels]
        if self.select == "prompt":
            return statistic
        # The largest of log s plus Gumbel noise are a sample by s without replacement.
        noise = torch.rand(statistic.shape[-1], generator=generator).to(statistic.device)
        return statistic.log() - (-noise.log()).log()


def magnitude(block: Block) -> Tensor:
    """Return the product of the norms of each channel's rows in `gate` and `up`, `[channels]`."""
    linears = block.linears()
    norms = [linears[role].weight.float().norm(dim=1) for role in ("gate", "up") if role in linears]
    return torch.stack(norms).prod(dim=0)
