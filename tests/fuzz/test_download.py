"""Archives, caches, names, answers of a hub, whatever they hold: the right bytes or a sentence."""

import hashlib
import io
import json
import os
import re
import time
import warnings
import zipfile
from pathlib import Path

import pytest
from huggingface_hub import close_session, constants
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import _http, validate_repo_id
from hypothesis import given
from hypothesis import strategies as st

from implementations.harness.download import embedded, hub_child
from implementations.harness.download.manifest import MANIFEST, damage, write_manifest
from implementations.harness.download.storage import user_path
from implementations.harness.download.wheels import Member, extract
from implementations.harness.errors import BadInput, Unavailable
from implementations.harness.model.loading import HUB_ID, locate
from tests.fuzz.foreign import damaged, fuzz, value_or_refusal
from tests.harness.download.foreign_hub import COMMIT, ForeignHub, entry, point_at, serving

CONTENT = bytes(range(256)) * 20
MEMBER = Member("tiny", "1", "tiny/data.bin", hashlib.sha256(CONTENT).hexdigest(), len(CONTENT), 9)


def wheel(packing):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", packing) as archive:
        archive.writestr("../outside", b"never")
        archive.writestr(MEMBER.path, CONTENT)
        archive.writestr("tiny-1.dist-info/METADATA", "Name: tiny\n")
    return file.getvalue()


PACKINGS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2)


def clear(folder):
    """Remove what an example left, whatever it is."""
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()


@pytest.fixture
def cache(tmp_path):
    (tmp_path / "around" / "cache").mkdir(parents=True)
    return tmp_path / "around" / "cache"


@fuzz
@given(content=st.sampled_from(PACKINGS).flatmap(lambda packing: damaged(wheel(packing))))
def test_any_bytes_of_a_wheel(cache, content):
    clear(cache)
    (cache / "new").mkdir()
    (cache / "tiny-1-py3-none-any.whl").write_bytes(content)
    made = value_or_refusal(lambda: extract(MEMBER, cache, cache / "new"), Unavailable)
    if isinstance(made, Path):
        assert made.read_bytes() == CONTENT
    else:
        assert not (cache / "tiny-1-py3-none-any.whl").exists()
    assert [path.name for path in cache.parent.iterdir()] == ["cache"]
    assert {path.name for path in (cache / "new").iterdir()} <= {"data.bin"}


# States of a cache: what may lie where a file or a folder should be.

STATES = {
    "nothing": lambda path: None,
    "file": lambda path: path.write_bytes(b"other"),
    "folder": Path.mkdir,
    "full folder": lambda path: (path.mkdir(), (path / "more").touch()),
    "pipe": os.mkfifo,
    "loop": lambda path: path.symlink_to(path),
    "dangling": lambda path: path.symlink_to(path.with_name("gone")),
    "outside": lambda path: path.symlink_to(cache_of(path).with_name("outside")),
}
FILES = {"config.json": b"{}", "model.safetensors": b"weights"}
PLACES = ["smollm2-135m", ".smollm2-135m.lock", ".smollm2-135m.partial-x", embedded.MODEL.name]
INSIDE = [*FILES, MANIFEST, "more.json", "model.safetensors.sha256"]


def cache_of(path):
    return next(parent for parent in path.parents if parent.name == "cache")


def convert(gguf, folder):
    folder.mkdir()
    for name, content in FILES.items():
        (folder / name).write_bytes(content)
    write_manifest(folder)
    yield


@fuzz
@given(
    around=st.dictionaries(st.sampled_from(PLACES), st.sampled_from(sorted(STATES))),
    inside=st.dictionaries(st.sampled_from(INSIDE), st.sampled_from(sorted(STATES)), max_size=2),
)
def test_any_state_of_the_cache(cache, around, inside):
    clear(cache.parent)
    outside = cache.with_name("outside")
    for folder in (cache, outside, cache / "smollm2-135m"):
        folder.mkdir()
    (outside / "kept").write_bytes(b"kept")
    list(convert(None, cache / "smollm2-135m" / "made"))
    for path in (cache / "smollm2-135m" / "made").iterdir():
        path.rename(cache / "smollm2-135m" / path.name)
    (cache / "smollm2-135m" / "made").rmdir()
    for name, state in inside.items():
        put(cache / "smollm2-135m" / name, state)
    for name, state in around.items():
        put(cache / name, state)
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        patch.setenv("PRUNING_ATLAS_CACHE", str(cache))
        patch.setattr(embedded, "_convert", convert)
        patch.setattr(embedded, "extract", lambda member, cache, folder: folder / "gguf")
        patch.setattr(embedded, "_CONVERTED_SIZE", 0)
        found = value_or_refusal(embedded.embedded_model)
    if isinstance(found, Path):
        assert {name: (found / name).read_bytes() for name in FILES} == FILES
        assert embedded.embedded_hashes(found).keys() == FILES.keys()
    assert [path.name for path in outside.iterdir()] == ["kept"]
    assert (outside / "kept").read_bytes() == b"kept"


def put(path, state):
    if path.is_dir() and not path.is_symlink():
        clear(path)
        path.rmdir()
    path.unlink(missing_ok=True)
    STATES[state](path)


