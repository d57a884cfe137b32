"""The API page: every exported name, with the signature and docstring of its source."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

import implementations.harness
import pruning_atlas
from implementations.harness.contract import cases as conformance
from implementations.harness.contract.clause import CLAUSES
from implementations.harness.contract.tiny import MIXTURE_TYPES, MODEL_TYPES
from implementations.harness.results import families
from tools.site import code
from tools.site.atlas import Atlas, read
from tools.site.code import Doc, exported
from tools.site.data_files import FILES
from tools.site.pages import api


@pytest.fixture(scope="module")
def page(real_pages: dict[str, str]) -> str:
    return real_pages["api.md"]


def test_lists_every_public_name_once(page: str, repository: Path) -> None:
    names = [name.name for module in exported(repository) for name in module.names]
    assert sorted(names) == sorted(pruning_atlas.__all__)
    for name in names:
        assert page.count(f"#### {name} {{ #{name} }}") == 1


def test_signatures_and_docstrings_match_the_source(repository: Path) -> None:
    for module in exported(repository):
        for name in module.names:
            there = getattr(pruning_atlas, name.name)
            if name.kind == "function":
                given = name.signature.partition("(")[2]
                for parameter in inspect.signature(there).parameters:
                    assert f"{parameter}:" in given
            if name.kind in ("function", "class"):
                first = (inspect.getdoc(there) or "").split("\n\n")[0]
                assert name.doc.summary == " ".join(first.split())


def test_lists_every_clause_of_the_contract(page: str, repository: Path) -> None:
    clauses = {clause.name: clause for clause in api.clauses(repository)}
    assert {name: clause.covers for name, clause in clauses.items()} == {
        clause.name: clause.covers for clause in CLAUSES
    }
    tested = {case.clause.name for method in methods() for case in conformance.cases(method)}
    assert tested <= set(clauses)
    for clause in clauses.values():
        assert page.count(f'id="clause-{clause.name}"') == 1
        assert clause.doc.summary
        assert f"### {clause.covers[:1].upper()}{clause.covers[1:]}\n" in page
    assert clauses["patterns_hold_in_every_group"].covers == "methods that know N:M patterns"
    assert clauses["sparsity_is_met"].covers == "methods that prune the model"


def methods() -> list[type[implementations.harness.Method]]:
    return [implementations.harness.get_method(slug) for slug in implementations.harness.methods()]


def test_pages_of_methods_link_to_the_contract(real: Atlas, real_pages: dict[str, str]) -> None:
    for slug in real.methods:
        assert "(../api.md#contract)" in real_pages[f"papers/{slug}.md"]


def test_pages_have_the_capabilities_of_the_classes(real: Atlas) -> None:
    for slug, method in real.methods.items():
        declared = implementations.harness.get_method(slug).capabilities.model_dump()
        assert method.capabilities.items() <= declared.items(), slug
    assert {*families.DECODERS} == {*MODEL_TYPES}
    assert {*families.MIXTURES} == {*MIXTURE_TYPES}


def test_reads_sources_without_running_them(tmp_path: Path) -> None:
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
    with pytest.raises(KeyError, match="g"):
        code.module(Path("m.py"), ["g"], tmp_path)


def test_parameters_match_the_fields_of_each_method(repository: Path) -> None:
    for slug, method in read(repository).methods.items():
        fields = implementations.harness.get_method(slug).model_fields
        assert [one.name for one in method.source.parameters] == list(fields)
        for one, field in zip(method.source.parameters, fields.values(), strict=True):
            assert one.meaning == " ".join((field.description or "").split())
            assert one.meaning


def test_reads_a_source_again_after_it_changed(tmp_path: Path) -> None:
    file = tmp_path / "m.py"
    for value in ("1", "22"):
        file.write_text(f"Value = {value}\n")
        (found,) = code.module(Path("m.py"), ["Value"], tmp_path).names
        assert found.signature == f"Value = {value}"


def test_long_signatures_have_one_line_per_parameter(repository: Path) -> None:
    walk = next(name for m in exported(repository) for name in m.names if name.name == "walk")
    lines = walk.signature.splitlines()
    assert lines[0] == "walk("
    assert lines[1] == "    model: LanguageModel,"
    assert max(map(len, lines)) <= code.WIDTH


def test_renders_for_an_empty_atlas() -> None:
    assert set(dict(api.pages(Atlas({}, {})))) == {"api.md"}


def test_lists_every_data_file(page: str) -> None:
    for name in FILES:
        assert f'<a href="{name}">{name}</a>' in page
