"""Protocols whose texts are replaced by files of the user."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import TypeAdapter

from implementations.harness.errors import BadInput
from implementations.harness.results.own_texts import with_own_texts
from implementations.harness.results.protocol import (
    PROTOCOLS,
    CalibrationText,
    EvaluationText,
    OwnTexts,
    Protocol,
    get_protocol,
)
from implementations.harness.results.reading import ValueName

SMOL, PAPER = PROTOCOLS["smol"], PROTOCOLS["paper"]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with texts; their content does not matter here."""
    monkeypatch.chdir(tmp_path)
    for name in ("notes.txt", "web.jsonl", "books.parquet", "held out.txt", "more/web.txt"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).touch()
    return tmp_path


def test_without_files_the_protocol_stays_the_same():
    assert with_own_texts(SMOL) is SMOL
    assert "own_texts" not in SMOL.model_dump(mode="json")


def test_calibration_file_keeps_number_and_length_of_samples_but_no_reserve():
    own = with_own_texts(SMOL, "notes.txt")
    assert own.calibration == CalibrationText(text="notes.txt", samples=32, length=1024)
    assert own.evaluations == SMOL.evaluations
    assert own.training == SMOL.training
    assert own.own_texts == OwnTexts(protocol="smol", calibration=True, evaluations=False)
    assert own.name == "smol-own-notes"


def test_evaluation_files_are_measured_like_the_first_evaluation():
    own = with_own_texts(SMOL, None, ["web.jsonl", "held out.txt"])
    assert own.evaluations == (
        EvaluationText(text="web.jsonl", length=1024, windows=32),
        EvaluationText(text="held out.txt", length=1024, windows=32),
    )
    assert own.metrics == ["ppl/web/1024", "ppl/held out/1024"]
    assert own.calibration == SMOL.calibration
    assert own.own_texts == OwnTexts(protocol="smol", calibration=False, evaluations=True)
    assert own.name == "smol-own-web-held-out"
    assert own.about == "smol, calibrated on c4, measured on web.jsonl, held out.txt"


@pytest.mark.parametrize(
    ("name", "draw"),
    [("notes.txt", "windows"), ("web.jsonl", "documents"), ("books.parquet", "documents")],
)
def test_documents_are_drawn_from_files_that_have_documents(name: str, draw: str):
    assert with_own_texts(PAPER, name).calibration.draw == draw
    assert with_own_texts(SMOL, name).calibration.draw == "windows"


def test_every_choice_of_files_has_a_fingerprint_of_its_own():
    choices = [(None, ()), ("notes.txt", ()), (None, ["notes.txt"]), ("notes.txt", ["web.jsonl"])]
    fingerprints = {with_own_texts(SMOL, *choice).fingerprint for choice in choices}
    assert len(fingerprints) == 4


@pytest.mark.parametrize("stem", ["größe", "大", "A (copy) #1; rm", "-", "x" * 200, "c4"])
def test_any_file_name_gives_a_valid_name_of_protocol_and_metric(stem: str):
    Path(f"{stem}.txt").touch()
    own = with_own_texts(SMOL, None, [f"{stem}.txt"])
    assert Protocol.model_validate_json(own.model_dump_json()) == own
    assert own.name not in PROTOCOLS
    (metric,) = own.metrics
    assert TypeAdapter(ValueName).validate_python(metric) == f"ppl/{stem}/1024"


@pytest.mark.parametrize(
    ("calibrate_on", "evaluate_on", "message"),
    [
        ("nowhere.txt", [], "--calibrate-on: nowhere.txt is not a file"),
        (None, ["nowhere.jsonl"], "--evaluate-on: nowhere.jsonl is not a file"),
        ("more", [], "--calibrate-on: more must be a .txt, .jsonl or .parquet file; convert it"),
        ("c4", [], "--calibrate-on: c4 must be a .txt, .jsonl or .parquet file"),
        (None, ["data.csv"], "--evaluate-on: data.csv must be a .txt, .jsonl or .parquet file"),
        ("a\nb.txt", [], "has control characters in its name; rename it"),
        (
            None,
            ["web.jsonl", "more/web.txt"],
            "web.jsonl and more/web.txt have the same name",
        ),
        (None, ["web.jsonl", "web.jsonl"], "web.jsonl and web.jsonl have the same name 'web'"),
        (
            "more/../notes.txt",
            ["web.jsonl", "notes.txt"],
            "the calibration text more/../notes.txt and the evaluation text notes.txt are the same "
            "file; use different files",
        ),
        ("link.txt", ["notes.txt"], "link.txt and the evaluation text notes.txt are the same file"),
    ],
)
def test_refuses_files_before_reading_them(calibrate_on, evaluate_on, message):
    Path("a\nb.txt").touch()
    Path("link.txt").symlink_to("notes.txt")
    with pytest.raises(BadInput) as refusal:
        with_own_texts(SMOL, calibrate_on, evaluate_on)
    assert message in str(refusal.value)


def test_refuses_evaluation_on_the_calibration_text_of_a_protocol_file():
    calibration = CalibrationText(text="notes.txt", samples=1, length=8, reserve=4)
    protocol = SMOL.model_copy(update={"calibration": calibration})
    with pytest.raises(BadInput, match="are the same file"):
        with_own_texts(protocol, None, ["notes.txt"])


def test_refuses_protocol_file_that_claims_to_be_derived(here: Path):
    path = here / "own.yaml"
    path.write_text(with_own_texts(SMOL, "notes.txt").model_dump_json())
    with pytest.raises(BadInput, match="own_texts is only written in records; remove it"):
        get_protocol(str(path))
