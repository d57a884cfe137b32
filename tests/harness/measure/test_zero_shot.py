import copy
import json
import math
import random
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml

from implementations.harness import measure
from implementations.harness.contract.tiny import tiny_model
from implementations.harness.errors import BadInput, NumericsError, Unavailable
from implementations.harness.measure.zero_shot import (
    find,
    load_tasks,
    zero_shot,
)

pytestmark = pytest.mark.full  # importing lm-eval takes seconds

DATA = Path(__file__).parents[2] / "data" / "tasks"
QUESTIONS = [json.loads(line) for line in (DATA / "opposites.jsonl").read_text().splitlines()]


@pytest.fixture
def model(letters):
    made = tiny_model("qwen2", tie_word_embeddings=False)
    made.tokenizer = letters
    return made


@pytest.fixture
def task_folder(monkeypatch, tmp_path):
    """Return the folder of the local task, whose data path is relative to the working directory."""
    pytest.importorskip("lm_eval", reason="lm-eval is not installed (extra `eval`)")
    import datasets

    monkeypatch.chdir(DATA)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    return DATA


def measured(model, tasks, task_folder, **settings):
    return zero_shot(model, load_tasks(tasks, task_folder), **settings)


def by_hand(model, questions):
    """Compute `acc` and `acc_norm` from the likelihood of each answer, one pass per answer."""
    right = {"acc": 0, "acc_norm": 0}
    for question in questions:
        prompt = f"The opposite of {question['word']} is"
        scores = [log_likelihood(model, prompt, f" {answer}") for answer in question["answers"]]
        lengths = [len(answer) for answer in question["answers"]]
        per_letter = [score / length for score, length in zip(scores, lengths, strict=True)]
        right["acc"] += scores.index(max(scores)) == question["right"]
        right["acc_norm"] += per_letter.index(max(per_letter)) == question["right"]
    return {name: count / len(questions) for name, count in right.items()}


def log_likelihood(model, prompt, answer):
    start = len(model.tokenizer(prompt)["input_ids"])
    ids = torch.tensor(model.tokenizer(prompt + answer)["input_ids"])
    with torch.no_grad():
        logits = model.hf(input_ids=ids[None]).logits[0].double().log_softmax(dim=-1)
    return sum(float(logits[i - 1, ids[i]]) for i in range(start, len(ids)))


def check_against_hand(model, task_folder):
    expected = by_hand(model, QUESTIONS)
    values = measured(model, ["opposites"], task_folder, batch_size=5)
    assert set(values) == {
        f"{name}/opposites"
        for name in ("acc", "acc_norm", "acc_stderr", "acc_norm_stderr", "samples", "version")
    }
    for name, share in expected.items():
        assert values[f"{name}/opposites"] == share
        error = math.sqrt(share * (1 - share) / (len(QUESTIONS) - 1))  # of a mean of zeros and ones
        assert values[f"{name}_stderr/opposites"] == pytest.approx(error)
    assert values["samples/opposites"] == len(QUESTIONS)
    assert values["version/opposites"] == 2
    assert json.loads(json.dumps(values)) == values
    return values


def test_accuracy_equals_that_computed_by_hand(model, task_folder):
    check_against_hand(model, task_folder)


@pytest.mark.model
def test_a_real_model_knows_opposites(smollm2, task_folder):
    values = check_against_hand(smollm2, task_folder)
    assert values["acc/opposites"] > 0.6  # chance level is 1/3


def test_limit_uses_the_first_questions_only(model, task_folder):
    values = measured(model, ["opposites"], task_folder, limit=3)
    assert values["samples/opposites"] == 3
    assert values["acc/opposites"] == by_hand(model, QUESTIONS[:3])["acc"]


def test_loaded_tasks_can_be_measured_again(model, task_folder):
    loaded = load_tasks(["opposites"], task_folder)
    first = zero_shot(model, loaded)
    with torch.no_grad():
        model.hf.get_output_embeddings().weight.mul_(-1)
    assert zero_shot(model, loaded) != first
    with torch.no_grad():
        model.hf.get_output_embeddings().weight.mul_(-1)
    assert zero_shot(model, loaded) == first


def test_global_state_and_model_are_restored(model, task_folder, capfd):
    tokenizer = copy.deepcopy(model.tokenizer)
    model.hf.train()
    model.tokenizer.pad_token = None  # lm-eval sets it
    before = random.getstate(), torch.get_rng_state()
    capfd.readouterr()
    measured(model, ["opposites"], task_folder)
    assert capfd.readouterr() == ("", "")
    assert model.tokenizer.pad_token is None
    assert model.tokenizer.get_vocab() == tokenizer.get_vocab()
    assert model.hf.training
    assert random.getstate() == before[0]
    assert torch.equal(torch.get_rng_state(), before[1])


WRITTEN = {
    "output_type": "generate_until",
    "generation_kwargs": {"max_gen_toks": 2, "until": ["."]},
    "metric_list": [{"metric": "exact_match"}],
}


