"""Files out of wheels, through the real pip on small wheels made here."""

import dataclasses
import hashlib
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import tracemalloc
import venv
import zipfile
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from implementations.harness.download.wheels import Member, obtain
from implementations.harness.errors import Unavailable
from implementations.harness.progress import reporting

ROOT = Path(__file__).parents[3]
CONTENT = b"some text\n" * 1000
OTHER = b"else text\n" * 1000

# Obtains the member given as JSON, and prints each task that is reported.
OBTAIN = """
import json, signal, sys
from pathlib import Path
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored under nohup and cron
from implementations.harness.progress import reporting
from implementations.harness.download.wheels import Member, obtain

class Reporter:
    def start(self, description, total):
        print(description, flush=True)
        return 0
    def advance(self, task, steps): pass
    def stop(self, task): pass

with reporting(Reporter()):
    print(obtain(Member(**json.loads(sys.argv[1])), Path(sys.argv[2])))
"""


class Listener:
    """Keeps what was reported: one list of [description, total, steps done] for each task."""

    def __init__(self):
        self.tasks = []

    def start(self, description, total):
        self.tasks.append([description, total, 0])
        return len(self.tasks) - 1

    def advance(self, task, steps):
        self.tasks[task][2] += steps

    def stop(self, task):
        pass


def write_wheel(folder, content=CONTENT, path="tiny_asset/data.bin"):
    """A wheel of `tiny-asset` 1.0 with one stored, so not compressed, file."""
    folder.mkdir(exist_ok=True)
    wheel = folder / "tiny_asset-1.0-py3-none-any.whl"
    information = "tiny_asset-1.0.dist-info"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(path, content)
        archive.writestr(
            f"{information}/METADATA", "Metadata-Version: 2.1\nName: tiny-asset\nVersion: 1.0\n"
        )
        archive.writestr(
            f"{information}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{information}/RECORD", "")
    return wheel


def member_of(content=CONTENT):
    return Member(
        package="tiny-asset",
        version="1.0",
        path="tiny_asset/data.bin",
        sha256=hashlib.sha256(content).hexdigest(),
        size=len(content),
        wheel_size=len(content),
    )


def visible(folder):
    return sorted(path.name for path in folder.iterdir() if path.suffix != ".lock")


def start(member, cache):
    command = [sys.executable, "-c", OBTAIN, json.dumps(dataclasses.asdict(member)), str(cache)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


@pytest.fixture(autouse=True)
def pip_settings(monkeypatch, tmp_path):
    """The user's pip settings for these tests: no index, wheels in `tmp_path/wheels`."""
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))


@pytest.fixture
def cache(tmp_path):
    folder = tmp_path / "cache"
    folder.mkdir()
    return folder


@pytest.fixture
def silent_index(monkeypatch):
    """An index that accepts connections and never answers; yields the list of connections."""
    connections = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept():
            while True:
                try:
                    connections.append(server.accept())
                except OSError:  # closed below
                    return

        threading.Thread(target=accept, daemon=True).start()
        monkeypatch.delenv("PIP_NO_INDEX")
        monkeypatch.delenv("PIP_FIND_LINKS")
        monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{server.getsockname()[1]}/simple")
        yield connections
        server.shutdown(socket.SHUT_RDWR)
    for connection, _ in connections:
        connection.close()


def test_pip_brings_the_file_once(tmp_path, cache):
    wheel = write_wheel(tmp_path / "wheels")
    assert obtain(member_of(), cache).read_bytes() == CONTENT
    wheel.unlink()
    assert obtain(member_of(), cache) == cache / "data.bin"
    assert visible(cache) == ["data.bin"]


def test_progress_is_reported_in_megabytes(tmp_path, cache):
    content = bytes(5_500_000)
    write_wheel(tmp_path / "wheels", content)
    listener = Listener()
    with reporting(listener):
        obtain(member_of(content), cache)
    download, unpack = listener.tasks
    assert download[:2] == ["downloading tiny-asset==1.0", 6]
    assert download[2] <= 6
    assert unpack == ["unpacking data.bin", 6, 6]


def test_wrong_hash_names_both_and_leaves_nothing(tmp_path, cache):
    write_wheel(tmp_path / "wheels", OTHER)
    with pytest.raises(Unavailable, match=r"wrong SHA-256.*run again") as raised:
        obtain(member_of(), cache)
    assert member_of().sha256 in str(raised.value)
    assert hashlib.sha256(OTHER).hexdigest() in str(raised.value)
    assert visible(cache) == []


@pytest.mark.parametrize(
    ("content", "wrong"), [(OTHER, "SHA-256"), (b"bit rot", "size: 7 bytes instead of 10,000")]
)
def test_file_that_went_bad_in_the_cache_is_removed_and_fetched_again(
    tmp_path, cache, content, wrong
):
    write_wheel(tmp_path / "wheels")
    obtain(member_of(), cache).write_bytes(content)
    with pytest.raises(Unavailable, match=rf"data\.bin has the wrong {wrong}"):
        obtain(member_of(), cache)
    assert obtain(member_of(), cache).read_bytes() == CONTENT


