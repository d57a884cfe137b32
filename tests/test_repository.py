"""Rules of the repository: imports of methods, contents of their folders, and tracked files."""

from __future__ import annotations

import ast
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).resolve().parents[1]
IMPLEMENTATIONS = ROOT / "implementations"
HARNESS = IMPLEMENTATIONS / "harness"
SLUGS = sorted(p.stem for p in IMPLEMENTATIONS.glob("*/*.py") if p.stem == p.parent.name)


def test_there_are_methods_to_check() -> None:
    assert len(SLUGS) >= 5


def code_of(slug: str) -> list[Path]:
    """Return the files of a method, without its tests and benchmarks."""
    others = ("test_", "benchmark_", "conftest")
    return [p for p in (IMPLEMENTATIONS / slug).glob("*.py") if not p.name.startswith(others)]


# `make lint` checks the import rules in pyproject.toml. The tests here check what these cannot
# express. The exports of the harness are those listed in its stub.


def test_every_folder_is_a_package() -> None:
    for folder in (IMPLEMENTATIONS, ROOT / "tools"):
        for path in folder.rglob("*.py"):
            assert (path.parent / "__init__.py").is_file(), path


def test_methods_import_only_allowed_modules() -> None:
    graph = grimp.build_graph("implementations", include_external_packages=True, cache_dir=None)
    for path in (path for slug in SLUGS for path in code_of(slug)):
        own = f"implementations.{path.parent.name}"
        module = own if path.stem == "__init__" else f"{own}.{path.stem}"
        for imported in graph.find_modules_directly_imported_by(module):
            outside = imported.split(".")[0] in {"torch", "scipy", *sys.stdlib_module_names}
            allowed = imported == "implementations.harness" or imported.startswith(f"{own}.")
            assert outside or allowed, (module, imported)


def names_used(path: Path) -> set[tuple[str | None, str]]:
    """Return the (module, name) pairs that a file imports, or defines and uses."""
    module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    used: set[tuple[str | None, str]] = set()
    for statement in ast.parse(path.read_text(encoding="utf-8")).body:
        own = getattr(statement, "name", None)
        for node in ast.walk(statement):
            if isinstance(node, ast.ImportFrom):
                used |= {(node.module, alias.name) for alias in node.names}
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id != own:
                used.add((module, node.id))
    return used


def test_exported_names_have_users_in_the_harness_or_two_methods() -> None:
    harness = set().union(*(names_used(path) for path in HARNESS.rglob("*.py")))
    methods = [set().union(*(names_used(path) for path in code_of(slug))) for slug in SLUGS]
    for node in ast.parse((HARNESS / "__init__.pyi").read_text(encoding="utf-8")).body:
        assert isinstance(node, ast.ImportFrom)
        for alias in node.names:
            users = sum(("implementations.harness", alias.name) in names for names in methods)
            shared = (f"implementations.harness.{node.module}", alias.name) in harness
            assert shared or users >= 2, f"{alias.name} of {node.module} serves {users} method(s)"


def test_harness_names_no_method_and_reads_no_catalog() -> None:
    for path in HARNESS.rglob("*.py"):
        if path.name.startswith("benchmark_"):
            continue  # measures the harness with methods
        tree = ast.parse(path.read_text(encoding="utf-8"))
        words = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
        assert not words & {*SLUGS, "catalog"}, f"{path.name} names a method or the catalog"


def test_method_folders_are_complete() -> None:
    if lacks := "\n".join(f"{slug}: {what}" for slug in SLUGS for what in lacks_of(slug)):
        pytest.fail(f"these folders of methods lack:\n{lacks}", pytrace=False)


