"""The API pages: every exported name, with the signature and words of its source."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

import implementations.harness
from implementations.harness.cli.commands import app
from implementations.harness.contract import cases as conformance
from tools.site import code
from tools.site.atlas import Atlas, read
from tools.site.code import Doc, exported
from tools.site.pages import api, paper


@pytest.fixture(scope="module")
def made(repository: Path) -> dict[str, str]:
    return dict(api.pages(read(repository)))


def test_every_exported_name_is_there_once(made: dict[str, str]) -> None:
    names = [name.name for module in exported() for name in module.names]
    assert sorted(names) == sorted(implementations.harness.__all__)
    for name in names:
        assert made["api/harness.md"].count(f"### {name} {{ #{name} }}") == 1
        assert made["api/index.md"].count(f'href="harness.html#{name}"') == 1


def test_signatures_and_words_are_those_of_the_code() -> None:
    for module in exported():
        for name in module.names:
            there = getattr(implementations.harness, name.name)
            if name.kind == "function":
                given = name.signature.partition("(")[2]
                for parameter in inspect.signature(there).parameters:
                    assert f"{parameter}:" in given
            if name.kind in ("function", "class"):
                first = (inspect.getdoc(there) or "").split("\n\n")[0]
                assert name.doc.summary == " ".join(first.split())


def test_every_clause_of_the_contract_is_there(made: dict[str, str], repository: Path) -> None:
    clauses = {clause.name: clause for clause in api.clauses(repository)}
    tested = {case.clause.__name__ for method in methods() for case in conformance.cases(method)}
    assert tested <= set(clauses)
    for clause in clauses.values():
        assert made["api/contract.md"].count(f'id="{clause.name}"') == 1
        assert clause.doc.summary
        assert clause.covers in api.COVERS.values(), "a condition without words"
    assert clauses["slicing_equals_masking"].covers == "methods that remove whole units"
    assert clauses["share_is_met"].covers == "every method"


def methods() -> list[type[implementations.harness.Method]]:
    return [implementations.harness.get(slug) for slug in implementations.harness.methods()]


def test_commands_are_those_of_the_program(made: dict[str, str]) -> None:
    for command in app.registered_commands:
        name = command.name or command.callback.__name__  # type: ignore[union-attr]
        assert f"<code>atlas {name}</code>" in made["api/index.md"]


def test_the_example_is_the_readmes(made: dict[str, str], repository: Path) -> None:
    example = api.example(repository / "README.md")
    assert "from pruning_atlas import" in example
    assert example in made["api/index.md"]
    assert api.example(repository / "no such file") == ""


def test_the_pages_of_the_methods_lead_to_the_contract(repository: Path) -> None:
    atlas = read(repository)
    made = dict(paper.pages(atlas))
    for slug, method in atlas.methods.items():
        assert ("(../api/contract.md)" in made[f"papers/{slug}.md"]) == bool(method.support)


def test_sources_are_read_and_not_run(tmp_path: Path) -> None:
    file = tmp_path / "m.py"
    file.write_text(
        'raise SystemExit("run")\n'
        "class Mine(Base):\n"
        '    """Do `a`\n    and b.\n\n    More.\n\n    Raises:\n        BadInput: no\n'
        '            good.\n        Other: bad.\n    """\n'
        "    x: int = 1\n"
        '    """An x."""\n'
        "    def __init__(self, a: int, *, b: str = 'c') -> None: ...\n"
        "    @property\n"
        "    def p(self) -> int:\n"
        '        """A p."""\n'
        "    def _hidden(self): ...\n"
        "    @classmethod\n"
        "    def k(cls, *rest: int, **more: str) -> None:\n"
        '        """A k."""\n'
        "def f(a, /, b=2, *, c: int | None = None) -> str:\n"
        '    """An f."""\n'
        "Value = Annotated[int, 1]\n"
        '"""A value."""\n'
    )
    module = code.module(Path("m.py"), ["Mine", "f", "Value"], tmp_path)
    mine, f, value = module.names
    assert mine.signature == "class Mine(a: int, *, b: str = 'c')"
    assert mine.doc == Doc(
        "Do `a` and b.", ("More.",), (("BadInput", "no good."), ("Other", "bad."))
    )
    assert [(m.name, m.kind, m.signature, m.doc.summary) for m in mine.members] == [
        ("x", "field", "x: int = 1", "An x."),
        ("p", "property", "p: int", "A p."),
        ("k", "function", "k(*rest: int, **more: str) -> None", "A k."),
    ]
    assert f.signature == "f(a, /, b=2, *, c: int | None = None) -> str"
    assert (value.signature, value.doc.summary) == ("Value = Annotated[int, 1]", "A value.")
    with pytest.raises(KeyError, match="no g"):
        code.module(Path("m.py"), ["g"], tmp_path)


def test_a_long_signature_has_a_line_for_each_parameter() -> None:
    walk = next(name for m in exported() for name in m.names if name.name == "walk")
    lines = walk.signature.splitlines()
    assert lines[0] == "walk("
    assert lines[1] == "    model: LanguageModel,"
    assert max(map(len, lines)) <= code.WIDTH


def test_the_pages_stand_in_an_empty_atlas() -> None:
    assert set(dict(api.pages(Atlas({}, {})))) == {
        "api/index.md",
        "api/harness.md",
        "api/contract.md",
    }
