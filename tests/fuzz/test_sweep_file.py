"""Any sweep file, protocol or --set value is read or rejected."""

import json

from hypothesis import given
from hypothesis import strategies as st

from implementations.harness.errors import BadInput
from implementations.harness.results.protocol import PROTOCOLS, get_protocol
from implementations.harness.results.reading import LARGEST_INTEGER
from implementations.harness.runs import sweep_file
from tests.fuzz.foreign import ODD, ODD_TEXT, changed, fuzz, value_or_refusal

NAMES = st.sampled_from(["method", "seeds", "sparsity", "pattern", "block_size", "cls", "x" * 99])
VALUES = ODD | st.sampled_from(["wanda", "dense", "2:4", f"1:{10**400}", "nan", list(range(999))])
PLAN = {
    "protocol": "smol",
    "seeds": [0],
    "runs": [
        "dense",
        {"method": ["wanda", "flap"], "sparsity": [0.5, 0.7], "seeds": [0, 1]},
        {"method": "sparsegpt", "pattern": "2:4", "damping": 0.05, "block_size": 128},
    ],
}
PROTOCOL = PROTOCOLS["quick"].model_dump(mode="json") | {"name": "own"}


@fuzz
@given(content=changed(PLAN, VALUES, NAMES))
def test_any_plan(tmp_path, content):
    path = tmp_path / "sweep.yaml"
    path.write_text(json.dumps(content))  # which is YAML too
    read = value_or_refusal(lambda: sweep_file.read_sweep_file(path).jobs(), BadInput)
    if not isinstance(read, BadInput):
        assert 0 < len(read) <= sweep_file.MOST_RUNS
        assert all(0 <= job.seed <= LARGEST_INTEGER for job in read)
        assert all(job.method is None or 0 <= job.method.target <= 1 for job in read)


@fuzz
@given(name=NAMES, text=st.text(alphabet='[]{}",:0123456789eE+-.\\ud8 ntf\x00\x1b') | st.text())
def test_any_setting(name, text):
    value_or_refusal(
        lambda: sweep_file.jobs_of(["sparsegpt", "dense"], [], [], [f"{name}={text}"], [0]),
        BadInput,
    )


@fuzz
@given(content=changed(PROTOCOL, ODD, st.sampled_from(ODD_TEXT)))
def test_any_protocol(tmp_path, content):
    path = tmp_path / "own.yaml"
    path.write_text(json.dumps(content))
    read = value_or_refusal(lambda: get_protocol(str(path)), BadInput)
    if not isinstance(read, BadInput):
        assert len(read.fingerprint) == 64
