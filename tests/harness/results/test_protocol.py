"""Protocols say exactly what is read, and refuse what cannot be a fair measurement."""

from __future__ import annotations

import re

import pytest
import torch

from implementations.harness.data.samples import Sampler, prepare
from implementations.harness.errors import BadInput
from implementations.harness.model.loading import load_model
from implementations.harness.results.protocol import (
    CalibrationText,
    EvaluationText,
    get_protocol,
)


def test_smol_is_what_the_records_were_made_with():
    smol = get_protocol("smol")
    assert smol.model == "smollm2-135m"
    assert smol.dtype == "float32"
    assert smol.metrics == ["ppl/wikipedia/1024", "ppl/c4/1024"]
    assert smol.calibration == CalibrationText(text="c4", samples=32, length=1024, reserve=16)
    wikipedia, c4 = smol.evaluations
    assert (wikipedia.windows, wikipedia.take) == (32, "first")
    assert (c4.windows, c4.take) == (16, "last")


def test_quick_is_smaller_and_paper_is_the_literature():
    quick, paper = get_protocol("quick"), get_protocol("paper")
    assert (quick.calibration.samples, quick.calibration.length) == (8, 512)
    assert quick.metrics == ["ppl/wikipedia/512"]
    assert quick.evaluations[0].windows == 8
    assert quick.generation.tokens == 32
    assert (paper.calibration.samples, paper.calibration.length) == (128, 2048)
    assert paper.metrics == ["ppl/wikitext2/2048"]
    assert paper.evaluations[0].windows is None
    assert paper.model is None


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("wikipedia", "ppl/wikipedia/512"),
        ("texts/my-notes.txt", "ppl/my-notes/512"),
        ("/some/where/my.jsonl", "ppl/my/512"),
    ],
)
def test_a_perplexity_is_named_by_text_and_window(text: str, name: str):
    assert EvaluationText(text=text, length=512).metric == name


def test_the_fingerprint_follows_what_decides_numbers_only():
    smol = get_protocol("smol")
    assert smol.model_copy(update={"batch_size": 1, "about": ""}).fingerprint == smol.fingerprint
    assert smol.model_copy(update={"dtype": "bfloat16"}).fingerprint != smol.fingerprint


def test_an_unknown_protocol_gets_the_nearest_name():
    with pytest.raises(BadInput, match="did you mean 'quick'"):
        get_protocol("quikc")
    with pytest.raises(BadInput, match="smol, quick, paper"):
        get_protocol("zzz")


def test_a_protocol_can_be_a_file(world):
    tiny = get_protocol(str(world.protocol))
    assert tiny.name == "tiny"
    assert tiny.metrics == ["ppl/evaluation/32"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: x", "calibration: Field required"),
        ("[", "cannot read the protocol"),
        ("name: X Y", "name: String should match"),
        ("colour: red", "colour: Extra inputs"),
        ("", "not a protocol"),
    ],
)
def test_a_wrong_file_is_named_with_its_problem(text, message, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(BadInput, match=message) as refusal:
        get_protocol(str(path))
    assert str(path) in str(refusal.value)


def test_a_file_cannot_redefine_a_named_protocol(world):
    path = world.write_protocol("smol")
    with pytest.raises(BadInput, match="keeps its name; rename it"):
        get_protocol(str(path))


def test_two_evaluations_of_one_name_are_refused(world):
    twice = [{"text": str(world.evaluation), "length": 32}] * 2
    with pytest.raises(BadInput, match="same name: ppl/evaluation/32"):
        get_protocol(str(world.write_protocol("twice", evaluations=twice)))


@pytest.fixture(scope="module")
def model(world):
    return load_model(world.model)


def samples(world, model, name: str, seed: int = 0, **changes):
    protocol = get_protocol(str(world.write_protocol(name, **changes)))
    return prepare(protocol, model, seed)


def test_the_seed_draws_the_calibration_and_nothing_else(world, model):
    sampler = Sampler(get_protocol(str(world.protocol)), model)
    first, again, other = sampler.samples(0), sampler.samples(0), sampler.samples(1)
    assert torch.equal(first.calibration.ids, again.calibration.ids)
    assert first.calibration.spans != other.calibration.spans
    metric = "ppl/evaluation/32"
    assert torch.equal(first.evaluations[metric].ids, other.evaluations[metric].ids)


def test_evaluation_starts_where_the_reserve_starts(world, model):
    text = str(world.calibration)
    size = len(world.calibration.read_bytes())  # a token a byte
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


def test_overlap_is_refused(world, model):
    text = str(world.calibration)
    with pytest.raises(BadInput, match="overlap"):
        samples(
            world,
            model,
            "overlap",
            calibration={"text": text, "samples": 64, "length": 32},
            evaluations=[{"text": text, "length": 32}],
        )


def test_overlap_is_found_under_another_name(world, model, tmp_path):
    copy = tmp_path / "copy.txt"
    copy.write_text("A new beginning. " + world.calibration.read_text())
    with pytest.raises(BadInput, match="share"):
        samples(world, model, "disguised", evaluations=[{"text": str(copy), "length": 128}])


def test_documents_are_drawn_from_json_lines(world, model, tmp_path):
    lines = [f'{{"text": "{word * 20}"}}' for word in ("amber ", "river ", "stone ", "velvet ")]
    path = tmp_path / "documents.jsonl"
    path.write_text("\n".join(lines))
    asked = {"text": str(path), "samples": 3, "length": 32, "draw": "documents"}
    found = samples(world, model, "documents", calibration=asked)
    assert found.calibration.ids.shape == (3, 32)


@pytest.mark.parametrize("content", ["", "too short"])
def test_empty_and_short_texts_are_refused(content, world, model, tmp_path):
    path = tmp_path / "text.txt"
    path.write_text(content)
    for part in (
        {"calibration": {"text": str(path), "samples": 1, "length": 32}},
        {"evaluations": [{"text": str(path), "length": 32}]},
    ):
        with pytest.raises(BadInput, match=re.escape(str(path))):
            samples(world, model, "short", **part)


def test_a_reserve_that_takes_the_whole_text_is_refused(world, model):
    asked = {"text": str(world.calibration), "samples": 1, "length": 32, "reserve": 10_000}
    with pytest.raises(BadInput, match=re.escape(str(world.calibration))):
        samples(world, model, "greedy", calibration=asked)


def test_windows_longer_than_the_model_reads_are_refused(world, model):
    with pytest.raises(BadInput, match="reads at most 128"):
        samples(world, model, "long", evaluations=[{"text": str(world.evaluation), "length": 256}])


def test_ids_beyond_the_vocabulary_are_refused(world):
    from implementations.harness.contract.tiny import tiny_model
    from implementations.harness.model.view import LanguageModel

    narrow = LanguageModel(tiny_model("llama").hf, load_model(world.model).tokenizer)
    with pytest.raises(BadInput, match="vocabulary"):
        prepare(get_protocol(str(world.protocol)), narrow)


@pytest.mark.model
def test_smol_to_the_token():
    model = load_model("smollm2-135m")
    found = prepare(get_protocol("smol"), model)
    wikipedia, c4 = found.evaluations.values()
    assert wikipedia.spans[0] == (0, 1024)
    assert wikipedia.spans[-1] == (31 * 1024, 32 * 1024)
    assert c4.spans[0] == (279 * 1024, 280 * 1024)
    assert c4.spans[-1][1] == 295 * 1024
    assert found.calibration.ids.shape == (32, 1024)
    assert max(end for _, end in found.calibration.spans) <= 279 * 1024
