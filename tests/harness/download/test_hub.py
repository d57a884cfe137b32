"""The hub, right and hostile, played by a server of these tests; the real one is not asked.

What it answers is tried on hub_child.py in this process, where it is quick; that the program can
be stopped, with what it has half fetched, is tried on the program.
"""

import gzip
import json
import time
from itertools import repeat

import pytest
from huggingface_hub import close_session, constants
from huggingface_hub.utils import _http

from implementations.harness.download import hub as asking
from implementations.harness.download import hub_child
from implementations.harness.download.hub import cached_file, hub_file, hub_model
from implementations.harness.errors import BadInput, Unavailable
from tests.harness.download.foreign_hub import COMMIT, FILES, ForeignHub, entry, point_at, serving

SHAPE = "models--org--tiny"


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A right hub, that tests make say wrong things, and an empty cache."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    (tmp_path / "cache").mkdir()
    right = ForeignHub()
    with serving(right) as url:
        point_at(monkeypatch, url)
        yield right


@pytest.fixture
def ask(monkeypatch):
    """Run hub_child.py in this process; it sleeps between its tries for no time at all."""
    monkeypatch.setattr(_http, "_GLOBAL_CLIENT_FACTORY", _http.default_client_factory)
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    yield hub_child.main
    close_session()


def take_all(names):
    return names


def take_model(names):
    return [name for name in names if name != "README.md"]


def everything(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_chosen_files_are_fetched_and_then_cached(hub, tmp_path):
    folder = hub_model("org/tiny", take_model)
    assert folder == tmp_path / "cache" / SHAPE / "snapshots" / COMMIT
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {
        name: FILES[name] for name in take_model(FILES)
    }
    assert not any("README" in path for path in hub.asked)
    hub.asked.clear()
    assert cached_file("org/tiny", "config.json", "model") == folder / "config.json"
    assert hub.asked == []


def test_a_file_of_a_data_set(hub, tmp_path):
    file = hub_file("org/tiny", "config.json")
    assert file.read_bytes() == FILES["config.json"]
    assert file.is_relative_to(tmp_path / "cache" / "datasets--org--tiny" / "snapshots" / COMMIT)


def test_a_model_that_is_not_there(hub):
    with pytest.raises(
        BadInput, match="'org/none' is neither a folder here nor a model on the hub"
    ):
        hub_model("org/none", take_all)


def test_a_model_with_nothing_of_a_model(hub):
    with pytest.raises(
        BadInput, match=r"org/tiny holds no model: there is config\.json, model\.sa"
    ):
        hub_model("org/tiny", lambda names: [])


def test_a_model_that_is_larger_than_the_disk_is_not_begun(hub):
    hub.list = lambda: (200, {}, json.dumps([entry("config.json", 10**20)]))
    with pytest.raises(
        Unavailable, match=r"no space left in .*HF_HUB_CACHE to a folder on a larger"
    ):
        hub_model("org/tiny", take_all)
    assert not any("resolve" in path for path in hub.asked)


def test_a_model_that_changes_while_it_is_fetched(hub):
    def other(name):
        status, headers, body = hub.right_file(name)
        commit = "f" * 40 if name == "config.json" else COMMIT
        return status, headers | {"X-Repo-Commit": commit}, body

    hub.head = other
    with pytest.raises(Unavailable, match="org/tiny was changed while it was fetched"):
        hub_model("org/tiny", take_all)


@pytest.mark.parametrize(
    "make", [lambda path: path.write_text("x"), lambda path: path.symlink_to(path)]
)
def test_a_cache_that_is_no_folder(hub, tmp_path, monkeypatch, make):
    make(tmp_path / "file")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "file"))
    with pytest.raises(Unavailable, match=r"cannot write in .*set HF_HUB_CACHE"):
        hub_model("org/tiny", take_all)


def test_a_damaged_cache_is_named(hub, tmp_path):
    refs = tmp_path / "cache" / SHAPE / "refs"
    refs.mkdir(parents=True)
    (refs / "main").write_bytes(b"\xff\xfe")
    with pytest.raises(Unavailable, match=rf"{SHAPE} is damaged .*: delete it"):
        cached_file("org/tiny", "config.json", "model")


# What a hub may answer to the question which files there are.


def trickle(piece=b" ", pause=0.02):
    while True:
        yield piece
        time.sleep(pause)


def listed(*entries):
    return 200, {}, json.dumps(entries)