@fuzz
@given(data=st.data())
def test_any_bytes_of_a_manifest(cache, data):
    clear(cache)
    list(convert(None, cache / "model"))
    right = (cache / "model" / MANIFEST).read_bytes()
    content = data.draw(st.binary() | damaged(right))
    (cache / "model" / MANIFEST).write_bytes(content)
    wrong = damage(cache / "model")
    lines = [sorted(filter(None, text.split(b"\n"))) for text in (content, right)]
    assert (wrong is None) == (lines[0] == lines[1])
    assert wrong is None or (wrong.isprintable() and len(wrong) < 500)


# Names of paths and of models.

LETTERS = st.text(alphabet="ab/.-_~\0\n\\:é \ud800\x1b?%", max_size=30)
LONG = st.builds(lambda text, times: text * times, LETTERS, st.integers(1, 1000))
NAMES = LETTERS | LONG | st.text()


@fuzz
@given(name=NAMES)
def test_any_name_of_a_path(name):
    path = value_or_refusal(lambda: user_path(name, "it"), BadInput)
    if isinstance(path, Path):
        assert "\0" not in str(path)
        str(path).encode()


@fuzz
@given(name=NAMES | st.from_regex(r"[ab._-]{1,50}/[ab._-]{1,50}"))
def test_any_name_of_a_model(name):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("implementations.harness.model.loading.hub_folder", Path)
        origin = value_or_refusal(lambda: locate(name), BadInput)
    if isinstance(origin, BadInput):
        assert str(origin).isprintable()
    elif origin.name == name:
        assert name.isascii()
        assert re.fullmatch("[^/]+/[^/]+", name)
        validate_repo_id(name)


@fuzz
@given(name=st.text(alphabet="ab._-/", max_size=12))
def test_what_the_library_takes_for_a_name_is_one(name):
    try:
        validate_repo_id(name)
    except HFValidationError:
        assert not HUB_ID.fullmatch(name)
    else:
        assert bool(HUB_ID.fullmatch(name)) == ("/" in name)


# Answers of a hub.


@pytest.fixture(scope="module")
def hub():
    """A hub, with a client that goes to it in no time."""
    right = ForeignHub()
    with pytest.MonkeyPatch.context() as patch, serving(right) as url:
        point_at(patch, url)
        patch.setattr(_http, "_GLOBAL_CLIENT_FACTORY", _http.default_client_factory)
        patch.setattr(time, "sleep", lambda seconds: None)
        yield right
        close_session()


VISIBLE = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=40)
PATHS = st.sampled_from(
    ["../../../outside", "/outside", "..", ".", "a/../../../../outside", "a\\b"]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | PATHS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
ENTRIES = st.lists(st.builds(entry, PATHS | st.text() | JSON, st.integers() | JSON), max_size=4)
STATUS = st.sampled_from([200, 204, 206, 301, 302, 307, 400, 401, 403, 404, 416, 429, 500, 503])
HEADERS = st.fixed_dictionaries(
    {},
    optional={
        "Location": PATHS
        | VISIBLE
        | st.sampled_from(["file:///etc/passwd", "http:\\\\x\\y", "//"]),
        "Link": VISIBLE.map(lambda url: f'<{url}>; rel="next"'),
        "Retry-After": VISIBLE | st.integers(0, 10**25).map(str),
        "Content-Encoding": st.sampled_from(["gzip", "deflate", "br", "identity", "x"]),
        "Content-Range": VISIBLE,
        "X-Error-Code": st.sampled_from(["RepoNotFound", "GatedRepo", "EntryNotFound", "?"]),
        "X-Error-Message": VISIBLE,
        "ETag": (PATHS | VISIBLE).map(lambda tag: f'"{tag}"') | VISIBLE,
        "X-Linked-ETag": PATHS | VISIBLE,
        "X-Linked-Size": VISIBLE | st.integers(-10, 10**25).map(str),
        "X-Repo-Commit": PATHS | VISIBLE | st.just(COMMIT),
        "X-Xet-Hash": PATHS | VISIBLE,
        "X-Xet-Refresh-Route": PATHS | VISIBLE,
    },
)


@fuzz
@given(
    status=STATUS,
    headers=HEADERS,
    body=st.binary()
    | JSON.map(lambda v: json.dumps(v).encode())
    | ENTRIES.map(lambda v: json.dumps(v).encode()),
)
def test_any_list_of_a_hub(hub, status, headers, body):
    hub.list = lambda: (status, headers, body)
    answer = hub_child.main("list", "org/tiny", "model", [])
    json.dumps(answer).encode()
    for name in answer.get("files", ()):
        assert re.fullmatch(r"\w[\w.-]*", name, re.ASCII)


@fuzz
@given(status=STATUS, headers=HEADERS, right=st.booleans(), body=st.binary(max_size=50))
def test_any_answer_for_a_file(hub, cache, status, headers, right, body):
    clear(cache)
    hub.get = lambda name: (200, {}, body) if right else (status, headers, body)

    def head(name):
        _, usual, content = hub.right_file(name)
        return (status if not right else 200), usual | headers, content

    hub.head = head
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(constants, "HF_HUB_CACHE", str(cache))
        answer = hub_child.main("fetch", "org/tiny", "model", ["config.json"])
    json.dumps(answer).encode()
    for path in answer.get("paths", ()):
        assert Path(path).resolve().is_relative_to(cache)
    assert [path.name for path in cache.parent.iterdir()] == ["cache"]
    assert not list(cache.rglob("outside*"))
