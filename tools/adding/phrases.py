"""Phrases in titles and abstracts, and the vocabulary term that each suggests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

_REMOVING = (
    r"(remov|prun|delet|drop)(e|es|ed|ing) (whole |entire |redundant |transformer |decoder )*"
)
_GRADIENTS = [
    r"(?<!without )(?<!no )(?<!non-)gradients?(?!-free| descent)",
    "Taylor",
    "Fisher information",
]
_LEARNED = [
    r"learn(s|ed|ing|able)? (\w+ )?(masks?|gates?)",
    r"masks? (learning|training)",
    "hypernetwork",
    "differentiable",
]

PHRASES: Mapping[str, Mapping[str, Sequence[str]]] = {
    "kind": {
        "survey": ["survey", r"a (comprehensive |systematic )?review", "overview of"],
        "benchmark": [r"benchmark(ing)?"],
        "analysis": [r"(empirical|systematic) (study|analysis)", "understanding", "investigating"],
        "method": [
            r"(we|this paper|this work) (propose|introduce|present|develop)s?",
            r"(is|are) proposed",
            "novel",
        ],
    },
    "role": {
        "plug-in": [
            "plug-and-play",
            "plug-?in",
            r"on top of (any|existing)",
            r"orthogonal to (existing|other)",
            r"combined? with (existing|other|any)",
        ],
    },
    "granularity": {
        "unstructured": ["unstructured", "weight-level", "individual weights", "weight sparsity"],
        "semi-structured": [r"semi-?\s?structured", "N:M", "2:4", "4:8"],
        "block-sparse": [r"block-?\s?spars(e|ity)"],
        "activation": [r"(activation|contextual) sparsity", r"sparse activations?"],
        "structured": [
            r"(?<!semi-)(?<!semi )structur(ed|al|ally)",
            r"(depth|width|layer) pruning",
            _REMOVING + r"(layers|blocks|heads|channels|rows|columns)",
        ],
    },
    "prunes": {
        "weights": ["unstructured", r"semi-?\s?structured", "N:M", "2:4", "individual weights"],
        "heads": [r"(attention )?heads"],
        "head-channels": [r"head dimensions?"],
        "channels": [r"(intermediate |FFN |MLP |feed-?forward )?(channels|neurons)"],
        "hidden": [r"(embedding|hidden|residual)( state)? dimensions?"],
        "experts": [r"experts?"],
        "blocks": [
            r"(depth|layer|block) (pruning|removal|dropping)",
            _REMOVING + r"(layers|blocks)",
        ],
    },
    "criterion": {
        "magnitude": [r"(weight )?magnitudes?(-based)?"],
        "activation": [
            r"activation (statistics|variance|patterns?)",
            r"fluctuations?",
            r"principal components?",
        ],
        "weight-activation": [
            r"(weights?|magnitudes?) (\w+ )?(multiplied by|times|and) (\w+ )*activations?",
            "activation-aware",
        ],
        "layer-hessian": [
            "Hessian",
            r"Optimal Brain (Surgeon|Compression)",
            "second-order",
            r"reconstruction error",
            r"layer-?wise reconstruction",
        ],
        "gradient": _GRADIENTS,
        "similarity": [r"(cosine|angular) (similarity|distance)", "block influence"],
        "loss-change": [
            r"perturbati(on|ve)",
            r"(change|increase) (in|of) (the )?(loss|perplexity)",
        ],
        "routing": [r"rout(er|ers|ing)", "gating"],
        "predictor": [r"predictors?"],
        "spectral": [r"singular values?", r"eigenvalues?", "heavy-tailed"],
        "attribution": [r"Shapley( values?)?", "attribution"],
        "learned-mask": _LEARNED,
    },
    "calibration": {
        "none": ["data-free", r"without (any |using )?(calibration )?data"],
        "training": _LEARNED,
        "gradients": [*_GRADIENTS, r"(?<!without )back-?\s?propagation"],
        "forward": [r"forward pass(es)?", "calibration", r"activations?"],
    },
    "recovery": {
        "low-rank": ["LoRA", r"low-rank adapt(ation|ers?)"],
        "closed-form": ["closed-form", "least[- ]squares", r"compensat(e|es|ion|ing)"],
        "none": [
            r"(without|no) (any |further )?(retraining|fine-?tuning|weight updates?)",
            "(re)?training-free",
        ],
        "full-training": [r"(continued|continual) (pre-?)?training", r"full fine-?tuning"],
    },
    "allocation": {
        "searched": ["evolutionary", "genetic", "reinforcement learning", r"search(es|ed|ing)?"],
        "layerwise": [
            r"(non-?uniform|layer-?wise|adaptive|per-layer) (sparsity|pruning)( ratios?)?"
        ],
        "global": [r"global (ranking|importance|threshold|pruning)", "globally"],
        "uniform": [r"uniform (sparsity|ratio|pruning)"],
    },
    "when": {
        "per-token": ["contextual sparsity", "activation sparsity", r"(each|every|per) token"],
        "per-prompt": [
            r"(input|context|prompt)-(dependent|aware|adaptive)",
            r"dynamic(ally)? (pruning|prunes?|sparsity)",
        ],
        "pre-training": [r"sparse pre-?training", "from scratch"],
        "during-training": ["sparse training", r"prun\w+ during (pre-?)?training"],
        "static": ["one-shot", "post-training"],
    },
    "combines": {
        "quantization": [r"quanti[sz](ation|ed|ing)", "binari[sz]ation"],
        "low-rank": [r"low-rank (factori[sz]ation|decomposition|approximation)", "SVD"],
        "distillation": [r"distill(ation|ed|ing)"],
        "merging": [r"merg(e|es|ed|ing)"],
        "nas": [r"(neural )?architecture search", "supernet"],
    },
    "architecture": {
        "moe": [r"mixtures?[- ]of[- ]experts", "MoE", "SMoE"],
        "ssm-hybrid": ["Mamba", r"state[- ]space models?"],
        "encoder": ["BERT", "T5"],
        "multimodal": [r"(vision-language|multi-?modal)"],
    },
    "topic": {
        "calibration-data": [r"calibration (data|sets?|samples)"],
        "safety": ["safety", r"jailbreak(s|ing)?", "trustworthiness", "toxicity"],
        "fairness": ["fairness", r"(social )?bias(es)?"],
        "knowledge": ["factual", r"hallucinat(e|ion|ions)", "knowledge"],
        "reasoning": ["reasoning", "chain-of-thought", "test-time scaling"],
        "multilingual": ["multilingual", "cross-lingual"],
        "scaling-law": [r"scaling laws?"],
        "interpretability": ["interpretability", "mechanistic"],
        "evaluation": ["benchmark", "evaluation protocols?"],
    },
}
"""Phrases by field and term; each is a case-insensitive regular expression for whole words.

For a field with a single term, the first term with a match wins, so specific terms come first.
"""