def test_without_network_the_message_says_what_to_place_and_that_works(tmp_path, cache):
    with pytest.raises(Unavailable) as raised:
        obtain(member_of(), cache)
    message = str(raised.value)
    assert f"place by hand in {cache}" in message
    assert "the wheel tiny_asset-1.0-*.whl" in message
    assert "tiny_asset/data.bin under the name data.bin" in message
    assert visible(cache) == []

    wheel = write_wheel(tmp_path / "elsewhere")
    shutil.copy(wheel, cache)
    assert obtain(member_of(), cache).read_bytes() == CONTENT
    assert visible(cache) == ["data.bin", wheel.name]  # the user's wheel stays


def test_member_placed_by_hand_is_used(cache):
    (cache / "data.bin").write_bytes(CONTENT)
    assert obtain(member_of(), cache).read_bytes() == CONTENT


@pytest.mark.parametrize("name", ["data.bin", "tiny_asset-1.0-py3-none-any.whl"])
def test_wrong_file_placed_by_hand_is_refused_and_removed(tmp_path, cache, name):
    write_wheel(cache, OTHER)
    (cache / "data.bin").write_bytes(OTHER)
    for other in set(visible(cache)) - {name}:
        (cache / other).unlink()
    with pytest.raises(Unavailable, match="wrong SHA-256"):
        obtain(member_of(), cache)
    assert visible(cache) == []


def replace(path, make):
    path.unlink(missing_ok=True)
    make(path)


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo, lambda path: path.symlink_to("/dev/zero")])
def test_what_is_no_file_is_named_with_the_way_out(tmp_path, cache, make):
    write_wheel(tmp_path / "wheels")
    obtain(member_of(), cache)
    replace(cache / "data.bin", make)
    with pytest.raises(Unavailable, match=r"data\.bin is no file: remove it, and run again"):
        obtain(member_of(), cache)
    (cache / "data.bin").rmdir() if make is Path.mkdir else (cache / "data.bin").unlink()
    assert obtain(member_of(), cache).read_bytes() == CONTENT


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo, lambda path: path.symlink_to(path)])
def test_a_wheel_that_is_no_file_is_passed_over(tmp_path, cache, make):
    make(cache / write_wheel(tmp_path / "wheels").name)
    assert obtain(member_of(), cache).read_bytes() == CONTENT


@pytest.mark.parametrize("make", [Path.touch, lambda path: path.symlink_to(path)])
def test_a_cache_that_is_no_folder(tmp_path, make):
    make(tmp_path / "cache")
    with pytest.raises(Unavailable, match=r"cannot write in .*set PRUNING_ATLAS_CACHE"):
        obtain(member_of(), tmp_path / "cache")


def cut_short(wheel):
    wheel.write_bytes(wheel.read_bytes()[:-200])


def flip_a_byte(wheel):
    content = bytearray(wheel.read_bytes())
    content[len(content) // 2] ^= 1
    wheel.write_bytes(content)


def encrypt(wheel):
    change_fields(wheel, flags=1)


def pack_strangely(wheel):
    change_fields(wheel, method=99)


def start_elsewhere(wheel):
    change_fields(wheel, offset=2**31)


def change_fields(wheel, flags=0, method=0, offset=0):
    """Change the entry of the first file in the archive's list of contents."""
    content = bytearray(wheel.read_bytes())
    entry = content.index(b"PK\1\2")
    struct.pack_into("<HH", content, entry + 8, flags, method)
    struct.pack_into("<I", content, entry + 42, offset)
    wheel.write_bytes(content)


@pytest.mark.parametrize(
    "damage", [cut_short, flip_a_byte, encrypt, pack_strangely, start_elsewhere]
)
def test_damaged_wheel_placed_by_hand_is_refused_and_removed(cache, damage):
    damage(write_wheel(cache))
    with pytest.raises(Unavailable, match=r"is damaged or holds no tiny_asset/data\.bin.*removed"):
        obtain(member_of(), cache)
    assert visible(cache) == []


def bomb(folder, packing, said):
    """A wheel of a few kB that unpacks to 50 MB, of which it says that it is `said` bytes."""
    wheel = folder / "tiny_asset-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w", packing) as archive:
        archive.writestr("tiny_asset/data.bin", bytes(50_000_000))
    content = bytearray(wheel.read_bytes())
    struct.pack_into("<I", content, content.index(b"PK\1\2") + 24, said)
    wheel.write_bytes(content)


