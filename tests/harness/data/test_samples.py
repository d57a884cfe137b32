"""Samples of a run: drawn by the seed, and disjoint from the evaluation text."""

from __future__ import annotations

import re

import pytest
import torch

from implementations.harness.data.samples import Sampler, prepare_samples
from implementations.harness.errors import BadInput
from implementations.harness.model.loading import load_model
from implementations.harness.results.protocol import get_protocol


@pytest.fixture(scope="module")
def model(world):
    return load_model(world.model)


def samples(world, model, name: str, seed: int = 0, **changes):
    protocol = get_protocol(str(world.write_protocol(name, **changes)))

    return prepare_samples(protocol, model, seed)


def test_seed_changes_calibration_but_not_evaluation(world, model):
    sampler = Sampler(get_protocol(str(world.protocol)), model)
    first, again, other = sampler.samples(0), sampler.samples(0), sampler.samples(1)
    assert torch.equal(first.calibration.ids, again.calibration.ids)
    assert first.calibration.spans != other.calibration.spans
    metric = "ppl/evaluation/32"
    assert torch.equal(first.evaluations[metric].ids, other.evaluations[metric].ids)


def test_calibration_ends_before_the_reserved_evaluation_windows(world, model):
    text = str(world.calibration)
    size = len(world.calibration.read_bytes())  # one token per byte
    found = samples(
        world,
        model,
        "reserve",
        calibration={
            "text": text,
            "samples": 64,
            "length": 32,
            "reserve": 16,
            "reserve_length": 32,
        },
        evaluations=[{"text": text, "length": 32, "windows": 16, "take": "last"}],
    )
    boundary = (size // 32 - 16) * 32
    assert max(end for _, end in found.calibration.spans) <= boundary
    assert found.evaluations["ppl/calibration/32"].spans[0][0] == boundary
    assert "same text" in found.disjoint
    assert f"starts at {boundary:,}" in found.disjoint


def test_refuses_overlapping_calibration_and_evaluation(world, model):
    text = str(world.calibration)
    with pytest.raises(BadInput, match="overlap"):
        samples(
            world,
            model,
            "overlap",
            calibration={"text": text, "samples": 64, "length": 32},
            evaluations=[{"text": text, "length": 32}],
        )


def test_detects_overlap_with_a_copy_of_the_text(world, model, tmp_path):
    copy = tmp_path / "copy.txt"
    copy.write_text("A new beginning. " + world.calibration.read_text())
    with pytest.raises(BadInput, match="share"):
        samples(world, model, "disguised", evaluations=[{"text": str(copy), "length": 128}])


def test_draws_documents_from_json_lines(world, model, tmp_path):
    lines = [f'{{"text": "{word * 20}"}}' for word in ("amber ", "river ", "stone ", "velvet ")]
    path = tmp_path / "documents.jsonl"
    path.write_text("\n".join(lines))
    asked = {"text": str(path), "samples": 3, "length": 32, "draw": "documents"}
    found = samples(world, model, "documents", calibration=asked)
    assert found.calibration.ids.shape == (3, 32)


@pytest.mark.parametrize("content", ["", "too short"])
def test_refuses_empty_and_short_texts(content, world, model, tmp_path):
    path = tmp_path / "text.txt"
    path.write_text(content)
    for part in (
        {"calibration": {"text": str(path), "samples": 1, "length": 32}},
        {"evaluations": [{"text": str(path), "length": 32}]},
    ):
        with pytest.raises(BadInput, match=re.escape(str(path))):
            samples(world, model, "short", **part)


def test_refuses_reserve_of_the_whole_text(world, model):
    asked = {"text": str(world.calibration), "samples": 1, "length": 32, "reserve": 10_000}
    with pytest.raises(BadInput, match=re.escape(str(world.calibration))):
        samples(world, model, "greedy", calibration=asked)


def test_refuses_windows_longer_than_the_model_reads(world, model):
    with pytest.raises(BadInput, match="reads at most 128"):
        samples(world, model, "long", evaluations=[{"text": str(world.evaluation), "length": 256}])


def test_refuses_ids_beyond_the_vocabulary(world):
    from implementations.harness.contract.tiny import tiny_model
    from implementations.harness.model.view import LanguageModel

    narrow = LanguageModel(tiny_model("llama").hf, load_model(world.model).tokenizer)
    with pytest.raises(BadInput, match="vocabulary"):
        prepare_samples(get_protocol(str(world.protocol)), narrow)


@pytest.mark.full
@pytest.mark.model
def test_smol_protocol_reads_the_expected_tokens():
    model = load_model("smollm2-135m")
    found = prepare_samples("smol", model)
    wikipedia, c4 = found.evaluations.values()
    assert wikipedia.spans[0] == (0, 1024)
    assert wikipedia.spans[-1] == (31 * 1024, 32 * 1024)
    assert c4.spans[0] == (279 * 1024, 280 * 1024)
    assert c4.spans[-1][1] == 295 * 1024
    assert found.calibration.ids.shape == (32, 1024)
    assert max(end for _, end in found.calibration.spans) <= 279 * 1024


# Training text


def training(world, model, name: str, asked: dict | None, seed: int = 0, **changes):
    changes |= {"training": asked} if asked else {}
    protocol = get_protocol(str(world.write_protocol(name, **changes)))
    return Sampler(protocol, model).samples(seed, ["training"])


def test_training_stream_has_every_window_before_the_reserve(world, model):
    text, size = str(world.calibration), len(world.calibration.read_bytes())  # one token per byte
    boundary = (size // 32 - 16) * 32
    found = training(
        world,
        model,
        "training",
        {"text": text, "length": 48, "reserve": 16, "reserve_length": 32},
        evaluations=[{"text": text, "length": 32, "windows": 16, "take": "last"}],
        calibration={"text": str(world.evaluation), "samples": 2, "length": 32},
    )
    stream = found.calibration.training
    spans = [(start, start + 48) for start in range(0, boundary - 47, 48)]
    assert stream.windows.spans == tuple(spans)
    assert found.evaluations["ppl/calibration/32"].spans[0][0] == boundary
    assert f"training: ppl/calibration/32: same text, training ends at token {spans[-1][1]:,}" in (
        found.disjoint
    )
    assert "checked before the run; ppl/calibration/32: another text" in found.disjoint


def test_seed_draws_the_order_of_training(world, model):
    asked = {"text": str(world.calibration), "length": 32}
    first, again, other = (
        training(world, model, "order", asked, seed).calibration.training for seed in (0, 0, 1)
    )
    assert torch.equal(next(first.batches(4)), next(again.batches(4)))
    assert not torch.equal(next(first.batches(4)), next(other.batches(4)))
    assert torch.equal(first.windows.ids, other.windows.ids)


def test_seed_draws_the_training_documents(world, model, tmp_path):
    path = tmp_path / "documents.jsonl"
    path.write_text(
        "\n".join(f'{{"text": "{word * 20}"}}' for word in ("amber ", "river ", "sea "))
    )
    asked = {"text": str(path), "length": 32, "documents": 2}
    streams = [
        training(world, model, "crops", asked, seed).calibration.training for seed in range(4)
    ]
    assert {stream.windows.ids.shape for stream in streams} == {(2, 32)}
    assert len({stream.windows.sha256 for stream in streams}) > 1


def test_training_text_is_read_only_on_request(world, model):
    asked = {"text": "/there/is/no/such.txt", "length": 32}
    protocol = get_protocol(str(world.write_protocol("lazy", training=asked)))
    sampler = Sampler(protocol, model)
    found = sampler.samples(0)
    assert found.calibration.training is None
    assert "training" not in found.disjoint
    with pytest.raises(BadInput, match=r"no/such\.txt"):
        sampler.samples(0, ["training"])


def test_domain_text_starts_after_the_evaluation_windows(world, model):
    text, size = str(world.evaluation), len(world.evaluation.read_bytes())
    asked = {"text": text, "length": 48, "start": 100}
    metric = {"text": text, "length": 32, "windows": 3}
    protocol = get_protocol(str(world.write_protocol("domain", domain=asked, evaluations=[metric])))
    found = Sampler(protocol, model).samples(0, ["domain"])
    stream = found.calibration.domain
    assert found.calibration.training is None
    assert stream.windows.spans == tuple((s, s + 48) for s in range(100, size - 47, 48))
    assert "domain: ppl/evaluation/32: same text" in found.disjoint
    both = Sampler(protocol, model)
    assert set(both.sources(["domain"])) == {"calibration", "domain", "ppl/evaluation/32"}
    with pytest.raises(BadInput, match="add `training` with text and length"):
        both.samples(0, ["domain", "training"])
    overlapping = {"text": text, "length": 48, "start": 50}
    protocol = get_protocol(
        str(world.write_protocol("overlap", domain=overlapping, evaluations=[metric]))
    )
    with pytest.raises(BadInput, match="overlap"):
        Sampler(protocol, model).samples(0, ["domain"])


def test_training_text_does_not_change_the_calibration(world, model):
    asked = {"text": str(world.calibration), "length": 32}
    trained = training(world, model, "both", asked, seed=3)
    plain = Sampler(get_protocol(str(world.protocol)), model).samples(3)
    assert torch.equal(trained.calibration.ids, plain.calibration.ids)
    assert trained.calibration.batch_size == plain.calibration.batch_size


def test_refuses_training_on_evaluation_text(world, model, tmp_path):
    with pytest.raises(
        BadInput, match=r"^training tokens \[0, 32\) of .* and evaluation .* overlap"
    ):
        training(world, model, "same", {"text": str(world.evaluation), "length": 32})
    copy = tmp_path / "copy.txt"
    copy.write_text("A new beginning. " + world.evaluation.read_text())
    with pytest.raises(BadInput, match=r"^training \(.*copy\.txt\) and evaluation .* share tokens"):
        training(world, model, "renamed", {"text": str(copy), "length": 128})


def test_missing_training_text_says_what_to_add(world, model):
    with pytest.raises(BadInput, match="bare has no `training` text; add `training` with text"):
        training(world, model, "bare", None)


MOSTLY_KEPT = r"it has [\d,]+ tokens, and its last 10,000 windows of 1,024 are kept for evaluation"


@pytest.mark.parametrize(
    ("asked", "message"),
    [({"length": 256}, "reads at most 128"), ({"length": 32, "reserve": 10_000}, MOSTLY_KEPT)],
)
def test_refuses_training_text_that_does_not_fit(asked, message, world, model):
    with pytest.raises(BadInput, match=message):
        training(world, model, "unfit", {"text": str(world.calibration)} | asked)
