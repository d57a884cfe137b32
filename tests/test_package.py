"""The wheel, installed and used outside the checkout, and an sdist with the same files."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import pytest
import yaml

from implementations.harness import methods

pytestmark = pytest.mark.full

ROOT = Path(__file__).resolve().parents[1]
VERSION = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))["version"]
# The site packages of this process. A folder in a .pth file is searched, but .pth files in it (of
# editable installs) are not processed.
LIBRARIES = [path for path in sys.path if path.endswith(("site-packages", "dist-packages"))]


class Built(NamedTuple):
    """The results of the build."""

    wheel: Path
    sdist: Path


class Environment(NamedTuple):
    """A virtual environment with the package, which uses all other packages of this process."""

    folder: Path
    packages: Path

    def run(self, *command: object, cwd: Path) -> str:
        """Run a program of the environment and return its output."""
        program, *arguments = map(str, command)
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "PIP_"))}
        done = subprocess.run(
            [self.folder / "bin" / program, *arguments],
            cwd=cwd,
            env=inherited | {"COLUMNS": "200", "PIP_DISABLE_PIP_VERSION_CHECK": "1"},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "--directory", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (wheel,), (sdist,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    return Built(wheel, sdist)


@pytest.fixture(scope="module")
def install(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Environment]:
    made: dict[str, Environment] = {}

    def once(kind: str) -> Environment:
        if kind not in made:
            made[kind] = new_environment(tmp_path_factory.mktemp(kind), getattr(built, kind))
        return made[kind]

    return once


@pytest.fixture(scope="module")
def environment(install: Callable[[str], Environment]) -> Environment:
    """The environment of the wheel; a test compares the files of the sdist with its files."""
    return install("wheel")


def new_environment(folder: Path, archive: Path) -> Environment:
    """Create a virtual environment and install an archive into it, without an index."""
    make = [sys.executable, "-m", "venv", "--without-pip", str(folder)]
    subprocess.run(make, check=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "borrowed.pth").write_text("\n".join(LIBRARIES) + "\n")
    environment = Environment(folder, packages)
    # The packages of this process include an editable install, which must not change.
    options = ("--no-deps", "--no-index", "--no-build-isolation", "--ignore-installed")
    environment.run("python", "-m", "pip", "install", "--quiet", *options, archive, cwd=folder)
    return environment


def names_in(wheel: Path) -> set[PurePosixPath]:
    with zipfile.ZipFile(wheel) as archive:
        return set(map(PurePosixPath, archive.namelist()))


def installed(environment: Environment) -> dict[str, bytes]:
    """Return the files of the package with their contents, without installation metadata."""
    files = [
        path
        for top in ("implementations", "pruning_atlas", f"pruning_atlas-{VERSION}.dist-info")
        for path in (environment.packages / top).rglob("*")
        if path.is_file()
        and path.suffix != ".pyc"
        and path.name not in ("RECORD", "direct_url.json")
    ]
    return {path.relative_to(environment.packages).as_posix(): path.read_bytes() for path in files}


def test_wheel_has_two_packages_and_no_tests_tools_or_benchmarks(built: Built) -> None:
    names = names_in(built.wheel)
    tops = {name.parts[0] for name in names}
    assert tops == {"implementations", "pruning_atlas", f"pruning_atlas-{VERSION}.dist-info"}
    for unwanted in ("test_*.py", "conftest.py", "benchmark_*.py"):
        assert [name for name in names if name.match(unwanted)] == []


def test_wheel_has_all_other_files_of_the_packages(built: Built) -> None:
    names = set(map(str, names_in(built.wheel)))
    harness = "implementations/harness"
    for slug in methods():
        kept = ROOT / "implementations" / slug
        records = {path.relative_to(ROOT).as_posix() for path in kept.rglob("*.json")}
        assert records
        assert names >= {f"{kept.relative_to(ROOT)}/{name}" for name in (f"{slug}.py", "README.md")}
        assert names >= records
    assert any(name.startswith(f"{harness}/records/") for name in names)
    assert names >= {f"{harness}/__init__.pyi", "implementations/py.typed"}
    assert names >= {f"pruning_atlas/{name}" for name in ("__init__.pyi", "py.typed")}
    assert f"pruning_atlas-{VERSION}.dist-info/licenses/LICENSE" in names
    code = {path.relative_to(ROOT) for path in (ROOT / harness).rglob("*.py")}
    left_out = {path.name for path in code if str(path) not in names}
    others = {name for name in left_out if not name.startswith("benchmark_")}
    assert others == {"benchmarks.py", "pictures.py"}


def test_sdist_has_the_files_that_make_needs(built: Built) -> None:
    with tarfile.open(built.sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    wanted = ("pyproject.toml", "Makefile", "mkdocs.yml", "README.md", "LICENSE", "CITATION.cff")
    assert names >= {*wanted, "catalog/papers/wanda.yaml", "tests/test_package.py", "tools/demo.py"}
    assert names >= {path.relative_to(ROOT).as_posix() for path in (ROOT / "tools").rglob("*.py")}
    assert [name for name in names if name.startswith(("runs/", "site/", ".venv/"))] == []


def test_wheel_and_sdist_install_the_same_files(install: Callable[[str], Environment]) -> None:
    wheel, sdist = (installed(install(kind)) for kind in Built._fields)
    assert wheel == sdist


LOOK = """
import sys
import pruning_atlas, implementations
assert "torch" not in sys.modules and dir(pruning_atlas)
for name in pruning_atlas.__all__:
    getattr(pruning_atlas, name)
