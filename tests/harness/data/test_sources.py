"""Texts from local files and from the hub.

A local server stands in for the hub. It serves small files in the layout of the real data sets
(WikiText as parquet, C4 as gzipped JSON lines) to the real `huggingface_hub` and `datasets`. It
cannot show that the hub still stores its files under these names.
"""

import gzip
import json
import os
import re
import socket
import subprocess
import sys
import threading
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from implementations.harness.data.sources import (
    articles,
    read_documents,
    read_text,
)
from implementations.harness.errors import BadInput, Unavailable

ROOT = Path(__file__).parents[3]
WIKITEXT = "datasets/Salesforce/wikitext/resolve/main/wikitext-2-raw-v1"
C4 = "datasets/allenai/c4/resolve/main/en"

# Reads a source and prints the text as JSON, or the error and the seconds until it was raised.
READ = """
import json, sys, time
from implementations.harness.data import sources
from implementations.harness.errors import AtlasError
began = time.monotonic()
try:
    result = getattr(sources, sys.argv[1])(sys.argv[2])
    print(json.dumps(result if isinstance(result, str) else list(result)))
except AtlasError as error:
    name = type(error).__name__
    print(json.dumps({"error": name, "message": str(error), "seconds": time.monotonic() - began}))
"""


class Hub(BaseHTTPRequestHandler):
    """The part of the hub that the download of one file needs."""

    def __init__(self, *arguments, folder):
        self.folder = folder
        super().__init__(*arguments)

    def do_HEAD(self):
        path = self.folder / self.path.lstrip("/")
        content = path.read_bytes() if path.is_file() else b""
        self.send_response(200 if path.exists() else 404)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("ETag", f'"{path.name}"')
        self.send_header("X-Repo-Commit", "0" * 40)
        self.end_headers()
        return content

    def do_GET(self):
        self.wfile.write(self.do_HEAD())

    def log_message(self, *arguments):
        pass


