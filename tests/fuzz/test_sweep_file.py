"""Any sweep file, protocol or --set value is read or rejected."""

import json

from hypothesis import given
from hypothesis import strategies as st

from implementations.harness.errors import BadInput
from implementations.harness.results.protocol import PROTOCOLS, get_protocol
from implementations.harness.results.reading import LARGEST_INTEGER
from implementations.harness.runs import sweep_file
from tests.fuzz.foreign import fuzz, value_or_refusal

NAMED = ["wanda", "flap", "dense", "sparsegpt", "smol", "cls", "self", "true", "nan", "1e-320"]
FOREIGN = ["", "2:4", f"1:{10**400}", "x" * 300, "~nouser", "\0", "\x1b[31m", "[/x]", "\u202e"]
WORDS = st.sampled_from(NAMED + FOREIGN)
NUMBERS = st.sampled_from([0, -1, 2**31, 2**63 - 1, 2**63, 10**30, 0.5, 1e-320, 1e308, 1.5])
ATOMS = WORDS | NUMBERS | st.none() | st.booleans() | st.integers() | st.text(max_size=9)
ANYTHING = st.recursive(
    ATOMS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=8,
)
NAMES = ["method", "seeds", "sparsity", "pattern", "block_size", "damping", "cls", "jobs", "x" * 99]
ENTRY = st.fixed_dictionaries(
    {"method": WORDS | st.lists(WORDS, max_size=3)},
    optional={name: ANYTHING | st.just(list(range(999))) for name in NAMES[1:]},
)
PLAN = st.fixed_dictionaries(
    {"runs": st.lists(ENTRY | WORDS, max_size=3) | ANYTHING},
    optional=dict.fromkeys(("protocol", "model", "dtype", "seeds", "more"), ANYTHING),
)


def check(path):
    """Assert that a plan has runs with valid seeds."""
    read = value_or_refusal(lambda: sweep_file.read_sweep_file(path).jobs(), BadInput)
    if not isinstance(read, BadInput):
        assert 0 < len(read) <= sweep_file.MOST_RUNS
        assert all(0 <= job.seed <= LARGEST_INTEGER for job in read)
        assert all(job.method is None or 0 <= job.method.target <= 1 for job in read)


@fuzz
@given(content=PLAN)
def test_any_plan(tmp_path, content):
    path = tmp_path / "sweep.yaml"
    path.write_text(json.dumps(content))  # which is YAML too
    check(path)


@fuzz
@given(lines=st.lists(st.tuples(st.sampled_from(NAMES), st.text(max_size=9) | WORDS), max_size=5))
def test_any_yaml(tmp_path, lines):
    path = tmp_path / "sweep.yaml"
    body = "\n".join(f"    {name}: {text}" for name, text in lines)
    path.write_text(f"runs:\n  - method: wanda\n{body}", errors="replace")
    check(path)


@fuzz
@given(settings=st.lists(st.tuples(st.sampled_from(NAMES), WORDS | st.text()), max_size=3))
def test_any_setting(settings):
    said = [f"{name}={text}" for name, text in settings]
    value_or_refusal(
        lambda: sweep_file.jobs_of(["sparsegpt", "dense"], [], [], said, [0]), BadInput
    )


@fuzz
@given(st.sampled_from("[{"), st.text(alphabet='[]{}",:0123456789eE+-.\\ud8 ntf\x00\x1b'))
def test_any_json_in_a_setting(start, text):
    value_or_refusal(lambda: sweep_file.jobs_of(["flap"], [], [], [f"sparsity={start}{text}"], [0]))


def protocols():
    """A protocol with some fields replaced."""
    plain = PROTOCOLS["quick"].model_dump(mode="json") | {"name": "own"}
    parts = [(name, None) for name in plain]
    parts += [(name, field) for name, v in plain.items() if isinstance(v, dict) for field in v]

    def changed(changes):
        content = json.loads(json.dumps(plain))
        for (name, field), value in changes:
            if field is None or not isinstance(content[name], dict):
                content[name] = value
            else:
                content[name][field] = value
        return content

    return st.lists(st.tuples(st.sampled_from(parts), ANYTHING), max_size=3).map(changed)


@fuzz
@given(content=protocols() | ANYTHING)
def test_any_protocol(tmp_path, content):
    path = tmp_path / "own.yaml"
    path.write_text(json.dumps(content))
    read = value_or_refusal(lambda: get_protocol(str(path)), BadInput)
    if not isinstance(read, BadInput):
        assert len(read.fingerprint) == 64