@pytest.mark.parametrize("said", [50_000_000, len(CONTENT)])
@pytest.mark.parametrize("packing", [zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_a_wheel_that_unpacks_to_more_than_is_known_fills_neither_disk_nor_memory(
    cache, monkeypatch, packing, said
):
    bomb(cache, packing, said)
    written = []
    monkeypatch.setattr("implementations.harness.download.wheels.track", noting(written))
    tracemalloc.start()
    with pytest.raises(Unavailable, match=r"is damaged or holds no .* of 10,000 bytes"):
        obtain(member_of(), cache)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert sum(written) <= len(CONTENT)
    assert most < 5_000_000
    assert visible(cache) == []


def noting(sizes):
    """What `track` does, noting the size of each piece."""

    def track(pieces, *_):
        for piece in pieces:
            sizes.append(len(piece))
            yield piece

    return track


def test_other_names_in_a_wheel_are_never_written(tmp_path, cache):
    wheel = write_wheel(cache)
    with zipfile.ZipFile(wheel, "a") as archive:
        for name in ("../outside", "/outside", "tiny_asset/../../outside", "data.bin"):
            archive.writestr(name, b"never")
    assert obtain(member_of(), cache).read_bytes() == CONTENT
    assert visible(cache) == ["data.bin", wheel.name]
    assert visible(tmp_path) == ["cache"]


def test_a_wheel_larger_than_is_known_is_stopped(tmp_path, cache):
    write_wheel(tmp_path / "wheels", bytes(40_000_000))
    with pytest.raises(Unavailable, match=r"tiny-asset==1\.0: more than the .* bytes came"):
        obtain(member_of(), cache)
    assert visible(cache) == []


def test_an_index_that_trickles_is_given_up(monkeypatch, cache):
    class Index(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            with suppress(OSError):  # until the client has gone
                while True:
                    self.wfile.write(b" ")
                    time.sleep(0.05)

        def log_message(self, *_):
            pass

    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.delenv("PIP_FIND_LINKS")
    monkeypatch.setattr("implementations.harness.download.wheels._PATIENCE", 3.0)
    with ThreadingHTTPServer(("127.0.0.1", 0), Index) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{server.server_port}/simple")
        with pytest.raises(Unavailable, match="less than 1 kB a second came"):
            obtain(member_of(), cache)
        server.shutdown()
    assert visible(cache) == []


def test_wheel_without_the_member(tmp_path, cache):
    write_wheel(tmp_path / "wheels", path="tiny_asset/other.bin")
    with pytest.raises(Unavailable, match=r"holds no tiny_asset/data\.bin"):
        obtain(member_of(), cache)
    assert visible(cache) == []


def test_index_that_refuses_is_reported_soon(monkeypatch, cache):
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    began = time.monotonic()
    with pytest.raises(Unavailable, match=r"pip could not download tiny-asset==1\.0"):
        obtain(member_of(), cache)
    assert time.monotonic() - began < 20
    assert visible(cache) == []


def test_silent_index_is_reported_in_bounded_time(monkeypatch, silent_index, cache):
    monkeypatch.setenv("PIP_DEFAULT_TIMEOUT", "1")  # the user's own is kept, 15 seconds without it
    began = time.monotonic()
    with pytest.raises(Unavailable, match="pip could not download"):
        obtain(member_of(), cache)
    assert time.monotonic() - began < 30  # two tries of 15 seconds
    tried = len(silent_index)

    monkeypatch.setenv("PIP_RETRIES", "0")  # likewise, one without it
    with pytest.raises(Unavailable, match="pip could not download"):
        obtain(member_of(), cache)
    assert 1 <= len(silent_index) - tried < tried


def test_python_without_pip(monkeypatch, tmp_path, cache):
    bare = tmp_path / "bare"
    venv.create(bare, with_pip=False, symlinks=True)
    monkeypatch.setattr(sys, "executable", str(bare / "bin" / "python"))
    with pytest.raises(Unavailable, match=r"(?s)No module named pip.*place by hand"):
        obtain(member_of(), cache)


def test_full_disk_in_pip_is_explained(tmp_path):
    content = bytes(8_000_000)
    write_wheel(tmp_path / "wheels", content)
    disk = tmp_path / "disk"
    disk.mkdir()
    try:
        command = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(disk)]
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("only an administrator on Linux may mount a small disk")
    understated = dataclasses.replace(member_of(content), size=1, wheel_size=1)
    try:
        with pytest.raises(Unavailable, match=f"no space left in {disk}"):
            obtain(understated, disk)
        assert visible(disk) == []
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_two_processes_at_once_download_once(tmp_path, cache):
    content = os.urandom(20_000_000)
    write_wheel(tmp_path / "wheels", content)
    processes = [start(member_of(content), cache) for _ in range(2)]
    outputs = [process.communicate(timeout=300)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert "".join(outputs).count("downloading") == 1
    assert visible(cache) == ["data.bin"]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_stopped_half_way(tmp_path, cache, number):
    content = os.urandom(20_000_000)
    write_wheel(tmp_path / "wheels", content)
    process = start(member_of(content), cache)
    assert process.stdout.readline() == "downloading tiny-asset==1.0\n"
    process.send_signal(number)
    process.communicate(timeout=300)
    assert process.returncode != 0
    assert not (cache / "data.bin").exists()
    if number == signal.SIGINT:
        assert visible(cache) == []
    assert obtain(member_of(content), cache).read_bytes() == content