def lacks_of(slug: str) -> Iterator[str]:
    """Yield everything that the folder of a method lacks."""
    from implementations.harness import get_method

    folder = IMPLEMENTATIONS / slug
    if not re.fullmatch(r"[a-z][a-z0-9]*", slug):
        yield "a name of lower-case letters and digits"
    for name in ("__init__.py", "README.md", f"test_{slug}.py"):
        if not (folder / name).is_file():
            yield f"the file {name}"
    if not (ROOT / "catalog" / "papers" / f"{slug}.yaml").is_file():
        yield f"catalog/papers/{slug}.yaml; see tools/add_paper.py"
    files = [path for path in code_of(slug) if path.name != "__init__.py"]
    if len(files) > 2:
        yield f"at most two files of code: {', '.join(path.name for path in files)}"
    for path in files:
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > 250:
            yield f"at most 250 lines in {path.name}: it has {lines}"
    readme = folder / "README.md"
    page = readme.read_text(encoding="utf-8") if readme.is_file() else ""
    differences = page.partition("\n## Differences from the paper\n")[2]
    if not re.search(r"^1\. ", differences, re.MULTILINE):
        yield "numbered items under `## Differences from the paper` in README.md"
    # The site would show such a line as a new item of the list.
    for line in re.findall(r"^ +\d+[.)] .*", page, re.MULTILINE):
        yield f"lines of README.md that do not begin with a number and a period: {line.strip()}"
    if get_method(slug).missing:
        return  # its contract says that it is not written yet
    for path in (*code_of(slug), readme):
        if path.is_file() and "not written yet" in path.read_text(encoding="utf-8").lower():
            yield f"code or text instead of `not written yet` in {path.name}"
    if not list(folder.glob("records/*/**/*.json")):
        yield f"a record: run `atlas run {slug} --protocol smol --publish`"


def test_everything_that_a_method_lacks_is_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{__name__}.IMPLEMENTATIONS", tmp_path)
    (tmp_path / "wanda").mkdir()
    (tmp_path / "wanda" / "README.md").write_text("# Wanda\n\nNot written yet.\n  2. More\n")
    text = "\n".join(lacks_of("wanda"))
    for part in (
        "the file __init__.py",
        "the file test_wanda.py",
        "numbered items",
        "begin with a number and a period: 2. More",
        "instead of `not written yet` in README.md",
        "a record: run `atlas run wanda",
    ):
        assert part in text


PAGES = ("README.md", "docs/templates/pages/use.md")