assert not any(hasattr(pruning_atlas, name) for name in ("tools", "nothing"))
print(pruning_atlas.__file__, implementations.__file__, pruning_atlas.__version__, sep="\\n")
try:
    import tools
except ModuleNotFoundError as error:
    print(error)
"""


def test_every_name_loads_on_first_use_from_the_environment(
    environment: Environment, tmp_path: Path
) -> None:
    *files, version, missing = environment.run("python", "-c", LOOK, cwd=tmp_path).splitlines()
    tops = ("pruning_atlas", "implementations")
    assert files == [str(environment.packages / top / "__init__.py") for top in tops]
    assert version == VERSION
    assert missing == "No module named 'tools'"


def test_command_lists_the_methods(environment: Environment, tmp_path: Path) -> None:
    output = environment.run("atlas", "methods", cwd=tmp_path)
    assert all(slug in output for slug in methods())


def test_command_prunes_and_writes_a_record(
    environment: Environment, world, tmp_path: Path
) -> None:
    from implementations.harness.results.store import load_records

    environment.run("atlas", "run", "magnitude", "--protocol", world.protocol, cwd=tmp_path)
    dense, magnitude = sorted(load_records([tmp_path / "runs"]), key=lambda found: found.method)
    assert (dense.method, magnitude.method, magnitude.achieved) == ("dense", "magnitude", 0.5)
    assert magnitude.versions["pruning-atlas"] == VERSION
    assert magnitude.commit is None


def example(instead: dict[str, Path]) -> str:
    """Return the Python example of the README with another model and protocol."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (found,) = re.findall(r"^```python\n(.*?)^```", readme, re.DOTALL | re.MULTILINE)
    for name, value in instead.items():
        assert f'"{name}"' in found
        found = found.replace(f'"{name}"', f'"{value}"')
    return found


def check_example(code: str, environment: Environment, folder: Path, metric: str) -> None:
    """Run the example in an empty folder and check its output and the saved model."""
    output = environment.run("python", "-c", code, cwd=folder).splitlines()
    assert float(output[0]) == pytest.approx(0.5, abs=1e-3)
    assert [line.split()[0] for line in output[1:]] == [metric]
    assert (folder / "pruned" / "model.safetensors").is_file()


def test_readme_example_runs(environment: Environment, world, tmp_path: Path) -> None:
    code = example({"smollm2-135m": world.model, "quick": world.protocol})
    check_example(code, environment, tmp_path, "ppl/evaluation/32")


@pytest.mark.slow
@pytest.mark.model
def test_readme_example_runs_unchanged(
    install: Callable[[str], Environment], tmp_path: Path
) -> None:
    check_example(example({}), install("wheel"), tmp_path, "ppl/wikipedia/512")


TYPED = """
from pruning_atlas import get_method, load_model, perplexity, save_model

model = load_model("smollm2-135m")
reveal_type(model.blocks[0].attention.heads)
reveal_type(get_method("wanda")(sparsity=0.5).apply(model).achieved)
save_model(perplexity, "out")
"""
# Types of the libraries are not checked, because mypy needs a minute to read them.
MYPY = """
[mypy]
strict = True
[mypy-torch.*,transformers.*,pydantic.*,yaml.*,numpy.*,huggingface_hub.*,safetensors.*]
follow_imports = skip
ignore_missing_imports = True
"""


def test_type_checkers_see_the_names(install: Callable[[str], Environment], tmp_path: Path) -> None:
    (tmp_path / "typed.py").write_text(TYPED)
    (tmp_path / "mypy.ini").write_text(MYPY)
    python = install("wheel").folder / "bin" / "python"
    command = [sys.executable, "-m", "mypy", "--python-executable", python, "typed.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    heads, achieved, misuse, _ = done.stdout.splitlines()
    assert heads.endswith('Revealed type is "int"')
    assert achieved.endswith('Revealed type is "float"')
    assert 'Argument 1 to "save_model" has incompatible type' in misuse
