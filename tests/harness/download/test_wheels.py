"""Extract files from small wheels, downloaded by the real pip."""

import hashlib
import os
import shutil
import zipfile

import pytest

from implementations.harness.download import embedded
from implementations.harness.download.embedded import Member, obtain
from implementations.harness.errors import Unavailable

CONTENT = b"some text\n" * 1000
OTHER = b"else text\n" * 1000
MEMBER = Member("tiny-asset", "1.0", "tiny_asset/data.bin", hashlib.sha256(CONTENT).hexdigest())


def write_wheel(folder, content=CONTENT, path="tiny_asset/data.bin"):
    """Write a wheel of `tiny-asset` 1.0 with one file."""
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


def visible(folder):
    return sorted(path.name for path in folder.iterdir() if path.suffix != ".lock")


@pytest.fixture
def cache(monkeypatch, tmp_path):
    """Return an empty cache, and configure pip to find wheels in `tmp_path/wheels` only."""
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))
    (tmp_path / "cache").mkdir()
    return tmp_path / "cache"


def test_pip_downloads_the_file_once(tmp_path, cache):
    wheel = write_wheel(tmp_path / "wheels")
    assert obtain(MEMBER, cache).read_bytes() == CONTENT
    wheel.unlink()
    assert obtain(MEMBER, cache) == cache / "data.bin"
    assert visible(cache) == ["data.bin"]


def test_wrong_hash_names_both_hashes_and_leaves_nothing(tmp_path, cache):
    write_wheel(tmp_path / "wheels", OTHER)
    with pytest.raises(Unavailable, match="has the wrong SHA-256") as raised:
        obtain(MEMBER, cache)
    assert MEMBER.sha256 in str(raised.value)
    assert hashlib.sha256(OTHER).hexdigest() in str(raised.value)
    assert visible(cache) == []


def test_error_without_network_says_which_file_to_place(tmp_path, cache):
    with pytest.raises(Unavailable) as raised:
        obtain(MEMBER, cache)
    message = str(raised.value)
    assert "No matching distribution found for tiny-asset==1.0" in message
    assert f"place one of these in {cache} yourself: the wheel tiny_asset-1.0-*.whl" in message
    assert "tiny_asset/data.bin from this wheel as data.bin" in message
    assert visible(cache) == []
    shutil.copy(write_wheel(tmp_path / "elsewhere"), cache)
    assert obtain(MEMBER, cache).read_bytes() == CONTENT


def test_refuses_changed_file_in_the_cache(cache):
    (cache / "data.bin").write_bytes(CONTENT)
    assert obtain(MEMBER, cache) == cache / "data.bin"
    (cache / "data.bin").write_bytes(OTHER)
    with pytest.raises(Unavailable, match=r"data\.bin has the wrong SHA-256.*Delete it"):
        obtain(MEMBER, cache)


def test_refuses_truncated_wheel(cache):
    wheel = write_wheel(cache)
    wheel.write_bytes(wheel.read_bytes()[:-200])
    with pytest.raises(Unavailable, match=r"is damaged or has no tiny_asset/data\.bin.*delete it"):
        obtain(MEMBER, cache)


def test_refuses_wheel_without_the_file(cache):
    write_wheel(cache, path="tiny_asset/other.bin")
    with pytest.raises(Unavailable, match=r"has no tiny_asset/data\.bin"):
        obtain(MEMBER, cache)


def test_stops_a_download_that_takes_too_long(monkeypatch, tmp_path, cache):
    write_wheel(tmp_path / "wheels")
    monkeypatch.setattr(embedded, "TIMEOUT", 0.01)
    with pytest.raises(Unavailable, match="it took more than"):
        obtain(MEMBER, cache)
    assert visible(cache) == []
