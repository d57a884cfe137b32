"""The topic of the catalog as patterns: pruning and sparsity of language models."""

from __future__ import annotations

import re

_UNITS = r"(?:layer|block|sub-?layer|depth|expert|neuron|head|channel|parameter)s?"
PRUNING = re.compile(
    r"\b(?:prun(?:e[drs]?|ers|ing)|sparsi(?:ty|fy|fie[ds]|fying|fication)|lottery tickets?|slimming"
    r"|sparse(?:ly)?[ -](?:\w+[ -])?(?:llms?|models?|networks?|transformers?|mlps?|weights?|masks?"
    r"|activat\w+|training|pre-?training|(?:fine-?)?tuning)"
    rf"|{_UNITS}[ -](?:remov|skip|drop|elimin|redundan)\w+"
    rf"|(?:remov|skip|drop|delet|redundan)\w+ (?:\w+ )?{_UNITS}"
    r"|n:m|[124]:[48])\b",
    re.IGNORECASE,
)
"""Words for weights, units or activations that are removed or skipped."""
MODELS = re.compile(
    r"\b(?:\w*llms?|[sv]?lms?|language modell?(?:s|ing)?|reasoning models?|foundation models?"
    r"|transformers?|gpt|\w*bert|\w*llama|qwen|mamba|state[ -]space models?|s?moes?"
    r"|mixtures?[ -]of[ -]experts)\b",
    re.IGNORECASE,
)
"""Words for language models."""
_OTHERS = r"(?:tokens?|prompts?|contexts?|kv|caches?|samples?|retriev\w+|graphs?|trees?|thoughts?)"
_REDUCED = r"(?:prun|spars|compress|reduc|evict|select|merg|drop|skip)\w+"
_WORD = r"(?:(?!and|aware|based|for|from|in|of|wise|with)\w+[ -])?"
OTHER = re.compile(
    rf"\b(?:{_OTHERS}[ -]{_WORD}{_REDUCED}|{_REDUCED}[ ]{_WORD}{_OTHERS}|kv|key[ -]value"
    rf"|data(?:sets?)?[ -]prun\w+|attention[ ]spars\w+|spars\w+[ ]{_WORD}attention|autoencoders?"
    r"|vi(?:sion|sual)[ ]transformers?|cnns?)\b",
    re.IGNORECASE,
)
"""Phrases for what is out of scope: tokens, prompts, caches, attention, data, vision models."""
MENTIONS = 2
"""Number of times that an abstract must name the topic if the title does not."""


def on_topic(title: str, abstract: str = "", context: str = "") -> bool:
    """Whether a paper is about pruning or sparsity of language models.

    `context` is text that holds for the paper as its title does, such as a heading above it.
    """
    named = f"{context} {title}"
    if OTHER.search(title) or not MODELS.search(f"{named} {abstract}"):
        return False
    mentions = PRUNING.findall(OTHER.sub(" ", abstract))
    return bool(PRUNING.search(named)) or len(mentions) >= MENTIONS
