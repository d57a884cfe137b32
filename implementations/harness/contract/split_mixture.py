"""Split the feed-forward parts of a dense model into experts, for tests and demonstrations.

    python -m implementations.harness.contract.split_mixture build/smollm2-135m-in-8-experts

The result is a Mixtral whose experts share out the channels of a Llama. With all experts chosen it
computes the same as the dense model. With fewer, it leaves out the experts whose outputs a linear
router expects to be small. No weight is trained, so such a model shows that code works, and nothing
about mixtures that were trained as such.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn.functional import normalize
from transformers import AutoModelForCausalLM, MixtralConfig

from implementations.harness.data.samples import prepare_samples
from implementations.harness.data.tokens import Tokens
from implementations.harness.errors import BadInput
from implementations.harness.model.experts import Experts
from implementations.harness.model.loading import load_model
from implementations.harness.model.saving import save_model
from implementations.harness.model.view import LanguageModel
from implementations.harness.prune.statistics import Gram, Latest
from implementations.harness.prune.walk import WalkedBlock, walk

SHARED = (
    *("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads"),
    *("num_key_value_heads", "head_dim", "hidden_act", "max_position_embeddings", "rms_norm_eps"),
    *("rope_parameters", "tie_word_embeddings", "bos_token_id", "eos_token_id", "pad_token_id"),
)
"""Settings that Llama and Mixtral have in common."""
ROUNDS = 5
RIDGE = 0.01  # of the mean diagonal of the Gram matrix
SCALE = 1e-4
"""Size of the router's logits: so small that the gates are almost equal, and large enough that
their order survives the rounding of probabilities in fp32."""


def split(
    model: LanguageModel, calibration: Tokens, experts: int = 8, top_k: int = 6
) -> LanguageModel:
    """Return a Mixtral with the channels of `model`, a Llama, in `experts` groups of equal size.

    Raises `BadInput` for another family and for a number that does not divide the channels.
    """
    if model.family.name != "llama":
        raise BadInput(f"{model.name} is a {model.family.name} model; only a Llama can be split")
    channels = model.blocks[0].feed_forward.channels
    if channels % experts:
        raise BadInput(
            f"`experts` must divide the {channels} channels of {model.name}, got {experts}"
        )
    if not 0 < top_k <= experts:
        raise BadInput(f"`top_k` must be between 1 and {experts}, got {top_k}")
    shared: dict[str, Any] = {name: getattr(model.config, name, None) for name in SHARED}
    config = MixtralConfig(
        **shared,
        intermediate_size=channels // experts,
        num_local_experts=experts,
        num_experts_per_tok=top_k,
    )
    hf = AutoModelForCausalLM.from_config(config, dtype=model.dtype)
    state = {name: value for name, value in model.hf.state_dict().items() if ".mlp." not in name}
    hf.load_state_dict(state, strict=False)
    hf.tie_weights()
    mixture = LanguageModel(hf, model.tokenizer, name=f"{model.name}-in-{experts}-experts")
    with torch.no_grad():
        for block, made in zip(walk(model, calibration, edits=False), mixture.blocks, strict=True):
            part, own = block.feed_forward, made.experts
            assert part.gate is not None
            assert own is not None
            groups = balanced_groups(part.gate.weight, experts)  # [experts, channels of each]
            weights = own.weights()
            inner = [linear.weight[groups] for linear in (part.gate, part.up)]
            weights["gate_up_proj"].copy_(torch.cat(inner, dim=1))
            # Times k, because the gates of the k chosen experts are about 1 / k.
            weights["down_proj"].copy_(top_k * part.down.weight[:, groups].movedim(1, 0))
            weights["router"].copy_(expected_norms(block, own))
    return mixture


def balanced_groups(rows: Tensor, count: int) -> Tensor:
    """Group similar `rows [n, features]` into groups of equal size, `[count, n / count]`.

    This is k-means with cosine similarity, in which each row joins the most similar group that has
    room, the most similar pairs first.
    """
    unit = normalize(rows.float(), dim=1)
    size = len(unit) // count
    centres = unit[::size][:count]
    groups: list[list[int]] = []
    for _ in range(ROUNDS):
        groups, free = [[] for _ in range(count)], set(range(len(unit)))
        order = (unit @ centres.T).flatten().argsort(descending=True, stable=True).tolist()
        for row, group in (divmod(pair, count) for pair in order):
            if row in free and len(groups[group]) < size:
                groups[group].append(row)
                free.remove(row)
        centres = torch.stack([normalize(unit[group].sum(dim=0), dim=0) for group in groups])
    return torch.tensor(groups)


def expected_norms(block: WalkedBlock, experts: Experts) -> Tensor:
    """Return router rows whose logits are the expected norms of the experts' outputs.

    A ridge regression on the input of the MLP, `[experts, hidden]`, of the norms relative to
    their mean over the experts, times `SCALE`.
    """
    targets = torch.zeros(block.feed_forward.up.in_features, experts.count)
    with block.watching(Gram, "up") as grams, block.watching(Latest, "up") as latest:
        for _ in block.run():
            x = latest["up"].x  # [tokens, hidden]
            outputs = [
                experts.output(j, x.to(block.feed_forward.up.weight.dtype))
                for j in range(experts.count)
            ]
            norms = torch.stack([output.float().norm(dim=1) for output in outputs], dim=1)
            targets += x.T @ (norms - norms.mean(dim=1, keepdim=True))
    gram = grams["up"].matrix.double()
    gram.diagonal().add_(RIDGE * gram.diagonal().mean())
    fitted = torch.linalg.solve(gram, targets.double()).T  # [experts, hidden]
    return cast(Tensor, SCALE * fitted / fitted.norm(dim=1).mean())


def main() -> None:
    """Split the embedded model and save the mixture with the tokenizer."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="folder to write")
    parser.add_argument("--experts", type=int, default=8, help="number of experts")
    parser.add_argument("--top-k", type=int, default=6, help="experts chosen for each token")
    options = parser.parse_args()
    model = load_model("smollm2-135m")
    text = prepare_samples("quick", model).calibration
    save_model(split(model, text, options.experts, options.top_k), options.folder)
    sys.stdout.write(f"{options.folder}\n")


if __name__ == "__main__":
    main()
