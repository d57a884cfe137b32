"""The workflows: what they may do, what they run, and what the weekly one does with its report."""

from __future__ import annotations

import os
import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tools.select_tests import EVERYTHING

REPOSITORY = Path(__file__).resolve().parents[2]
WORKFLOWS = sorted((REPOSITORY / ".github" / "workflows").glob("*.yml"))
FAKE_GH = """#!/usr/bin/env bash
echo "$*" >> "$LOG"
case "$2" in
  list) printf '%s' "$OPEN" ;;
  create|edit) cat >> "$LOG" ;;
esac
"""

every_workflow = pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)


def read(path: Path) -> dict[Any, Any]:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def events(workflow: dict[Any, Any]) -> set[str]:
    return set(workflow[True])  # YAML 1.1 reads `on` so


def jobs(path: Path) -> dict[str, dict[str, Any]]:
    return read(path)["jobs"]


def steps(path: Path) -> Iterator[dict[str, Any]]:
    for job in jobs(path).values():
        yield from job["steps"]


def test_there_are_workflows() -> None:
    assert [path.stem for path in WORKFLOWS] == ["check", "release", "site", "versions", "weekly"]


def test_one_action_has_one_commit_and_says_which_version_it_is() -> None:
    lines = {
        line.split("uses:")[1].strip()
        for path in WORKFLOWS
        for line in path.read_text().splitlines()
        if "uses:" in line
    }
    assert all(re.fullmatch(r"\S+@[0-9a-f]{40} # v\d+\.\d+\.\d+", line) for line in lines), lines
    assert len({line.split("@")[0] for line in lines}) == len(lines)


def test_who_may_write_is_one_job_each_and_runs_nothing_of_the_repository() -> None:
    writers = {
        (path.stem, name): job
        for path in WORKFLOWS
        for name, job in jobs(path).items()
        if "write" in job.get("permissions", {}).values()
    }
    assert {key: job["permissions"] for key, job in writers.items()} == {
        ("release", "publish"): {"id-token": "write"},
        ("site", "deploy"): {"pages": "write", "id-token": "write"},
        ("weekly", "tell"): {"issues": "write"},
    }
    for job in writers.values():
        used = {step["uses"].split("@")[0] for step in job["steps"] if "uses" in step}
        assert "actions/checkout" not in used
        run = "".join(step.get("run", "") for step in job["steps"])
        assert not re.search(r"make|python|\.venv", run)


@every_workflow
def test_every_job_ends_and_none_has_a_secret(path):
    assert all(job["timeout-minutes"] <= 120 for job in jobs(path).values())
    assert "secrets" not in path.read_text()


@every_workflow
def test_what_they_run_exists(path):
    makefile = (REPOSITORY / "Makefile").read_text()
    scripts = "\n".join(step.get("run", "") for step in steps(path))
    for target in re.findall(r"\bmake ([\w./]+)", scripts):
        rule = target.replace(".venv", "$(VENV)")
        assert re.search(rf"^{re.escape(rule)}:", makefile, re.MULTILINE), target
    for script, words in re.findall(r"(tools/\w+\.py)((?: --[\w-]+)*)", scripts):
        code = (REPOSITORY / script).read_text()
        for option in words.split():
            name = re.sub("^no-", "", option.removeprefix("--"))
            assert re.search(rf'"--{name}"|^ +{name}: ', code, re.MULTILINE), (script, option)


def test_a_pull_request_is_held_to_the_catalog_the_style_and_the_tests() -> None:
    path = REPOSITORY / ".github" / "workflows" / "check.yml"
    assert events(read(path)) == {"pull_request", "push"}
    commands = [step["run"] for step in steps(path) if "run" in step]
    for command in ("make check", "make site", "make lint", 'make test PYTEST="$TESTS"'):
        assert command in commands
    tests = jobs(path)["tests"]
    assert tests["env"]["ATLAS_REQUIRE_BROWSER"] == "1"
    assert tests["strategy"]["matrix"]["folder"] == list(EVERYTHING)