@pytest.fixture
def hub(tmp_path):
    """Environment variables that make a local server the hub; it serves the files in `hub/`."""
    folder = tmp_path / "hub"
    folder.mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Hub, folder=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    endpoint = f"http://127.0.0.1:{server.server_port}"
    yield {"HF_ENDPOINT": endpoint, "HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "0"}
    server.shutdown()
    server.server_close()


def read(function, source, environment):
    """Run `function` of sources.py in a new process, because hub settings are read on import."""
    child = subprocess.run(
        [sys.executable, "-c", READ, function, source],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert child.returncode == 0, child.stderr
    return json.loads(child.stdout)


def write_c4(folder, shard, texts):
    (folder / C4).mkdir(parents=True, exist_ok=True)
    with gzip.open(folder / C4 / f"c4-{shard}.json.gz", "wt") as file:
        for text in texts:
            row = {"text": text, "timestamp": "2019-04-25T12:57:54Z", "url": "http://a.example"}
            file.write(json.dumps(row) + "\n")


def write_file(folder, name, content):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


@pytest.mark.full
class TestHub:
    @pytest.fixture(autouse=True)
    def needs_datasets(self):
        pytest.importorskip("datasets", reason="the extra `hub` is not installed")

    @pytest.mark.parametrize(
        ("source", "split"), [("wikitext2", "test"), ("wikitext2-train", "train")]
    )
    def test_wikitext2_is_joined_by_blank_lines(self, hub, tmp_path, source, split):
        import pyarrow
        import pyarrow.parquet

        (tmp_path / "hub" / WIKITEXT).mkdir(parents=True)
        lines = ["", " = Title = \n", "", " A line . \n"]
        file = tmp_path / "hub" / WIKITEXT / f"{split}-00000-of-00001.parquet"
        pyarrow.parquet.write_table(pyarrow.table({"text": lines}), file)
        expected = "\n\n".join(lines)
        assert read("read_text", source, hub) == expected
        assert read("read_text", source, hub | {"HF_HUB_OFFLINE": "1"}) == expected

    def test_c4_validation_joins_the_first_1100_documents_by_spaces(self, hub, tmp_path):
        texts = [f"Document {number}." for number in range(1200)]
        write_c4(tmp_path / "hub", "validation.00000-of-00008", texts)
        assert read("read_text", "c4-validation", hub) == " ".join(texts[:1100])

    def test_c4_train_is_the_first_shard(self, hub, tmp_path):
        texts = ["One.", "Two\n\nlines.", "Drei: ä"]
        write_c4(tmp_path / "hub", "train.00000-of-01024", texts)
        assert read("read_documents", "c4-train", hub) == texts

    def test_damaged_file_is_downloaded_again_after_the_named_one_is_deleted(self, hub, tmp_path):
        (tmp_path / "hub" / C4).mkdir(parents=True)
        write_file(tmp_path / "hub" / C4, "c4-train.00000-of-01024.json.gz", "not gzip")
        answer = read("read_documents", "c4-train", hub)
        assert answer["error"] == "Unavailable"
        assert "c4-train.00000-of-01024.json.gz cannot be read" in answer["message"]
        Path(re.search("Delete (.+) to download", answer["message"])[1]).unlink()
        write_c4(tmp_path / "hub", "train.00000-of-01024", ["One."])
        assert read("read_documents", "c4-train", hub) == ["One."]

    @pytest.mark.parametrize("rows", [[{"other": "a"}], [{"text": 1}], [{"text": "a"}, {}]])
    def test_error_names_file_without_texts(self, hub, tmp_path, rows):
        (tmp_path / "hub" / C4).mkdir(parents=True)
        with gzip.open(tmp_path / "hub" / C4 / "c4-train.00000-of-01024.json.gz", "wt") as file:
            file.write("".join(json.dumps(row) + "\n" for row in rows))
        answer = read("read_documents", "c4-train", hub)
        assert answer["error"] == "Unavailable"
        assert "json.gz has rows without text. Delete /" in answer["message"]

    def test_file_missing_on_the_hub(self, hub):
        answer = read("read_text", "wikitext2", hub)
        assert answer["error"] == "Unavailable"
        assert "could not be downloaded from the hub" in answer["message"]

    def test_offline_switch(self, hub):
        answer = read("read_text", "wikitext2", hub | {"HF_HUB_OFFLINE": "1"})
        assert answer["error"] == "Unavailable"
        assert "HF_HUB_OFFLINE is set" in answer["message"]

    @pytest.mark.parametrize(
        "endpoint", ["http://127.0.0.1:9", "http://hub.invalid", "http://192.0.2.1"]
    )
    def test_unreachable_hub_is_reported_within_10_seconds(self, hub, endpoint):
        """A closed port, a name that does not resolve, an unassigned address."""
        no_proxy = {"NO_PROXY": "*", "no_proxy": "*"}
        answer = read("read_documents", "c4-train", hub | no_proxy | {"HF_ENDPOINT": endpoint})
        assert answer["error"] == "Unavailable"
        assert f"{endpoint} is unreachable" in answer["message"]
        assert "HF_ENDPOINT" in answer["message"]
        assert answer["seconds"] < 10


def test_missing_datasets_package_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)  # as Python does for a missing module
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("the network was asked"))
    with pytest.raises(Unavailable, match=r"pip install 'pruning-atlas\[hub\]'"):
        read_text("wikitext2")


