"""Records: in stable order, grouped by what was asked for, without infinity."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone

import pytest
from pydantic import ValidationError

from implementations.harness.results.protocol import Protocol, get_protocol
from implementations.harness.results.record import ModelInfo, Rate, Record, key_of
from implementations.harness.results.store import load_record, save_record

Make = Callable[..., Record]


def test_the_same_record_gives_the_same_bytes_in_the_order_of_the_fields(made_up: Make):
    text = made_up().to_json()
    assert text == made_up().to_json()
    trained = ("course", "recovered")  # not written where nothing was
    fields = [name for name in Record.model_fields if name not in trained]
    assert list(json.loads(text)) == fields
    assert '"date": "2026-11-25T12:00:00Z"' in text
    assert '"spans": [[0, 1024], [2048, 3072]]' in text  # one line, however many windows


def test_bits_are_written_and_named_only_where_a_method_quantises(made_up: Make):
    plain = made_up()
    assert "bits" not in plain.to_json()
    fewer = made_up(footprint=plain.footprint.model_copy(update={"bits": 1.516}))
    assert Record.model_validate_json(fewer.to_json()) == fewer
    assert json.loads(fewer.to_json())["footprint"]["bits"] == 1.516
    assert (plain.settings, fewer.settings) == ("50 %", "50 %, 1.52 bits")
    assert fewer.key == plain.key  # what came out, and not what was asked


def test_infinity_is_not_written(made_up: Make):
    with pytest.raises(ValueError, match="finite"):
        made_up(values={"ppl/wikipedia/1024": float("inf")})


REFUSED = {
    "method that leads away": {"method": "../../evil"},
    "method with a line end": {"method": "wanda\n"},
    "method in capitals": {"method": "Wanda"},
    "name that leads away": {"name": "../x"},
    "hidden name": {"name": ".x"},
    "no name but the folder above": {"name": ".."},
    "name of 201 letters": {"name": "x" * 201},
    "run of another form": {"run": "today"},
    "command of something else": {"command": "rm -r /"},
    "value of nothing": {"values": {"ppl": 1.0}},
    "value with a control character": {"values": {"ppl/\x1b[31m/8": 1.0}},
    "label with an end of line": {"labels": ("a\nb",)},
    "share above all": {"achieved": 1.5},
    "changed field that is not there": {"changed": ("damping",)},
    "no share": {"configuration": {}},
    "share that is true": {"configuration": {"sparsity": True}},
    "pattern that is none": {"configuration": {"sparsity": 0.5, "pattern": "[/x]"}},
    "field that is no name": {"configuration": {"sparsity": 0.5, "a b": 1}},
    "integer without end": {"details": {"a": [2**63]}},
    "infinity inside": {"details": {"a": {"b": float("inf")}}},
    "seed beyond torch's": {"seed": 2**64},
    "time that runs back": {"seconds": {"prune": -1.0}},
    "the first year": {"date": datetime(1, 1, 1, tzinfo=UTC)},
    "the last year": {"date": datetime(9999, 12, 31, 23, tzinfo=timezone(timedelta(hours=-9)))},
    "a year that is another in UTC": {
        "date": datetime(2199, 12, 31, 23, tzinfo=timezone(timedelta(hours=-9)))
    },
}


@pytest.mark.parametrize("change", REFUSED.values(), ids=REFUSED)
def test_what_no_run_writes_is_refused(change: dict, made_up: Make):
    with pytest.raises(ValidationError) as refusal:
        made_up(**change)
    assert "it was edited" not in str(refusal.value)


def test_parts_are_bounded_too(made_up: Make):
    record = made_up()
    for part, change in (
        (record, {"key": "x" * 64}),
        (record.footprint, {"nonzero": record.footprint.parameters + 1}),
        (record.footprint, {"macs": -1}),
        (record.footprint, {"bits": 0.0}),
        (record.footprint, {"bits": 65.0}),
        (record.texts[0], {"spans": ((8, 4),)}),
        (record.texts[0], {"spans": ((-4, 4),)}),
        (record.texts[0], {"text_sha256": "1" * 63}),
        (record.model, {"name": "a\x1b[31m"}),
        (record.model, {"name": "a\u202eb"}),
        (record.hardware, {"cores": -1}),
        (record.tolerance["ppl"], {"elsewhere": -1.0}),
        (record.protocol, {"name": "smol\n"}),
        (record.protocol, {"name": "s" * 65}),
        (record.protocol.calibration, {"samples": 10**7, "length": 10**6}),
    ):
        with pytest.raises(ValidationError):
            type(part).model_validate(vars(part) | change)
    with pytest.raises(ValidationError):
        Rate(dense=1.0, pruned=1.0, ratio=2.0, low=1.0, high=1.5)


def test_odd_words_that_harm_nothing_are_kept(made_up: Make, tmp_path):
    model = made_up().model.model_copy(update={"name": "größe 大 [/x] <b>"})
    record = made_up(model=model, sample="any\x1b[31m text\n", warnings=("two\nlines",))
    assert load_record(save_record(record, tmp_path)) == record


def test_groups_differ_in_everything_but_the_seed(made_up: Make):
    assert made_up(seed=1).group == made_up().group
    assert made_up(configuration={"sparsity": 0.7}).group != made_up().group
    assert made_up(tasks=("arc_easy",)).group != made_up().group


def test_settings_read_well(made_up: Make):
    assert made_up().settings == "50 %"
    pattern = {"sparsity": 0.5, "pattern": "2:4", "damping": 0.1}
    assert made_up(configuration=pattern, changed=("damping",)).settings == "2:4 damping=0.1"


def test_a_ratio_is_to_the_dense_value_beside_it(made_up: Make):
    record = made_up()
    assert record.ratio("ppl/wikipedia/1024") == 2
    assert record.ratio("acc/arc_easy") is None
    zero = record.dense.model_copy(update={"values": {"ppl/wikipedia/1024": 0.0}})
    assert made_up(dense=zero).ratio("ppl/wikipedia/1024") is None


def test_a_peak_says_what_the_work_needed(made_up: Make):
    assert made_up().peak.above_start == 1000


MODEL = ModelInfo(
    name="m",
    source="m",
    sha256="0" * 64,
    config_sha256="1" * 64,
    tokenizer_sha256="2" * 64,
    family="llama",
    dtype="float32",
    device="cpu",
    accelerator="cpu",
    parameters=10,
)


@pytest.mark.parametrize(
    "change",
    [
        {"sha256": "9" * 64},
        {"config_sha256": "9" * 64},
        {"tokenizer_sha256": "9" * 64},
        {"dtype": "bfloat16"},
    ],
)
def test_everything_that_makes_a_model_is_in_the_key(made_up: Make, change: dict):
    other = made_up().model.model_copy(update=change)
    assert made_up(model=other).key != made_up().key
    assert made_up(model=other).group != made_up().group


def test_where_a_model_lies_is_not_in_the_key(made_up: Make):
    moved = made_up().model.model_copy(update={"source": "/elsewhere", "name": "elsewhere"})
    assert made_up(model=moved).key == made_up().key


def test_what_a_text_says_is_in_the_key(made_up: Make):
    (text,) = made_up().texts
    other = text.model_copy(update={"source_sha256": "9" * 64})
    assert made_up(texts=(other,)).key != made_up().key
    drawn = text.model_copy(update={"text_sha256": "9" * 64})  # of documents, by the seed
    assert made_up(texts=(drawn,)).key == made_up().key


def key(training: str | None, *, trains: bool) -> str:
    asked = {"text": training, "length": 512} if training else None
    protocol = Protocol.model_validate(vars(get_protocol("quick")) | {"training": asked})
    texts = {"calibration": "a"} | ({"training": "b"} if trains else {})
    return key_of("toy", {}, protocol, model=MODEL, texts=texts, device="cpu", seed=0)


def test_the_text_to_train_on_tells_apart_only_runs_that_train():
    assert key("c4", trains=True) != key("wikipedia", trains=True)
    assert key("c4", trains=False) == key("wikipedia", trains=False) == key(None, trains=False)
    assert key("c4", trains=True) != key("c4", trains=False)


def test_seeds_of_a_method_that_trains_are_one_group(made_up: Make):
    text = made_up().texts[0].model_copy(update={"role": "training"})
    trained = {"texts": (*made_up().texts, text)}
    other = get_protocol("smol").model_copy(update={"training": None})
    assert made_up(seed=1, **trained).group == made_up(**trained).group
    assert made_up(**trained).group != made_up().group
    assert made_up(protocol=other, **trained).group != made_up(**trained).group
    assert made_up(protocol=other).group == made_up().group
