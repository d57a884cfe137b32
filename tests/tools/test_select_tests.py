"""Selection of tests for a change."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tools.select_tests import (
    ALWAYS,
    EVERYTHING,
    METHOD_OVERVIEWS,
    MODEL_FREE,
    PLACES,
    ROOT,
    select,
)

ALL = list(EVERYTHING)
TERMINAL = "tests/test_terminal_and_site_agree.py"
WANDA = ["implementations/wanda", *METHOD_OVERVIEWS, ALWAYS]


@pytest.mark.parametrize(
    ("paths", "chosen"),
    [
        ([], [ALWAYS]),
        (["implementations/wanda/wanda.py"], WANDA),
        (["implementations/wanda/wanda.py", "CHANGELOG.md"], WANDA),
        (["implementations/wanda/wanda.py", "implementations/harness/errors.py"], ALL),
        (["implementations/gone/gone.py"], ALL),
        (["implementations/conftest.py"], ALL),
        (["tests/harness/prune/test_walk.py"], ALL),
        (["pyproject.toml"], ALL),
        (["something/new.txt"], ALL),
        (["tools/site/formatting.py"], ["tests/site", TERMINAL, ALWAYS]),
        (["tools/run_tutorials.py"], ["tests/test_tutorials.py", ALWAYS]),
        (["tests/site/a.py", ".github/a.yml"], ["tests/site", "tests/tools", ALWAYS]),
        (["tools/catalog/schema/paper.py"], [*MODEL_FREE, ALWAYS]),
    ],
)
def test_selects_tests_of_changed_files(paths, chosen):
    assert sorted(select(paths)) == sorted(chosen)


def test_tools_run_all_tests_without_models() -> None:
    assert set(MODEL_FREE) >= {"tests/catalog", "tests/site", "tests/sources", "tests/tools"}
    assert not {"tests/harness", "tests/data"} & set(MODEL_FREE)


def test_every_place_and_its_tests_exist() -> None:
    assert all((ROOT / test).is_file() for test in METHOD_OVERVIEWS)
    assert "tests/catalog/exports/test_awesome_list.py" in METHOD_OVERVIEWS
    for place, tests in PLACES.items():
        assert (ROOT / place).exists(), place
        for test in tests:
            assert (ROOT / test).exists(), test


def ask(checkout: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the script in a checkout."""
    script = [sys.executable, "-S", "tools/select_tests.py", *arguments]
    return subprocess.run(script, cwd=checkout, check=False, capture_output=True, text=True)


@pytest.fixture
def change(tmp_path: Path):
    """Change files of a small checkout and run the script."""
    for name in ("tools/select_tests.py", "implementations/wanda/wanda.py", "docs/a b.md"):
        file = tmp_path / name
        file.parent.mkdir(parents=True)
        file.write_text("")
    shutil.copy(ROOT / "tools" / "select_tests.py", tmp_path / "tools")

    def git(*words: str) -> None:
        identity = ("-c", "user.name=a", "-c", "user.email=a@example.org")
        subprocess.run(["git", *identity, *words], cwd=tmp_path, check=True, capture_output=True)

    git("init", "--quiet")
    git("add", ".")
    git("commit", "-m", "base")

    def changed(source: str, target: str, *arguments: str) -> str:
        (tmp_path / target).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / source).rename(tmp_path / target)
        git("add", ".")
        git("commit", "-m", "change")
        return ask(tmp_path, *arguments).stdout

    return changed


def test_moved_file_counts_under_both_names(change):
    assert change("docs/a b.md", "elsewhere/b.md", "--base", "HEAD^") == "implementations tests\n"


def test_unknown_base_names_the_reason(change, tmp_path: Path) -> None:
    change("docs/a b.md", "docs/b.md")
    done = ask(tmp_path, "--base", "mian")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("--base: git does not know 'mian'; fetch it, or name another")
    assert "Traceback" not in done.stderr


def test_untracked_files_count(change, tmp_path: Path) -> None:
    change("docs/a b.md", "docs/b.md")
    (tmp_path / "implementations/wanda/new.py").touch()
    assert ask(tmp_path, "--base", "HEAD").stdout == f"{' '.join(sorted(WANDA))}\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--base", "HEAD^"], f"{' '.join(sorted(WANDA))}\n"),
        (["--base", "HEAD^", "--in", "implementations"], "implementations/wanda\n"),
        ([], "implementations tests\n"),
    ],
)
def test_prints_arguments_for_pytest(change, arguments, said):
    wanda = "implementations/wanda/"
    assert change(f"{wanda}wanda.py", f"{wanda}other.py", *arguments) == said
