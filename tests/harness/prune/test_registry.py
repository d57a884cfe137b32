"""Methods outside the atlas: files, classes, and names that packages register."""

from __future__ import annotations

import importlib.metadata
import os
import pickle
import sys
from pathlib import Path

import pytest

from implementations.harness.errors import BadInput
from implementations.harness.prune.registry import get_method
from implementations.harness.results import external
from implementations.harness.results.external import installed_methods

METHOD = """
from pruning_atlas import Capabilities, Ratio, WeightMethod

class First(WeightMethod):
    '''Zero the first weights.'''

    capabilities = Capabilities(granularity=("unstructured",), calibration="none")
    sparsity: Ratio = 0.5
    power: float = 1.0

    def prune(self, model, calibration):
        for _, _, linear in model.linears():
            linear.weight.masked_fill_(self.choose(linear.weight.abs() ** self.power), 0)
"""


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "my_method.py"
    path.write_text(METHOD)
    return path


def test_file_is_loaded_with_its_origin(file):
    method = get_method("./my_method.py")
    assert method.slug() == "mymethod"
    assert method.external.source == "./my_method.py"
    assert len(method.external.sha256) == 64
    assert get_method("./my_method.py") is method


def test_changed_file_is_loaded_again(file):
    before = get_method("./my_method.py").external.sha256
    changed = file.stat().st_mtime_ns
    file.write_text(METHOD.replace("1.0", "2.0"))
    os.utime(file, ns=(changed, changed))  # Python's bytecode cache would not see the change
    method = get_method("./my_method.py")
    assert method().power == 2
    assert method.external.sha256 != before


def test_one_class_of_several_is_named(file):
    file.write_text(METHOD + METHOD.replace("First", "Second"))
    with pytest.raises(BadInput, match=r"got First, Second; name one, as in m.*\.py:First"):
        get_method("my_method.py")
    assert get_method("my_method.py:Second").slug() == "second"
    with pytest.raises(BadInput, match="Third is not a subclass"):
        get_method("my_method.py:Third")


def test_file_beside_it_can_be_imported(file):
    (file.parent / "helper_of_mine.py").write_text("POWER = 3.0")
    file.write_text(METHOD.replace("1.0", "POWER") + "\n" * 3)
    file.write_text("from helper_of_mine import POWER\n" + file.read_text())
    assert get_method(str(file))().power == 3


def test_configured_method_can_be_sent_to_another_process(file):
    method = get_method("./my_method.py").configure(sparsity=0.25)
    again = pickle.loads(pickle.dumps(method))
    assert again == method
    patterns = METHOD.replace("    power:", "    pattern: Pattern | None = None\n    power:")
    patterns = patterns.replace('("unstructured",)', '("unstructured", "semi-structured")')
    Path("with_patterns.py").write_text(patterns.replace("Ratio,", "Pattern, Ratio,"))
    sparse = get_method("./with_patterns.py").configure(pattern="1:4")
    assert pickle.loads(pickle.dumps(sparse)) == sparse
    sent = pickle.dumps(method)
    file.write_text(METHOD + "# changed")
    with pytest.raises(BadInput, match="changed while it was used"):
        pickle.loads(sent)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("x = 1", "must define one subclass of `Method`.*got none"),
        ("x = ", r"cannot be loaded: SyntaxError"),
        ("import no_such_thing", r"ModuleNotFoundError: .*no_such_thing.* \(line 1\)"),
        (METHOD.replace("    capabilities", "    # capabilities"), "has no `capabilities`"),
        (METHOD.replace(" = 1.0", ""), "the field `power` has no default; give it one"),
    ],
)
def test_unusable_file_is_refused(file, content, message):
    file.write_text(content)
    with pytest.raises(BadInput, match=message):
        get_method("./my_method.py")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("./nosuch.py", "there is no file ./nosuch.py"),
        ("nosuch", "unknown method"),
        ("llmbarber", "is in the catalog, but not implemented here"),
        ("no_such_package:First", "ModuleNotFoundError"),
        ("implementations.wanda:Wanda", "is a method of the atlas; use wanda"),
    ],
)
def test_unknown_method_is_refused(name, message):
    with pytest.raises(BadInput, match=message):
        get_method(name)


@pytest.mark.parametrize("name", ["wanda.py", "dense.py", "123.py"])
def test_taken_or_invalid_name_is_refused(file, name):
    Path(name).write_text(METHOD)
    with pytest.raises(BadInput, match=r"give yours another name|a letter followed by letters"):
        get_method(name)


def test_class_of_a_package(file):
    sys.path.insert(0, str(file.parent))
    try:
        method = get_method("my_method:First")
    finally:
        sys.path.remove(str(file.parent))
        del sys.modules["my_method"]
    assert method.slug() == "first"
    assert method.external.source == "my_method:First"


def test_registered_name(file, monkeypatch):
    monkeypatch.syspath_prepend(file.parent)
    points = [
        importlib.metadata.EntryPoint("mine", "my_method:First", external.GROUP),
        importlib.metadata.EntryPoint("wanda", "my_method:First", external.GROUP),
    ]
    monkeypatch.setattr(external, "entry_points", lambda group: points)
    assert installed_methods() == {"mine": "my_method:First"}  # Wanda is that of the atlas
    assert get_method("mine").slug() == "mine"
    wanda = get_method("wanda")
    assert wanda.external is None
    del sys.modules["my_method"]
