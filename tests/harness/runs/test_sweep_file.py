"""Sweep files and options: validation before any run is created."""

from __future__ import annotations

import time

import pytest

from implementations.harness.cli.own_method import TEMPLATE
from implementations.harness.errors import BadInput
from implementations.harness.runs import sweep_file


def jobs_of(folder, text: str):
    path = folder / "sweep.yaml"
    path.write_text(text)
    return sweep_file.read_sweep_file(path).jobs()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not a valid sweep"),
        ("runs: [", "sweep.yaml, line 1: while parsing"),
        ("runs: [dense]\ncolour: red", "colour: Extra inputs"),
        ("runs: [{sparsity: 0.5}]", "method: Field required"),
        ("runs: [wnada]", "did you mean 'wanda'"),
        ("runs: [{method: wanda, sparsity: [0.5, 1.5]}]", "less than or equal to 1"),
        ("runs: [{method: dense, sparsity: 0.5}]", "dense model has no parameters"),
        ("runs: [{method: wanda, sparsty: 0.5}]", "did you mean 'sparsity'"),
        ("runs: []", "at least 1 item"),
        ("runs: [{method: wanda, seeds: []}]", "seeds: List should have at least 1 item"),
        ("runs: [{method: wanda, sparsity: []}]", "sparsity of wanda is an empty list"),
        ("runs: [wanda]\nseeds: [-1]", "seeds.0: Input should be greater than or equal to 0"),
        ("runs: [wanda]\nseeds: [9223372036854775808]", "seeds.0: Input should be less than"),
        ("runs: [wanda]\nseeds: ['1']", "seeds.0"),
        ("runs: [wanda]\nmodel: ''", "model: String should have at least 1 character"),
        ("runs: [{method: wanda, sparsity: true}]", "must not be a boolean, got true"),
        ("runs: [{method: wanda, sparsity: [[0.5]]}]", "sparsity: Input should be a valid number"),
        ("runs: [{method: wanda, pattern: 2:4}]", "pattern '124' is not KEEP:GROUP"),
        ("runs: [{method: sparsegpt, block_size: 4294967296}]", "block_size: Input should be less"),
    ],
)
def test_refuses_invalid_file_with_a_short_message(text, message, tmp_path):
    with pytest.raises(BadInput, match=message) as refusal:
        jobs_of(tmp_path, text)
    assert len(str(refusal.value)) < 500


def test_message_lists_only_the_first_problems(tmp_path):
    with pytest.raises(BadInput, match=r"and [\d,]+ more") as refusal:
        jobs_of(tmp_path, f"runs: [wanda]\nseeds: [{', '.join(['x'] * 1000)}]")
    assert len(str(refusal.value)) < 2000


@pytest.mark.parametrize(
    "text",
    [
        "runs:\n  - method: wanda\n    sparsity: {v}\n    pattern: {v}\n    seeds: {s}",
        "seeds: {s}\nruns:\n  - method: [{m}]\n    sparsity: {v}\n    pattern: {v}",
        "seeds: {s}\nruns: [{m}]",
    ],
)
def test_runs_of_a_file_are_counted_before_they_are_created(text, tmp_path):
    many = list(range(1000))
    start = time.perf_counter()
    with pytest.raises(BadInput, match=r"1,000,000(,000)* runs, more than the maximum of 10,000"):
        jobs_of(tmp_path, text.format(v=many, s=many, m=", ".join(["wanda"] * 1000)))
    assert time.perf_counter() - start < 5


def test_runs_of_options_are_counted_before_they_are_created():
    with pytest.raises(BadInput, match="1,000,000,000 runs"):
        sweep_file.jobs_of(["wanda"] * 1000, [0.5] * 1000, [], [], range(1000))
    assert len(sweep_file.jobs_of(["wanda"], [0.5], [], [], range(10))) == 10


@pytest.mark.parametrize("name", ["sparsity=.1", "pattern=2:4"])
def test_refuses_a_second_sparsity_or_pattern(name):
    assert sweep_file.read_settings([name])
    with pytest.raises(BadInput, match="cannot be combined with --sparsity or --pattern"):
        sweep_file.read_settings([name], shared=True)
    for sparsities, patterns in (([0.2], []), ([], ["4:8"])):
        with pytest.raises(BadInput, match="cannot be combined with"):
            sweep_file.jobs_of(["wanda"], sparsities, patterns, [name], [0])


def test_options_may_add_to_a_file_but_not_contradict_it():
    content = sweep_file.SweepFile(protocol="smol", runs=["wanda"])
    added = content.with_options(protocol=None, model="folder", dtype="bfloat16")
    assert (added.protocol, added.model, added.dtype) == ("smol", "folder", "bfloat16")
    assert content.with_options(protocol="smol", model=None) == content
    with pytest.raises(BadInput, match="--protocol quick contradicts the sweep file"):
        content.with_options(protocol="quick")


def test_none_means_no_value_only_if_the_parameter_is_optional():
    for setting in ("none", "None"):
        (job,) = sweep_file.jobs_of(["cfsp"], [], [], [f"multiple={setting}"], [0])
        assert job.configuration["multiple"] is None
    (job,) = sweep_file.jobs_of(["dsnot"], [], [], ["skip=none"], [0])
    assert job.configuration["skip"] == "none"
    with pytest.raises(BadInput, match="steps: Input should be"):
        sweep_file.jobs_of(["displlm"], [], [], ["steps=none"], [0])


def test_files_of_one_name_are_different_methods_unless_their_content_is_equal(tmp_path):
    text = TEMPLATE.read_text().replace("NAME", "Mine")
    files = [tmp_path / folder / "mine.py" for folder in ("v1", "v2", "copy")]
    for file, content in zip(files, (text, text + "# changed\n", text), strict=True):
        file.parent.mkdir()
        file.write_text(content)
    jobs = sweep_file.jobs_of([*map(str, files)], [0.5], [], [], [0])
    assert [job.slug for job in jobs] == ["mine", "mine"]
    assert len({job.external.sha256 for job in jobs}) == 2
