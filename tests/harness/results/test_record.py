"""Records: in stable order, grouped by what was asked for, without infinity."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from implementations.harness.results.protocol import Protocol, get_protocol
from implementations.harness.results.record import ModelInfo, Record, key_of

Make = Callable[..., Record]


def test_the_same_record_gives_the_same_bytes_in_the_order_of_the_fields(made_up: Make):
    text = made_up().to_json()
    assert text == made_up().to_json()
    assert list(json.loads(text)) == list(Record.model_fields)
    assert '"date": "2026-11-25T12:00:00Z"' in text
    assert '"spans": [[0, 1024], [2048, 3072]]' in text  # one line, however many windows


def test_infinity_is_not_written(made_up: Make):
    with pytest.raises(ValueError, match="finite"):
        made_up(values={"ppl/wikipedia/1024": float("inf")})


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