@pytest.mark.parametrize("changes", [{}, WRITTEN], ids=["chosen", "written"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_logits_that_are_not_finite_raise(model, own, value, changes):
    own_task(own, "own", **changes)
    assert measured(model, ["own"], own, limit=1)["samples/own"] == 1
    model.hf.get_output_embeddings().weight.detach()[0, 0] = value
    with pytest.raises(NumericsError, match="NaN or infinity"):
        measured(model, ["own"], own)


def test_unknown_task_suggests_the_closest_name(task_folder):
    from implementations.harness.measure.lm_eval_adapter import managers

    ours = next(managers(task_folder))
    assert find(["opposites"], iter([ours])) is ours
    with pytest.raises(BadInput, match="unknown task 'opposite'; did you mean 'opposites'"):
        find(["opposites", "opposite"], iter([ours]))


def own_task(folder, name, **changes):
    """Write a task like the local one, with another name and other fields."""
    text = (DATA / "opposites.yaml").read_text().replace("task: opposites", f"task: {name}")
    content = yaml.safe_load(text) | changes
    path = folder / f"{name}.yaml"
    # The safe dumper cannot write lm-eval's tag for a function.
    path.write_text(yaml.safe_dump(content).replace("'!function ", "!function '"))
    return path


@pytest.fixture
def own(task_folder, monkeypatch, tmp_path):
    """Return a folder of task files, with lm-eval's own disabled, which take seconds to read."""
    from implementations.harness.measure import lm_eval_adapter

    of_all = lm_eval_adapter.TaskManager
    monkeypatch.setattr(
        lm_eval_adapter,
        "TaskManager",
        lambda **asked: of_all(**asked | {"include_defaults": False}),
    )
    folder = tmp_path / "tasks"
    folder.mkdir()
    own_task(folder, "good")
    return folder


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("task: [", "is not valid YAML"),
        ("task: 5", "task 5 is not text; put it in quotes"),
        ("task: a\ntag: [b, 1.5]", "tag 1.5 is not text"),
        ("task: a\ninclude: nowhere.yaml", "includes nowhere.yaml, which does not exist"),
    ],
)
def test_error_names_the_damaged_task_file(model, own, text, message):
    (own / "bad.yaml").write_text(text)
    with pytest.raises(BadInput, match=rf"the task file .*bad\.yaml:? {message}"):
        measured(model, ["missing"], own)


def test_damaged_task_file_does_not_affect_other_tasks(model, own):
    (own / "bad.yaml").write_text("task: [")
    assert measured(model, ["good"], own, limit=1)["samples/good"] == 1


FAILING = """
seen = []
def fail(doc):
    seen.append(doc)
    if len(seen) > 5:
        raise KeyError("\\x1b[31m" * 10_000)
    return "a"
"""


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"doc_to_text": "{{nowhere.at.all}}"}, "task 'own' cannot be loaded: 'nowhere' is undef"),
        (
            {"doc_to_text": "!function nowhere.f"},
            "cannot be loaded: Cannot import module 'nowhere'",
        ),
        ({"doc_to_text": "!function own_code.fail"}, "task own fails: KeyError: "),
        ({"output_type": "nonsense"}, "lm-eval said: Got invalid output_type 'nonsense'"),
        ({"unsafe_code": True}, "task own runs code that the model writes, which is not supp"),
        ({"doc_to_image": ["picture"]}, "task own needs images or sound, which is not supported"),
    ],
)
def test_failing_task_gives_a_short_message(model, own, changes, message, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    (own / "own_code.py").write_text(FAILING)
    own_task(own, "own", **changes)
    with pytest.raises((BadInput, Unavailable), match=message) as refusal:
        measured(model, ["own"], own)
    assert len(str(refusal.value)) < 1000


@pytest.mark.slow  # lm-eval reads 14,000 task files
def test_own_tasks_and_tasks_of_lm_eval_together(model, task_folder):
    with pytest.raises(BadInput, match="unknown task 'arc_eazy'; did you mean 'arc_easy'"):
        measured(model, ["opposites", "arc_eazy"], task_folder)


def test_refuses_task_without_its_data(model, task_folder, tmp_path):
    text = (task_folder / "opposites.yaml").read_text()
    (tmp_path / "lost.yaml").write_text(text.replace("opposites", "lost"))
    with pytest.raises(BadInput, match=r"task 'lost' cannot be loaded: .*lost\.jsonl"):
        measured(model, ["lost"], tmp_path)


def test_unreachable_hub_is_reported_within_ten_seconds(model, task_folder, tmp_path, monkeypatch):
    from huggingface_hub import constants

    (tmp_path / "far.yaml").write_text(
        "task: far\ndataset_path: nobody/opposites\ntest_split: test\n"
        "output_type: multiple_choice\ndoc_to_text: a\ndoc_to_choice: [a, b]\ndoc_to_target: 0\n"
    )
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")  # a closed port
    start = time.monotonic()
    with pytest.raises(Unavailable, match=r"data of task 'far' .*unreachable"):
        measured(model, ["far"], tmp_path)
    assert time.monotonic() - start < 10
    assert not constants.HF_HUB_OFFLINE


def test_missing_lm_eval_error_names_the_extra(monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "lm_eval"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "lm_eval", None)  # makes `import lm_eval` fail
    monkeypatch.delitem(sys.modules, f"{measure.__name__}.lm_eval_adapter", raising=False)
    monkeypatch.delattr(measure, "lm_eval_adapter", raising=False)
    with pytest.raises(
        Unavailable, match=r"need lm-eval, but \S+ is not installed; run .*pip install .*\[eval\]"
    ):
        load_tasks(["arc_easy"])


def test_refuses_invalid_input(model, tmp_path):
    with pytest.raises(BadInput, match="no task"):
        load_tasks([])
    with pytest.raises(BadInput, match="limit must be at least 1"):
        zero_shot(model, [], limit=0)
    with pytest.raises(BadInput, match="not a folder"):
        load_tasks(["arc_easy"], tmp_path / "missing")
    model.tokenizer = None
    with pytest.raises(BadInput, match="has no tokenizer"):
        zero_shot(model, [])
