"""Keys of records: they depend on the content of model, texts and tasks, not on their paths."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import replace

import pytest
import yaml

from implementations.harness.errors import BadInput
from implementations.harness.prune.registry import get_method
from implementations.harness.results.protocol import get_protocol
from implementations.harness.results.store import load_records
from implementations.harness.runs.job import Job, Setup
from implementations.harness.runs.run import run
from implementations.harness.runs.sweep import sweep
from implementations.harness.runs.workbench import Workbench

METRIC = "ppl/evaluation/32"


def job(**parameters) -> Job:
    return Job(get_method("magnitude").configure(sparsity=0.5, **parameters), 0)


@pytest.fixture
def copied(world, tmp_path):
    """Return a copy of the tiny model and a function that edits one of its JSON files."""
    folder = tmp_path / "models" / "tiny"
    shutil.copytree(world.model, folder)

    def edit(name: str, **changes: object) -> None:
        path = folder / name
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return folder, edit


def test_key_depends_on_the_configuration_of_the_model(copied, setup, tmp_path):
    folder, edit = copied
    here = replace(setup, model=str(folder))
    before = run(job(), here, runs=tmp_path / "runs").record
    edit("config.json", hidden_act="relu")
    after = run(job(), here, runs=tmp_path / "runs").record
    assert before.model.sha256 == after.model.sha256
    assert before.model.config_sha256 != after.model.config_sha256
    assert before.key != after.key
    assert before.dense.values != after.dense.values  # measured again
    assert len(load_records([tmp_path / "runs"])) == 4


def test_key_depends_on_the_tokenizer(copied, setup):
    folder, edit = copied
    here = replace(setup, model=str(folder))
    before = Workbench(here).key(job())
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    swapped = tokenizer["model"]["vocab"]
    swapped["a"], swapped["b"] = swapped["b"], swapped["a"]
    edit("tokenizer.json", **tokenizer)
    assert Workbench(here).key(job()) != before


def test_key_ignores_the_formatting_of_the_configuration(copied, setup):
    folder, edit = copied
    here = replace(setup, model=str(folder))
    before = Workbench(here).key(job())
    edit("config.json", transformers_version="9.9.9")
    content = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(dict(reversed(content.items())), indent=7))
    assert Workbench(here).key(job()) == before


@pytest.mark.parametrize("role", ["calibration", "evaluation"])
def test_key_depends_on_the_content_of_texts(role, world, setup, tmp_path):
    texts = {}
    for name in ("calibration", "evaluation"):
        texts[name] = tmp_path / f"{name}.txt"
        shutil.copy(getattr(world, name), texts[name])
    content = yaml.safe_load(world.protocol.read_text()) | {"name": "own"}
    content["calibration"]["text"] = str(texts["calibration"])
    content["evaluations"][0]["text"] = str(texts["evaluation"])
    path = tmp_path / "own.yaml"
    path.write_text(yaml.safe_dump(content))
    here = Setup(setup.model, get_protocol(str(path)))
    jobs, runs = [job()], tmp_path / "runs"
    (before,) = sweep(jobs, here, runs=runs).records
    assert sweep(jobs, here, runs=runs).skipped == 1
    texts[role].write_text(texts[role].read_text().replace("river", "rover"))
    done = sweep(jobs, here, runs=runs)
    (after,) = done.records
    assert done.skipped == 0
    assert after.key != before.key
    assert after.dense.run != before.dense.run
    changed = role == "evaluation"
    assert (after.dense.values[METRIC] != before.dense.values[METRIC]) is changed


def test_key_depends_on_the_file_of_documents_not_on_the_drawn_ones(world, setup, tmp_path):
    path = tmp_path / "documents.jsonl"
    rows = [json.dumps({"text": f"{i} " + "river stone " * 10}) for i in range(20)]
    path.write_text("\n".join(rows))
    drawn = {"text": str(path), "samples": 2, "length": 32, "draw": "documents"}
    here = Setup(setup.model, get_protocol(str(world.write_protocol("drawn", calibration=drawn))))
    bench = Workbench(here)
    records = [run(Job(job().method, seed), here, runs=tmp_path / "runs").record for seed in (0, 1)]
    assert records[0].texts[0].text_sha256 != records[1].texts[0].text_sha256
    assert records[0].group == records[1].group
    path.write_text("\n".join([*rows, json.dumps({"text": "one more"})]))
    assert Workbench(here).key(job()) != records[0].key
    bench.prepare(job())  # hashes the file for the first time
    path.write_text("\n".join(rows))
    with pytest.raises(BadInput, match="has changed since it was first read"):
        bench.prepare(Job(job().method, 1))


def test_refuses_model_that_changes_between_two_runs(copied, setup):
    folder, edit = copied
    bench = Workbench(replace(setup, model=str(folder)))
    bench.measure(job())
    edit("config.json", rms_norm_eps=0.5)
    with pytest.raises(BadInput, match="changed between two runs"):
        bench.measure(job())


@pytest.mark.full
@pytest.mark.parametrize(
    "name", ["tasks/own.yaml", "tasks/own_code.py", "elsewhere/questions.jsonl"]
)
def test_key_depends_on_all_files_of_the_tasks(name, setup, tmp_path, monkeypatch):
    pytest.importorskip("lm_eval", reason="lm-eval is not installed (extra `eval`)")
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    task = {
        "task": "own",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": f"{tmp_path}/elsewhere/questions.jsonl"}},
        "test_split": "test",
        "output_type": "multiple_choice",
        "doc_to_text": "river {{word}}",
        "doc_to_choice": ["stone", "water"],
        "doc_to_target": 0,
    }
    files = {
        "tasks/own.yaml": yaml.safe_dump(task) + "process_docs: !function own_code.same\n",
        "tasks/own_code.py": "def same(rows):\n    return rows  # river\n",
        "elsewhere/questions.jsonl": '{"word": "river"}\n{"word": "stone"}\n',
    }
    for place, text in files.items():
        (tmp_path / place).parent.mkdir(exist_ok=True)
        (tmp_path / place).write_text(text)
    asked = replace(setup, tasks=("own",), task_folder=str(tmp_path / "tasks"))
    before = Workbench(asked).key(job())
    assert (tmp_path / "tasks" / "__pycache__").is_dir()
    shutil.copytree(tmp_path / "tasks", tmp_path / "copy", ignore=lambda *_: {"__pycache__"})
    copied = replace(asked, task_folder=str(tmp_path / "copy"))
    assert Workbench(copied).key(job()) == before
    (tmp_path / name).write_text(files[name].replace("river", "rover"))
    assert Workbench(asked).key(job()) != before


def test_record_and_workbench_compute_the_same_key(setup, tmp_path):
    record = run(job(), setup, runs=tmp_path).record
    assert record.key == record.key_with(0) == Workbench(setup).key(job())
