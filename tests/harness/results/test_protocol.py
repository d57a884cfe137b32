"""Protocols: built-in ones, files, validation and fingerprints."""

from __future__ import annotations

import json

import pytest
from pydantic import ValidationError

from implementations.harness.errors import BadInput
from implementations.harness.results.protocol import (
    CalibrationText,
    EvaluationText,
    Protocol,
    TrainingText,
    get_protocol,
)


def test_smol_is_unchanged_since_the_records_were_made():
    smol = get_protocol("smol")
    assert smol.model == "smollm2-135m"
    assert smol.dtype == "float32"
    assert smol.metrics == ["ppl/wikipedia/1024", "ppl/c4/1024"]
    assert smol.calibration == CalibrationText(text="c4", samples=32, length=1024, reserve=16)
    wikipedia, c4 = smol.evaluations
    assert (wikipedia.windows, wikipedia.take) == (32, "first")
    assert (c4.windows, c4.take) == (16, "last")


def test_quick_is_smaller_and_paper_follows_the_literature():
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
def test_perplexity_is_named_after_text_and_window_length(text: str, name: str):
    assert EvaluationText(text=text, length=512).metric == name


def test_fingerprint_covers_only_what_affects_the_numbers():
    smol = get_protocol("smol")
    assert smol.model_copy(update={"batch_size": 1, "about": ""}).fingerprint == smol.fingerprint
    assert smol.model_copy(update={"dtype": "bfloat16"}).fingerprint != smol.fingerprint


def test_unknown_protocol_suggests_the_closest_name():
    with pytest.raises(BadInput, match="did you mean 'quick'"):
        get_protocol("quikc")
    with pytest.raises(BadInput, match="smol, quick, paper"):
        get_protocol("zzz")


def test_read_protocol_from_a_file(world):
    tiny = get_protocol(str(world.protocol))
    assert tiny.name == "tiny"
    assert tiny.metrics == ["ppl/evaluation/32"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: x", "calibration: Field required"),
        ("[", "line 1"),
        ("name: x\nname: y", "line 2: gives 'name' twice"),
        ("name: !!python/name:os.system x", "could not determine a constructor"),
        ("name: !!bool maybe", "not valid YAML"),
        ("dtype: .nan", "dtype: Input should be"),
        ("name: X Y", "name: String should match"),
        ('name: "x\\n"', "name: String should match"),
        ("colour: red", "colour: Extra inputs"),
        ("", "not a valid protocol"),
    ],
)
def test_refuses_invalid_protocol_file(text, message, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(BadInput, match=message) as refusal:
        get_protocol(str(path))
    assert str(path) in str(refusal.value)


def test_home_folder_is_expanded(world, monkeypatch):
    monkeypatch.setenv("HOME", str(world.protocol.parent))
    assert get_protocol(f"~/{world.protocol.name}").name == "tiny"


def test_refuses_file_that_redefines_a_built_in_protocol(world):
    path = world.write_protocol("smol")
    with pytest.raises(BadInput, match="differs from it; change its name"):
        get_protocol(str(path))


def test_refuses_two_evaluations_of_one_name(world):
    twice = [{"text": str(world.evaluation), "length": 32} for _ in range(2)]
    with pytest.raises(BadInput, match="same name: ppl/evaluation/32"):
        get_protocol(str(world.write_protocol("twice", evaluations=twice)))


def test_refuses_start_together_with_documents():
    with pytest.raises(ValidationError, match="start only applies to one long text"):
        TrainingText(text="c4-train", length=32, documents=4, start=10)


def test_training_texts_of_the_built_in_protocols():
    smol, quick, paper = (get_protocol(name) for name in ("smol", "quick", "paper"))
    assert smol.training == TrainingText(text="c4", length=1024, reserve=16)
    assert quick.training == TrainingText(text="c4", length=512, reserve=16)
    assert paper.training == TrainingText(text="c4-train", length=2048, documents=4096)
    assert smol.domain == TrainingText(text="code", length=1024)
    assert quick.domain == TrainingText(text="code", length=512)
    assert paper.domain == TrainingText(text="code", length=2048)
    for protocol in (smol, quick, paper):
        evaluated = {evaluation.text for evaluation in protocol.evaluations}
        assert protocol.domain.text not in evaluated | {protocol.calibration.text}


def test_start_of_zero_is_not_written():
    text = TrainingText(text="wikipedia", length=32)
    assert "start" not in text.model_dump(mode="json")
    assert text.model_copy(update={"start": 65536}).model_dump(mode="json")["start"] == 65536


def test_protocol_of_a_record_without_training_keeps_its_bytes():
    smol = get_protocol("smol")
    written = smol.model_dump(mode="json")
    assert [*written, "own_texts"] == list(Protocol.model_fields)
    del written["training"], written["domain"]
    old = Protocol.model_validate_json(json.dumps(written))
    assert old.training is None
    assert json.dumps(old.model_dump(mode="json")) == json.dumps(written)
    assert old.model_dump_json() == json.dumps(written, separators=(",", ":"))
    assert old.fingerprint == smol.fingerprint


def test_refuses_file_that_changes_the_training_text_of_a_built_in_protocol(tmp_path):
    quick = get_protocol("quick").model_dump(mode="json")
    path = tmp_path / "quick.yaml"
    path.write_text(json.dumps(quick))
    assert get_protocol(str(path)) == get_protocol("quick")
    quick["training"]["text"] = "wikipedia"
    path.write_text(json.dumps(quick))
    with pytest.raises(BadInput, match="differs from it; change its name"):
        get_protocol(str(path))