def test_missing_pyarrow_package_names_the_extra(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    for function in (read_text, read_documents):
        with pytest.raises(Unavailable, match=r"`pyarrow`: pip install 'pruning-atlas\[hub\]'"):
            function(write_file(tmp_path, "a.parquet", ""))


def test_articles_keep_titles_and_are_not_stripped():
    dump = (
        '<doc id="1" url="u" title="A">\nA\n\nFirst. \n\n</doc>\n'
        '<doc id="2" url="u" title="B">\nB\n</doc>\n'
    )
    assert articles(dump) == ["A\n\nFirst. \n\n", "B\n"]


def test_text_file_keeps_its_bytes(tmp_path):
    content = " a\r\n\n\tö \n"
    assert read_text(write_file(tmp_path, "a.txt", content)) == content


def test_byte_order_mark_is_dropped(tmp_path):
    assert read_text(write_file(tmp_path, "a.txt", b"\xef\xbb\xbfabc")) == "abc"


def test_json_lines(tmp_path):
    content = '{"text": "one\\u2028", "id": 1}\n\n{"text": "two"}\r\n'
    path = write_file(tmp_path, "a.jsonl", content)
    assert read_documents(path) == ["one\u2028", "two"]
    assert read_text(path) == "one\u2028\n\ntwo"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"content": "b"}', "line 3: the field `text` is missing"),
        ('{"text": 3}', "line 3: the field `text` is missing or not a string"),
        ('["text"]', "line 3: the field `text` is missing"),
        ('{"text": "b"', "line 3 is damaged: "),
        (r'{"text": "\ud800"}', "line 3 is damaged: .*surrogates"),
        ('{"text": "b", "text": "c"}', "line 3 is damaged: it gives 'text' twice"),
        ('{"text": "b", "score": NaN}', "line 3 is damaged: NaN is not a finite number"),
        ('{"text": ' + "[" * 100_000, "line 3 is nested too deeply"),
    ],
)
def test_error_names_the_bad_json_line(tmp_path, line, message):
    path = write_file(tmp_path, "a.jsonl", f'{{"text": "a"}}\n\n{line}\n')
    for function in (read_text, read_documents):
        with pytest.raises(BadInput, match=rf"a\.jsonl, {message}"):
            function(path)


def test_not_utf8(tmp_path):
    with pytest.raises(BadInput, match=r"a\.txt is not UTF-8 \(byte 3\): convert it"):
        read_text(write_file(tmp_path, "a.txt", b"abc\xff"))


@pytest.mark.parametrize("function", [read_text, read_documents])
@pytest.mark.parametrize("make", [os.mkfifo, Path.mkdir, lambda path: path.symlink_to(path)])
def test_refuses_pipes_folders_and_link_loops(tmp_path, function, make):
    for name in ("a.txt", "a.jsonl"):
        make(tmp_path / name)
        with pytest.raises(BadInput, match=rf"{name} is not a file|{name}' is not a valid path"):
            function(str(tmp_path / name))


@pytest.mark.parametrize("name", ["a.txt", "a.jsonl"])
def test_refuses_file_that_is_too_large(tmp_path, name):
    with (tmp_path / name).open("wb") as file:
        file.truncate(10**12)
    with pytest.raises(BadInput, match=r"has 1,000,000,000,000 bytes, more than 2,000,000,000"):
        read_text(str(tmp_path / name))


def test_refuses_invalid_path():
    for function in (read_text, read_documents):
        with pytest.raises(BadInput, match=r"text source: .* is not a valid path"):
            function("~nobody-of-this-name/a.txt")


@pytest.mark.parametrize("function", [read_text, read_documents])
def test_missing_file(tmp_path, function):
    with pytest.raises(BadInput, match=r"nowhere\.jsonl is not a file"):
        function(str(tmp_path / "nowhere.jsonl"))


def test_unknown_source(tmp_path):
    with pytest.raises(
        BadInput, match="unknown text source 'wikipaedia'; use wikipedia, c4, code, wiki"
    ):
        read_text("wikipaedia")
    with pytest.raises(BadInput, match=r"unknown text source .*; use c4-train or a \.jsonl or"):
        read_documents("wikipedia")
    with pytest.raises(BadInput, match="unknown text source"):
        read_text(str(tmp_path))  # a folder


def test_text_file_has_no_documents(tmp_path):
    with pytest.raises(BadInput, match=r"to draw documents, use c4-train or a \.jsonl or"):
        read_documents(write_file(tmp_path, "a.txt", "abc"))
