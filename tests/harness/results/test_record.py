"""Records: stable bytes, validation, keys and groups."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone

import pytest
from pydantic import ValidationError

from implementations.harness.results.protocol import Protocol, get_protocol
from implementations.harness.results.record import Dense, ModelInfo, Rate, Record, key_of
from implementations.harness.results.store import load_record, save_record
from tests.keyed import WEIGHTS

Make = Callable[..., Record]


def test_json_is_stable_and_in_the_order_of_the_fields(made_up: Make):
    text = made_up().to_json()
    assert text == made_up().to_json()
    optional = (
        "external",
        "course",
        "recovered",
        "processes",
        "tolerance",
    )  # not written if they are empty
    fields = [name for name in Record.model_fields if name not in optional]
    assert list(json.loads(text)) == fields
    assert '"date": "2026-11-25T12:00:00Z"' in text
    assert '"spans": [[0, 1024], [2048, 3072]]' in text  # one line, however many windows


def test_bits_are_only_written_if_the_method_quantises(made_up: Make):
    plain = made_up()
    assert "bits" not in plain.to_json()
    fewer = made_up(footprint=plain.footprint.model_copy(update={"bits": 1.516}))
    assert Record.model_validate_json(fewer.to_json()) == fewer
    assert json.loads(fewer.to_json())["footprint"]["bits"] == 1.516
    assert (plain.settings, fewer.settings) == ("50 %", "50 %, 1.52 bits")
    assert fewer.key == plain.key  # the key covers the request, not its result


def test_refuses_infinity(made_up: Make):
    with pytest.raises(ValueError, match="finite"):
        made_up(values={"ppl/wikipedia/1024": float("inf")})


def counted(weights: int, **changes: int) -> Dense:
    """Return a dense row with the number of prunable weights."""
    footprint = WEIGHTS.model_copy(update={"weights": weights} | changes)
    return Dense(run="20261125T110000Z-11111111", values={}, footprint=footprint)


def test_zeros_may_differ_by_the_zeros_of_the_dense_model(made_up: Make):
    left = WEIGHTS.model_copy(update={"nonzero": 550})
    assert made_up(dense=counted(900), footprint=left)
    assert made_up(dense=counted(900, nonzero=560), footprint=left)


def test_schema_version_is_required(made_up: Make):
    content = json.loads(made_up().to_json())
    del content["schema_version"]
    with pytest.raises(ValidationError, match="schema_version"):
        Record.model_validate_json(json.dumps(content))


REFUSED = {
    "path in method": {"method": "../../evil"},
    "newline in method": {"method": "wanda\n"},
    "capital letter in method": {"method": "Wanda"},
    "path in name": {"name": "../x"},
    "hidden name": {"name": ".x"},
    "parent folder as name": {"name": ".."},
    "name of 201 letters": {"name": "x" * 201},
    "malformed run name": {"run": "today"},
    "command other than atlas run": {"command": "rm -r /"},
    "value name without text": {"values": {"ppl": 1.0}},
    "control character in value name": {"values": {"ppl/\x1b[31m/8": 1.0}},
    "newline in label": {"labels": ("a\nb",)},
    "share above 1": {"achieved": 1.5},
    "perplexity below 1": {"values": {"ppl/wikipedia/1024": 0.9}},
    "negative divergence": {"values": {"kl/wikipedia/1024": -1e-3}},
    "agreement above 1": {"values": {"agreement_after_prompt/wikipedia/1024": 1.01}},
    "no zeros": {"footprint": WEIGHTS},
    "too few zeros": {"dense": counted(900), "footprint": counted(900, nonzero=640).footprint},
    "too many zeros": {"dense": counted(900), "footprint": counted(900, nonzero=460).footprint},
    "no unit removed": {"granularity": ("channels",), "footprint": WEIGHTS},
    "changed field missing from configuration": {"changed": ("damping",)},
    "missing sparsity": {"configuration": {}},
    "boolean sparsity": {"configuration": {"sparsity": True}},
    "malformed pattern": {"configuration": {"sparsity": 0.5, "pattern": "[/x]"}},
    "invalid field name": {"configuration": {"sparsity": 0.5, "a b": 1}},
    "integer beyond 64 bits": {"details": {"a": [2**63]}},
    "nested infinity": {"details": {"a": {"b": float("inf")}}},
    "seed beyond 64 bits": {"seed": 2**64},
    "negative duration": {"seconds": {"prune": -1.0}},
    "year 1": {"date": datetime(1, 1, 1, tzinfo=UTC)},
    "year 9999": {"date": datetime(9999, 12, 31, 23, tzinfo=timezone(timedelta(hours=-9)))},
    "year 2200 in UTC": {"date": datetime(2199, 12, 31, 23, tzinfo=timezone(timedelta(hours=-9)))},
}


@pytest.mark.parametrize("change", REFUSED.values(), ids=REFUSED)
def test_refuses_invalid_field(change: dict, made_up: Make):
    with pytest.raises(ValidationError) as refusal:
        made_up(**change)
    assert "was edited" not in str(refusal.value)


def test_refuses_invalid_nested_field(made_up: Make):
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
        (record.protocol, {"name": "smol\n"}),
        (record.protocol, {"name": "s" * 65}),
        (record.protocol.calibration, {"samples": 10**7, "length": 10**6}),
    ):
        with pytest.raises(ValidationError):
            type(part).model_validate(vars(part) | change)
    with pytest.raises(ValidationError):
        Rate(dense=1.0, pruned=1.0, ratio=2.0, low=1.0, high=1.5)


def test_keeps_unusual_but_harmless_text(made_up: Make, tmp_path):
    model = made_up().model.model_copy(update={"name": "größe 大 [/x] <b>"})
    record = made_up(model=model, sample="any\x1b[31m text\n", warnings=("two\nlines",))
    assert load_record(save_record(record, tmp_path)) == record


def test_group_depends_on_everything_but_the_seed(made_up: Make):
    assert made_up(seed=1).group == made_up().group
    assert made_up(configuration={"sparsity": 0.7}).group != made_up().group
    assert made_up(tasks=("arc_easy",)).group != made_up().group


def test_settings_name_share_and_changed_fields(made_up: Make):
    assert made_up().settings == "50 %"
    pattern = {"sparsity": 0.5, "pattern": "2:4", "damping": 0.1}
    assert made_up(configuration=pattern, changed=("damping",)).settings == "2:4 damping=0.1"


def test_ratio_uses_the_dense_value_of_the_record(made_up: Make):
    record = made_up()
    assert record.ratio("ppl/wikipedia/1024") == 2
    assert record.ratio("acc/arc_easy") is None
    zero = record.dense.model_copy(update={"values": {"ppl/wikipedia/1024": 0.0}})
    assert record.model_copy(update={"dense": zero}).ratio("ppl/wikipedia/1024") is None


def test_peak_above_start_excludes_the_model(made_up: Make):
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
def test_key_covers_the_identity_of_the_model(made_up: Make, change: dict):
    other = made_up().model.model_copy(update=change)
    assert made_up(model=other).key != made_up().key
    assert made_up(model=other).group != made_up().group


def test_key_ignores_the_location_of_the_model(made_up: Make):
    moved = made_up().model.model_copy(update={"source": "/elsewhere", "name": "elsewhere"})
    assert made_up(model=moved).key == made_up().key


def test_key_covers_the_content_of_the_texts(made_up: Make):
    (text,) = made_up().texts
    other = text.model_copy(update={"source_sha256": "9" * 64})
    assert made_up(texts=(other,)).key != made_up().key
    drawn = text.model_copy(update={"text_sha256": "9" * 64})  # depends on the seed for documents
    assert made_up(texts=(drawn,)).key == made_up().key


def key(training: str | None, *, trains: bool) -> str:
    asked = {"text": training, "length": 512} if training else None
    protocol = Protocol.model_validate(vars(get_protocol("quick")) | {"training": asked})
    texts = {"calibration": "a"} | ({"training": "b"} if trains else {})
    versions = {"measurement": 1, "revision": 1}
    return key_of("toy", {}, protocol, **versions, model=MODEL, texts=texts, device="cpu", seed=0)


def test_key_covers_the_version_of_the_code(made_up: Make):
    keys = {made_up().key, made_up(measurement=2).key, made_up(revision=2).key}
    assert len(keys) == 3


def test_key_covers_the_training_text_only_if_the_method_trains():
    assert key("c4", trains=True) != key("wikipedia", trains=True)
    assert key("c4", trains=False) == key("wikipedia", trains=False) == key(None, trains=False)
    assert key("c4", trains=True) != key("c4", trains=False)


def test_seeds_of_a_training_method_share_a_group(made_up: Make):
    text = made_up().texts[0].model_copy(update={"role": "training"})
    trained = {"texts": (*made_up().texts, text)}
    other = get_protocol("smol").model_copy(update={"training": None})
    assert made_up(seed=1, **trained).group == made_up(**trained).group
    assert made_up(**trained).group != made_up().group
    assert made_up(protocol=other, **trained).group != made_up(**trained).group
    assert made_up(protocol=other).group == made_up().group