def test_the_oldest_and_the_newest_python_are_those_that_the_package_names() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    minors = [
        int(name.rpartition(".")[2]) for name in project["classifiers"] if ":: Python :: 3." in name
    ]
    assert minors == list(range(minors[0], minors[-1] + 1))
    assert project["requires-python"] == f">=3.{minors[0]}"
    path = REPOSITORY / ".github" / "workflows" / "check.yml"
    tested = jobs(path)["tests"]["strategy"]["matrix"]["python"]
    assert tested == [f"3.{minors[0]}", f"3.{minors[-1]}"]


@pytest.mark.parametrize("name", ["versions", "weekly"])
def test_the_weekly_look_is_no_event_of_a_contributor(name):
    path = REPOSITORY / ".github" / "workflows" / f"{name}.yml"
    assert events(read(path)) == {"schedule", "workflow_dispatch"}


@pytest.mark.parametrize(
    ("tag", "published"), [("v1.2.3", True), ("v1.2.30", False), ("v1.2", False)]
)
def test_a_tag_that_is_not_the_version_is_not_published(tmp_path, tag, published):
    path = REPOSITORY / ".github" / "workflows" / "release.yml"
    (script,) = (step["run"] for step in steps(path) if "TAG" in step.get("env", {}))
    (tmp_path / "dist").mkdir()
    for end in ("-py3-none-any.whl", ".tar.gz"):
        (tmp_path / "dist" / f"pruning_atlas-1.2.3{end}").touch()
    done = subprocess.run(["bash", "-e", "-c", script], cwd=tmp_path, env={"TAG": tag}, check=False)
    assert (done.returncode == 0) == published


@pytest.fixture
def bash(tmp_path: Path):
    """Run a step of the weekly workflow in an empty folder, with something in place of `gh`."""
    gh = tmp_path / "gh"
    gh.write_text(FAKE_GH)
    gh.chmod(0o755)

    def run(job: str, **variables: str) -> str:
        (script,) = (
            step["run"]
            for step in jobs(REPOSITORY / ".github" / "workflows" / "weekly.yml")[job]["steps"]
            if len(step.get("run", "").splitlines()) > 1
        )
        environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"} | variables
        subprocess.run(["bash", "-e", "-c", script], cwd=tmp_path, env=environment, check=True)
        return script

    return run


@pytest.mark.parametrize(
    ("report", "already_open", "expected"),
    [
        ("\n", "", []),
        ("\n", "7", ["issue close 7 --comment All facts and links hold again."]),
        ("$(touch run) `id`", "", ["issue create --title A title --body-file -"]),
        ("$(touch run) `id`", "7", ["issue edit 7 --body-file -"]),
    ],
)
def test_a_report_becomes_one_issue(bash, tmp_path, report, already_open, expected):
    log = tmp_path / "log"
    bash("tell", LOG=str(log), OPEN=already_open, TITLE="A title", REPORT=report)
    listed, *commands = log.read_text().splitlines()
    assert listed.startswith("issue list --app github-actions --state open")
    assert commands == expected + ([report] if report.strip() else [])
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("status", [0, 1])
def test_a_report_is_there_exactly_when_something_is_wrong(bash, tmp_path, status):
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/usr/bin/env bash\necho "said by $1"\nexit {status}\n')
    python.chmod(0o755)
    output = tmp_path / "output"
    bash("look", GITHUB_OUTPUT=str(output), AT_MOST="60000")
    first, *report, last = output.read_text().splitlines()
    assert first == f"report<<{last}"
    assert len(last) == 32
    said = "\n".join(report)
    assert ("    said by tools/check_catalog.py" in said) == bool(status)
    assert ("said by tools/check_links.py" in said) == bool(status)
    assert bool(said.strip()) == bool(status)
