"""Check one method by the whole contract and say what to do about each clause that fails."""

from __future__ import annotations

import inspect
import traceback
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from implementations.harness.contract.cases import Case, cases
from implementations.harness.errors import AtlasWarning, in_short
from implementations.harness.progress import track
from implementations.harness.prune.method import Method

ADVICE = {
    "zero_sparsity_changes_nothing": "return early, or make sure that a share of 0 selects nothing",
    "zero_sparsity_removes_nothing": "return early, or make sure that a share of 0 selects nothing",
    "sparsity_is_met": "remove exactly `self.target` of the weights of the blocks' linear layers; "
    "`self.choose(scores)` of `WeightMethod` and `cheapest` round for you",
    "maximum_sparsity_is_met_and_more_is_refused": "override `max_sparsity` if the method cannot "
    "remove everything, for instance because a block must keep one channel",
    "patterns_hold_in_every_group": "let `self.choose(scores)` make the mask, or leave "
    "`semi-structured` out of `granularity`",
    "layers_have_few_distinct_values": "quantise every layer of the blocks and return `bits`, or "
    "leave `quantises` out of `capabilities`",
    "pattern_that_does_not_divide_is_refused": "call `super().check(...)` if you override `check`",
    "zero_sparsity_is_the_dense_model": "let a share of 0 select every unit",
    "dense_model_reads_the_prompt": "act only on the tokens after the prompt",
    "decoding_equals_a_single_pass": "keep the selection of the prompt while tokens are decoded",
    "equal_prompts_select_equal_units": "keep nothing from earlier prompts, and score each sample "
    "by itself",
    "padding_does_not_matter": "leave padded positions out of the scores",
    "generate_equals_greedy_decoding": "let `generate` of transformers use the same forward pass",
    "requested_share_of_weights_is_unused": "select as many units as the share leaves, at least "
    "one, and return `unused`",
    "requested_share_of_weights_is_not_read": "choose thresholds on the calibration set that drop "
    "the requested share, and let `Masker` count what is dropped",
    "without_a_dense_prompt_all_tokens_act": "decide for each token by its own activations, from "
    "the first token on if `dense_prompt` is false",
    "cache_from_outside_is_refused": "raise `BadInput` if nothing was selected for the cached "
    "tokens",
    "uncalibrated_models_are_refused": "let `ActivationMethod.active` look up the calibration",
    "dense_model_is_restored": "undo everything at the end of `active`, in a `finally` block",
    "half_precision_works_with_prompts": "compute scores in fp32 and leave the model's dtype alone",
    "unsupported_uses_are_refused": "use `acting` inside `active`",
    "only_declared_parts_change": "change only the linear layers of the blocks, or name what else "
    "changes in `Capabilities(changes=...)`",
    "equal_seeds_give_equal_results": "draw only from the global generators of torch, NumPy and "
    "random, which the harness seeds; a generator of your own needs a fixed seed",
    "batch_size_does_not_matter": "accumulate statistics over tokens, not means over batches",
    "training_course_is_reported": "return the `course` that `training_course(losses, "
    "stream, windows)` makes",
    "blocks_are_opened_one_at_a_time": "use weights only inside `walk` or `model.visit()`",
    "slicing_equals_masking": "remove units with `remove_units`, `keep_channels`, "
    "`keep_kv_groups` or `remove_blocks`, and declare other changes in `Capabilities(changes=...)`",
    "remaining_experts_are_unchanged": "remove experts with `ExpertMethod.keep` or `keep_experts`",
    "half_precision_works": "compute scores in fp32 and write weights back in the model's dtype",
    "reloads_with_the_same_logits": "change shapes only by the functions of the harness, which "
    "saving understands",
    "invalid_settings_and_weights_are_refused": "annotate the fields with `Ratio`, `Count`, "
    "`Positive`, ..., and call `super().check(...)` if you override `check`",
    "invalid_calibration_is_refused": "declare `calibration` in `capabilities`, and call "
    "`super().check(...)` if you override `check`",
    "training_block_by_block_is_refused": "set `trains` in `capabilities`",
    "training_in_half_precision_is_refused": "call `super().check(...)` if you override `check`",
    "unsupported_family_is_refused": "load models with `LanguageModel` or `load_model`",
    "refused_family_names_the_reason": "call `super().check(...)` if you override `check`",
    "measured_as_pruned": "edit the weights in `prune` and leave `active`, `counted` and `execute` "
    'alone, or declare `when="input-dependent"` in `capabilities`',
    "state_is_restored": "remove hooks in a `finally` block or use `watched` and "
    "`replaced_forward`, and leave flags, modes, gradients and generators as they were",
    "state_is_restored_after_an_exception": "read the calibration text through `walk`, and remove "
    "hooks in a `finally` block, or use `watched` and `replaced_forward`",
}
"""What to do if a clause fails."""


@dataclass(frozen=True)
class Failure:
    """A clause that does not hold for a family."""

    family: str
    message: str
    raised: bool = False
    """Whether the method raised an exception of its own."""


@dataclass(frozen=True)
class Result:
    """The result of one clause on all families that it covers."""

    clause: str
    promise: str
    families: tuple[str, ...]
    failures: tuple[Failure, ...]

    @property
    def raised(self) -> bool:
        """Whether the method raised an exception, so that no further clause is checked."""
        return any(failure.raised for failure in self.failures)

    @property
    def advice(self) -> str:
        """What to do if the clause fails."""
        if self.raised:
            return "repair this exception first; the clauses behind this one were not checked"
        return ADVICE[self.clause]


def check_method(method: type[Method]) -> Iterator[Result]:
    """Check a method on the clauses and families that its capabilities select.

    Stops after the first clause in which the method raises an exception.
    """
    covered = list(cases(method))
    progress = iter(track(covered, f"checking {method.slug()}", len(covered)))
    for _, group in groupby(covered, key=lambda case: case.clause.name):
        result = _result([next(progress) for _ in group])
        yield result
        if result.raised:
            return


def _result(cases: Sequence[Case]) -> Result:
    failures = []
    for case in cases:
        if found := failure(case):
            failures.append(found)
            if found.raised:
                break
    first = cases[0].clause
    promise = inspect.cleandoc(first.check.__doc__ or "").partition("\n")[0]
    families = tuple(case.family for case in cases)
    return Result(first.name, promise, families, tuple(failures))


def failure(case: Case) -> Failure | None:
    """Check one case; return None if it holds, otherwise what is wrong."""
    try:
        with warnings.catch_warnings():
            # The clauses check what these would say, and would repeat it for every family.
            warnings.simplefilter("ignore", AtlasWarning)
            case.check()
    except AssertionError as error:
        return Failure(case.family, str(error) or _line(error))
    except Exception as error:
        what = in_short(f"{type(error).__name__}: {error}")
        message = f"raised {what} in {_place(error, case.method)}"
        return Failure(case.family, message, raised=True)
    return None


def _line(error: AssertionError) -> str:
    """Return the source line of an assertion that has no message."""
    return f"`{traceback.extract_tb(error.__traceback__)[-1].line}` does not hold"


def _place(error: Exception, method: type[Method]) -> str:
    """Return the last line of the method's own files that an exception passed through."""
    frames = traceback.extract_tb(error.__traceback__)
    folder = Path(inspect.getfile(method)).parent
    own = [frame for frame in frames if Path(frame.filename).parent == folder]
    frame = (own or frames)[-1]
    return f"{Path(frame.filename).name}, line {frame.lineno}: `{frame.line}`"