LISTS = {
    "HTML": (200, {"Content-Type": "text/html"}, b"<html><body>Log in</body></html>"),
    "nothing": (200, {}, b""),
    "a mapping": (200, {}, b'{"error": "no"}'),
    "a text": (200, {}, b'"text"'),
    "numbers": (200, {}, b"[1, 2]"),
    "null": (200, {}, b"null"),
    "entries of nothing": (200, {}, b'[{"type": "file"}]'),
    "depth": (200, {}, b"[" * 100_000),
    "not UTF-8": (200, {}, b"[\xff\xfe\x00"),
    "more than memory": (200, {}, repeat(b" " * 1_000_000)),
    "packed": (200, {"Content-Encoding": "gzip"}, gzip.compress(b"[" + b" " * 10**7)),
    "length too long": (200, {"Content-Length": "1000"}, b"[]"),
    "length below zero": (200, {"Content-Length": "-1"}, b"[]"),
    "length no number": (200, {"Content-Length": "ten"}, b"[]"),
    "length of ages": (200, {"Content-Length": "9" * 30}, b"[]"),
    "teapot": (418, {}, b"I am a teapot"),
    "words without end": (404, {"X-Error-Message": "\x1b[2Jno " * 1000}, b"x" * 10**6),
    "later": (429, {"Retry-After": "1" + "0" * 20}, b""),
    "broken": (503, {"Retry-After": "100000000000000000000"}, b""),
    "in a circle": (307, {"Location": "/api/models/org/tiny/tree/main"}, b""),
    "to a file": (302, {"Location": "file:///etc/passwd"}, b""),
    "backslashes": (302, {"Location": "http:\\\\127.0.0.1\\etc\\passwd"}, b""),
    "no address": (302, {"Location": "http://[::1"}, b""),
    "an address without end": (302, {"Location": "http://" + "a" * 60_000}, b""),
    "next page nowhere": (200, {"Link": '<file:///etc/passwd>; rel="next"'}, b"[]"),
    "bare number": (200, {}, b"9" * 5000),
}


@pytest.mark.parametrize("said", LISTS.values(), ids=LISTS)
def test_a_wrong_list_is_refused_in_words(hub, ask, tmp_path, said):
    hub.list = lambda: said
    answer = ask("list", "org/tiny", "model", [])
    assert answer["trouble"] == "refused"
    assert answer["words"].strip()
    assert everything(tmp_path) == []


NAMES = [
    "../../x",
    "/etc/x",
    "a/../../x.json",
    "a/b.json",
    "..",
    ".",
    "",
    ".hidden.json",
    "a\\b.json",
]
NAMES += ["c:x.json", "null\0.json", "line\n.json", "\ud800.json", "é.json", "x" * 300, "-x.json"]


def test_only_plain_names_and_sizes_come_out_of_a_list(hub, ask):
    wrong = [entry(name, 1) for name in NAMES]
    sizes = (-1, "1", 1.5, None, [1])
    wrong += [entry(f"size{number}.json", size) for number, size in enumerate(sizes)]
    hub.list = lambda: listed(*wrong, entry("model.safetensors", 7))
    assert ask("list", "org/tiny", "model", []) == {"files": {"model.safetensors": 7}}


# What it may answer to the question for a file.

HEADS = {
    "tag outside": {"ETag": '"../../../../outside"'},
    "tag absolute": {"ETag": '"/tmp/outside"'},
    "tag of points": {"ETag": '".."'},
    "tag of nothing": {"ETag": '""'},
    "tag too long": {"ETag": '"' + "x" * 300 + '"'},
    "linked tag outside": {"X-Linked-ETag": '"../../../../outside"'},
    "commit outside": {"X-Repo-Commit": "../../../../outside"},
    "commit absolute": {"X-Repo-Commit": "/tmp/outside"},
    "commit of a branch": {"X-Repo-Commit": "main"},
    "no commit": {"X-Repo-Commit": None},
    "no tag": {"ETag": None},
    "larger than disks": {"X-Linked-Size": "9" * 20},
    "size no number": {"X-Linked-Size": "many"},
    "hash outside": {"X-Xet-Hash": "../../../../outside", "X-Xet-Refresh-Route": "/x"},
    "to a file": {"Location": "file:///etc/passwd"},
    "backslashes": {"Location": "http:\\\\127.0.0.1\\etc\\passwd"},
    "in a circle": {"Location": "/org/tiny/resolve/main/config.json"},
}