@pytest.mark.parametrize("page", [*PAGES, *(f"implementations/{s}/README.md" for s in SLUGS)])
def test_commands_on_pages_are_valid(
    page: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Check options, parameters of the method, and training texts, without running it."""
    from typer.testing import CliRunner

    from implementations.harness.cli.commands import app
    from implementations.harness.runs import run

    asked: list[run.Job] = []

    def checked(job: run.Job, setup: run.Setup, **_: object) -> None:
        assert all(getattr(setup.protocol, role) is not None for role in job.streams)
        asked.append(job)
        sys.exit(0)

    monkeypatch.setattr(run, "run", checked)
    monkeypatch.chdir(tmp_path)
    text = (ROOT / page).read_text(encoding="utf-8").replace("\\\n", " ")
    text = text.replace(" --device cuda", "")  # not available on every machine
    text = text.replace("{{ best }}", "sparsegpt")  # filled in when the site is built
    for name, content in re.findall(r"^```yaml\n# (\S+)\n(.*?)^```", text, re.M | re.S):
        Path(name).write_text(content, encoding="utf-8")
    for name in re.findall(r"atlas new (\w+)", text):
        assert CliRunner().invoke(app, ["new", name]).exit_code == 0
    for name in re.findall(r"--(?:calibrate|evaluate)-on (\S+)", text):
        Path(name).touch()
    shown = re.findall("^atlas (run .*)", text, re.M)
    for command in shown:
        done = CliRunner().invoke(app, shlex.split(command, comments=True))
        assert done.exit_code == 0, (command, done.output)
    assert len(asked) == len(shown) > 0


def test_paper_protocol_has_the_training_texts_of_every_method() -> None:
    from implementations.harness import get_method
    from implementations.harness.results.protocol import get_protocol
    from implementations.harness.runs.job import Job

    paper = get_protocol("paper")
    for slug in SLUGS:
        assert all(getattr(paper, role) for role in Job(get_method(slug)()).streams), slug


# Package hosts and local folders that no tracked file may contain. They are written in parts
# because this file is tracked as well.
FORBIDDEN = re.compile(
    "|".join(
        re.escape(".".join(parts))
        for parts in (
            ("pypi", "org"),
            ("pythonhosted", "org"),
            ("registry", "npmjs"),
            ("deb", "debian", "org"),
            ("download", "pytorch", "org"),
        )
    )
    + "|"
    + "|".join("/" + folder + "/" for folder in ("work", "farm"))
)


def tracked() -> list[Path]:
    """Return the files of the checkout that git tracks or would add."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in done.stdout.split("\0") if name and (ROOT / name).is_file()]


def test_no_file_contains_package_hosts_or_local_folders() -> None:
    for path in tracked():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        found = FORBIDDEN.search(text)
        assert not found, f"{path.relative_to(ROOT)}: {found[0] if found else ''}"


def test_no_file_is_larger_than_a_megabyte() -> None:
    large = [path.name for path in tracked() if path.stat().st_size > 10**6]
    assert large == []


def test_generated_pages_are_not_tracked() -> None:
    kept = [path.relative_to(ROOT).as_posix() for path in tracked()]
    pages = [p for p in kept if p.startswith("docs/") and p.endswith((".md", ".html"))]
    assert [p for p in pages if not p.startswith("docs/templates/")] == []
    assert [p for p in kept if p.startswith(("site/", "runs/", "dist/"))] == []


def test_top_level_has_only_known_files_and_folders() -> None:
    rooms = {"catalog", "implementations", "docs", "tools", "tests"}
    papers = {"README.md", "LIST.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"}
    terms = {"LICENSE", "CITATION.cff"}
    builds = {"Makefile", "mkdocs.yml", "pyproject.toml"}
    tops = {path.relative_to(ROOT).parts[0] for path in tracked()}
    assert {top for top in tops if not top.startswith(".")} <= rooms | papers | terms | builds


# Phrases that readers had to decode, with plain ones to use instead; add to them when you find one.
PLAIN = {
    "by lot": "at random",
    "what goes": "what is removed",
    "what is left": "the remaining weights",
    "what there is": "a noun: the methods, the records",
    "what fails": "failures",
    "what stands": "a noun: the text, the title",
    "anew": "again",
    "whoever": "you, the caller, a user",
    "of others": "a noun: untrusted text, third-party code",
    "others go on": "the others continue",
    "told at the end": "listed at the end",
    "without more said": "by default",
    "says itself": "is self-explanatory",
    "is believed": "is trusted",
    "will not do": "is invalid, is not supported",
    "is no value": "is not a valid value",
    "is no setting": "unknown setting",
    "is no number": "is not a number",
    "is no folder": "is not a folder",
    "brought along": "included",
    "stands beside": "is next to",
    "to the bit": "bit for bit",
}
DECODED = re.compile(rf"\b({'|'.join(PLAIN)})\b", re.IGNORECASE)
PROSE = (".md", ".py", ".yaml", ".yml", ".toml", ".html", ".js", ".css")


def test_prose_uses_plain_phrases() -> None:
    examples = {Path(__file__), ROOT / "LIST.md"}  # the list quotes titles
    data = ROOT / "tests" / "catalog" / "data"
    found = [
        f"{path.relative_to(ROOT)}: '{match[0]}'; write: {PLAIN[match[0].lower()]}"
        for path in tracked()
        if path.suffix in PROSE and path not in examples and not path.is_relative_to(data)
        for match in DECODED.finditer(path.read_text(encoding="utf-8"))
    ]
    assert not found, "\n".join(found)
