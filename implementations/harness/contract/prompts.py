"""Clauses for methods that act while the model runs, after a prompt or on all tokens."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from implementations.harness.contract.clause import clause
from implementations.harness.contract.helpers import (
    calibration_for,
    configured,
    fingerprint,
    logits,
    refusal,
    same,
    within_reach,
)
from implementations.harness.contract.side_effects import state
from implementations.harness.contract.tiny import VOCABULARY, random_tokens, tiny_model
from implementations.harness.measure.generation import cache_argument, greedy
from implementations.harness.measure.perplexity import perplexity, split_perplexity
from implementations.harness.model.saving import save_model
from implementations.harness.model.view import LanguageModel
from implementations.harness.prune.method import Method

PROMPT, AFTER = 12, 8  # tokens


def takes_channels(method: type[Method]) -> bool:
    """Return whether the method selects channels."""
    return "channels" in method.capabilities.granularity


def drops_activations(method: type[Method]) -> bool:
    """Return whether the method drops activations of each token."""
    return "activations" in method.capabilities.granularity


@clause("methods that act while the model runs", kinds="input-dependent")
def zero_sparsity_is_the_dense_model(method: type[Method], family: str) -> None:
    """With a sparsity of zero, prompt and continuation have the dense logits."""
    expected, texts = logits(tiny_model(family)), ids()
    acting, model = prepared(method, family, sparsity=0)
    with acting.active(model, PROMPT):
        assert close(logits(model), expected)
        assert close(written(model, texts), whole(model, texts))


@clause("methods that act while the model runs", kinds="input-dependent")
def dense_model_reads_the_prompt(method: type[Method], family: str) -> None:
    """At any sparsity, the logits of the prompt are the dense ones, and later ones are not."""
    texts = ids()
    dense = whole(tiny_model(family), texts)
    for share in shares(method, tiny_model(family)):
        acting, model = prepared(method, family, sparsity=share)
        with acting.active(model, PROMPT):
            found = whole(model, texts)
        assert close(found[:, :PROMPT], dense[:, :PROMPT])
        assert not close(found[:, PROMPT:], dense[:, PROMPT:])


@clause("methods that act while the model runs", kinds="input-dependent", every=True)
def decoding_equals_a_single_pass(method: type[Method], family: str) -> None:
    """Prefill and decoding with the cache give the logits of one pass over the whole text.

    The prompt may be read in two pieces, and may be a single token.
    """
    acting, model = prepared(method, family)
    texts = ids()
    for prompt, steps in ((PROMPT, (PROMPT,)), (PROMPT, (5, 7)), (1, (1,))):
        with acting.active(model, prompt):
            assert close(written(model, texts, *steps), whole(model, texts))
            one = texts[:1]  # a single text skips columns or channels, a batch masks them
            assert close(written(model, one, *steps), whole(model, one))


@clause("methods that act while the model runs", kinds="input-dependent")
def equal_prompts_select_equal_units(method: type[Method], family: str) -> None:
    """The units selected for a text depend only on that text."""
    acting, model = prepared(method, family)
    first, second = ids(2)[:, None]
    with acting.active(model, PROMPT):
        alone = whole(model, first)
    with acting.active(model, PROMPT):
        written(model, second)
        assert close(written(model, first), alone)
        assert torch.equal(whole(model, first), alone)
        assert close(whole(model, torch.cat([second, first]))[1:], alone)


@clause("methods that act while the model runs", kinds="input-dependent")
def padding_does_not_matter(method: type[Method], family: str) -> None:
    """A prompt padded on the left in a batch is continued as without padding."""
    acting, model = prepared(method, family)
    long, short = ids(2)[:, None, :PROMPT]
    short = short[:, 4:]
    padded = torch.cat([long, torch.cat([torch.zeros_like(short[:, :4]), short], dim=1)])
    mask = torch.ones_like(padded)
    mask[1, :4] = 0
    with acting.active(model, PROMPT):
        together = generated(model, padded, mask)
        apart = generated(model, long, torch.ones_like(long))
    with acting.active(model, short.shape[1]):
        alone = generated(model, short, torch.ones_like(short))
    assert close(together[:1], apart)
    assert close(together[1:], alone)


@clause("methods that act while the model runs", kinds="input-dependent")
def generate_equals_greedy_decoding(method: type[Method], family: str) -> None:
    """`generate` of transformers equals the decoding of the harness, with and without cache."""
    acting, model = prepared(method, family)
    text = ids(1)[:, :PROMPT]
    with acting.active(model, PROMPT):
        expected = torch.cat(list(greedy(model, text, AFTER)))
        for cache in (True, False):
            found = generated(model, text, torch.ones_like(text), use_cache=cache)
            assert torch.equal(found[0].argmax(dim=-1), expected)


@clause(
    "methods that select channels for each prompt", when=takes_channels, kinds="input-dependent"
)
def requested_share_of_weights_is_unused(method: type[Method], family: str) -> None:
    """The share of unused weights is met within half a channel, and a channel remains."""
    model = tiny_model(family, blocks=4)
    total = sum(linear.weight.numel() for _, _, linear in model.linears())
    for share in shares(method, model):
        asked_for = configured(method, sparsity=share)
        allowed = asked_for.largest_unit(model) / 2 + 1e-6
        outcome = asked_for.apply(model, None)
        assert abs(outcome.unused - share * total) <= allowed
        assert abs(outcome.achieved - share) <= allowed / total
        assert min(outcome.details.get("channels", [1])) >= 1


@clause("methods that drop activations", when=drops_activations, kinds="input-dependent")
def requested_share_of_weights_is_not_read(method: type[Method], family: str) -> None:
    """The calibration meets the requested share, or more where activations are zero anyway.

    On other text, the measured share is close to the requested one.
    """
    for share in shares(method, tiny_model(family)):
        acting, model = prepared(method, family, sparsity=share)
        dense = tiny_model(family)
        total = sum(linear.weight.numel() for _, _, linear in dense.linears())
        outcome = acting.apply(dense, calibration_for(method))
        added = acting.added_weights(dense) / total
        least = share - added - 0.01
        gated = model.blocks[0].feed_forward.gate is not None
        assert least <= outcome.achieved <= (least + 0.02 if gated else 1)
        assert abs(outcome.unused / total - outcome.achieved - added) < 1e-6
        with acting.active(dense, PROMPT):
            whole(dense, ids(6))
        counted = acting.counted(dense, outcome)
        assert len(counted.details.get("counted", ())) == len(dense.blocks)
        assert abs(counted.achieved - outcome.achieved) < 0.1


@clause("methods that drop activations", when=drops_activations, kinds="input-dependent")
def without_a_dense_prompt_all_tokens_act(method: type[Method], family: str) -> None:
    """Without a dense prompt, every token drops its activations, whatever comes after it."""
    acting, model = prepared(method, family, dense_prompt=False)
    texts = ids()
    dense = whole(tiny_model(family), texts)
    with acting.active(model, PROMPT):
        found = whole(model, texts)
        assert not close(found[:, :1], dense[:, :1])
        assert close(whole(model, texts[:, :5]), found[:, :5])
        assert close(written(model, texts), found)
        assert close(written(model, texts[:1], 1), found[:1])
        perplexity(model, random_tokens())
    assert not acting.prompted
    assert acting.excluded.keys() == {"save", "recover"}


@clause("methods that act while the model runs", kinds="input-dependent")
def dense_model_is_restored(method: type[Method], family: str) -> None:
    """Weights, hooks, modes and generators are restored, also after an exception."""
    acting, model = prepared(method, family)
    texts = ids()
    before, dense, weights = state(model), whole(model, texts), fingerprint(model)
    with acting.active(model, PROMPT):
        written(model, texts)
    try:
        with acting.active(model, PROMPT):
            raise KeyboardInterrupt
    except KeyboardInterrupt:
        pass
    assert state(model) == before
    assert same(fingerprint(model), weights)
    assert torch.equal(whole(model, texts), dense)
    assert not model.active_method
    assert not model.active_prompt


@clause("methods that act while the model runs", kinds="input-dependent")
def half_precision_works_with_prompts(method: type[Method], family: str) -> None:
    """A bf16 model computes in bf16."""
    acting, model = prepared(method, family, dtype=torch.bfloat16)
    with acting.active(model, PROMPT):
        found = written(model, ids(1))
    assert found.dtype == torch.bfloat16
    assert bool(found.isfinite().all())


@clause("methods that act while the model runs", kinds="input-dependent")
def unsupported_uses_are_refused(method: type[Method], family: str) -> None:
    """Saving, and perplexity without a prompt, are refused."""
    acting, model = prepared(method, family)
    name = acting.slug()
    assert {"save", "recover", "tasks"} <= acting.excluded.keys()
    assert "got 0" in refusal(enter, acting, model, 0)
    with acting.active(model, PROMPT):
        assert name in refusal(perplexity, model, random_tokens())
        assert "already" in refusal(enter, acting, model, PROMPT)
        with tempfile.TemporaryDirectory() as folder:
            assert name in refusal(save_model, model, Path(folder) / "pruned")
            assert not any(Path(folder).iterdir())
        message = refusal(split_perplexity, model, random_tokens(2, PROMPT), PROMPT)
        assert str(PROMPT) in message


@clause(
    "methods that select channels for each prompt", when=takes_channels, kinds="input-dependent"
)
def cache_from_outside_is_refused(method: type[Method], family: str) -> None:
    """A key/value cache that was filled without the method is rejected."""
    acting, model = prepared(method, family)
    texts = ids(1)
    cache: dict[str, Any] = {cache_argument(model): filled(model, texts)}
    with acting.active(model, PROMPT):
        assert "elsewhere" in refusal(model.hf, input_ids=texts[:, :1], **cache)


@clause(
    "methods that need a calibration before they act",
    when=drops_activations,
    kinds="input-dependent",
)
def uncalibrated_models_are_refused(method: type[Method], family: str) -> None:
    """A model that was not calibrated with these settings is rejected."""
    acting, model = prepared(method, family)
    assert "apply" in refusal(enter, acting, tiny_model(family), PROMPT)
    other = within_reach(method, model, sparsity=acting.target / 2)
    assert "apply" in refusal(enter, other, model, PROMPT)


def prepared(
    method: type[Method], family: str, dtype: torch.dtype = torch.float32, **settings: Any
) -> tuple[Method, LanguageModel]:
    """Return a configured method and a tiny model to which it was applied."""
    model = tiny_model(family, dtype=dtype)
    acting = within_reach(method, model, **settings)
    acting.apply(model, calibration_for(method))
    return acting, model


def shares(method: type[Method], model: LanguageModel) -> list[float]:
    """Return a small sparsity and the largest that the method can reach."""
    limit = configured(method).max_sparsity(model)
    return [limit / 4, limit]


def enter(method: Method, model: LanguageModel, prompt: int) -> None:
    """Activate a method and deactivate it."""
    with method.active(model, prompt):
        pass


def ids(samples: int = 3) -> Tensor:
    """Return texts, `[samples, PROMPT + AFTER]`."""
    return random_tokens(samples, PROMPT + AFTER, seed=3).ids


def whole(model: LanguageModel, texts: Tensor) -> Tensor:
    """Return the logits of one pass over `texts [samples, tokens]`."""
    with torch.no_grad():
        return cast(Tensor, model.hf(input_ids=texts, use_cache=False).logits)


def written(model: LanguageModel, texts: Tensor, *pieces: int) -> Tensor:
    """Return the logits of `texts`, with the prompt in `pieces`, then token by token."""
    lengths = list(pieces or (PROMPT,))
    lengths += [1] * (texts.shape[1] - sum(lengths))
    cache: Any = None
    found = []
    with torch.no_grad():
        for piece in texts.split(lengths, dim=1):
            output = model.hf(input_ids=piece, use_cache=True, **{cache_argument(model): cache})
            cache = output[cache_argument(model)]
            found.append(output.logits)
    return torch.cat(found, dim=1)


def filled(model: LanguageModel, texts: Tensor) -> Any:
    """Return the cache of a pass over `texts`."""
    with torch.no_grad():
        return model.hf(input_ids=texts, use_cache=True)[cache_argument(model)]


def generated(
    model: LanguageModel, prompts: Tensor, mask: Tensor, use_cache: bool = True
) -> Tensor:
    """Continue prompts greedily with `generate` and return the logits `[samples, AFTER, words]`."""
    with torch.no_grad():
        output = model.hf.generate(
            prompts,
            attention_mask=mask,
            max_new_tokens=AFTER,
            eos_token_id=VOCABULARY,  # never generated, so that nothing ends early
            do_sample=False,
            use_cache=use_cache,
            output_logits=True,
            return_dict_in_generate=True,
        )
    return torch.stack(output.logits, dim=1)


def close(a: Tensor, b: Tensor) -> bool:
    """Return whether two tensors of logits agree."""
    return torch.allclose(a, b, rtol=1e-4, atol=1e-4)