@pytest.mark.parametrize("changes", HEADS.values(), ids=HEADS)
def test_wrong_headers_of_a_file_are_refused_in_words(hub, ask, tmp_path, changes):
    def head(name):
        status, headers, body = hub.right_file(name)
        headers = {key: v for key, v in (headers | changes).items() if v is not None}
        return 302 if "Location" in changes else status, headers, body

    hub.head = head
    answer = ask("fetch", "org/tiny", "model", ["config.json"])
    assert answer["trouble"] == "refused"
    assert answer["words"].strip()
    assert not any(
        "outside" in name or name.endswith("config.json") for name in everything(tmp_path)
    )


def test_a_file_larger_than_the_disk_is_not_begun(hub, ask, monkeypatch):
    def head(name):
        status, headers, body = hub.right_file(name)
        return status, headers | {"X-Linked-Size": "9" * 20}, body

    hub.head = head
    monkeypatch.setattr(hub, "get", lambda name: pytest.fail("it was asked for"))
    answer = ask("fetch", "org/tiny", "model", ["config.json"])
    assert "No space left on device" in answer["words"]


def test_a_missing_file_puts_nothing_outside(hub, ask, tmp_path):
    """The library notes what a repository does not have, under the commit that it is told."""
    hub.head = lambda name: (
        404,
        {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": "../../../../outside"},
        b"",
    )
    answer = ask("fetch", "org/tiny", "model", ["config.json"])
    assert answer["trouble"] == "refused"
    assert everything(tmp_path) == []


BODIES = {
    "short": (200, {"Content-Length": "7"}, b"{"),
    "without end": (200, {}, repeat(b" " * 1_000_000)),
    "packed": (200, {"Content-Encoding": "gzip"}, gzip.compress(b"{}")),
    "another length": (200, {}, b"{}" * 50),
    "an error without end": (500, {}, repeat(b" " * 1_000_000)),
    "gone": (404, {"X-Error-Code": "EntryNotFound"}, b""),
}


@pytest.mark.parametrize("said", BODIES.values(), ids=BODIES)
def test_a_wrong_body_of_a_file_leaves_nothing(hub, ask, tmp_path, said):
    hub.get = lambda name: said
    answer = ask("fetch", "org/tiny", "model", ["config.json"])
    assert answer["trouble"] == "refused"
    kept = [name for name in everything(tmp_path) if "refs" not in name and "CACHEDIR" not in name]
    assert [name for name in kept if not name.endswith(".lock")] == []


# The program: stopped where it stands still, and it says in one sentence what the hub said.


def test_what_a_hostile_hub_says_stays_short_and_printable(hub):
    hub.list = lambda: (404, {"X-Error-Message": "\x1b[2Jno " * 1000}, b"x" * 10**6)
    with pytest.raises(Unavailable, match="org/tiny could not be fetched from the hub: ") as error:
        hub_model("org/tiny", take_all)
    assert len(str(error.value)) < 500
    assert str(error.value).isprintable()


def same_page():
    return f'<{constants.ENDPOINT}/api/models/org/tiny/tree/main>; rel="next"'


@pytest.mark.parametrize(
    "say",
    [
        lambda: (200, {}, trickle()),
        lambda: (429, {"Retry-After": "1" + "0" * 8}, b""),
        lambda: (200, {"Link": same_page()}, b"[]"),
    ],
    ids=["a list that trickles", "an answer in an age", "pages without end"],
)
def test_a_hub_that_keeps_us_waiting_is_left(hub, monkeypatch, say):
    monkeypatch.setattr(asking, "_PATIENCE", 3.0)
    hub.list = say
    began = time.monotonic()
    with pytest.raises(Unavailable, match="org/tiny: over 3 seconds less than 1 kB a second came"):
        hub_model("org/tiny", take_all)
    assert time.monotonic() - began < 30


def test_a_file_that_trickles_is_given_up_and_nothing_half_fetched_stays(
    hub, monkeypatch, tmp_path
):
    monkeypatch.setattr(asking, "_PATIENCE", 3.0)
    hub.files["model.safetensors"] = bytes(10_000)
    hub.get = lambda name: (200, {"Content-Length": "10000"}, trickle())
    with pytest.raises(Unavailable, match="less than 1 kB a second came"):
        hub_model("org/tiny", take_model)
    assert not [name for name in everything(tmp_path) if "incomplete" in name or "snap" in name]


def test_a_program_that_breaks_is_named_with_its_code(hub, monkeypatch, tmp_path):
    (tmp_path / "broken.py").write_text("raise SystemExit('out of memory')")
    monkeypatch.setattr(asking, "_CHILD", tmp_path / "broken.py")
    with pytest.raises(Unavailable, match="ended with code 1: out of memory"):
        hub_model("org/tiny", take_all)
