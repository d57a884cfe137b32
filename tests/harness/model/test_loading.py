"""Load models by name, and refuse invalid ones before the weights are read."""

import hashlib
import json
import shutil
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch
from huggingface_hub import constants
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import Gemma3Config, PreTrainedTokenizerFast

from implementations.harness.contract.tiny import VOCABULARY, random_tokens, tiny_model
from implementations.harness.download import embedded as assets
from implementations.harness.errors import BadInput, Unavailable
from implementations.harness.model import loading
from implementations.harness.model.checkpoint import load_checkpoint, weights_sha256
from implementations.harness.model.execution import parse_device, parse_dtype
from implementations.harness.model.loading import load_model
from implementations.harness.model.saving import save_model

IDS = random_tokens(2, 12, seed=5).ids
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def words(count=VOCABULARY):
    """Return a tokenizer of `count` words in which word7 has the id 7."""
    vocabulary = {f"word{i}": i for i in range(count)}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="word0"))
    tokenizer.pre_tokenizer = Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="word0")


def logits(hf):
    with torch.no_grad():
        return hf(IDS, use_cache=False).logits


@pytest.fixture
def dense(tmp_path):
    """Return a complete model folder with tokenizer."""
    model = tiny_model("llama")
    model.tokenizer = words()
    save_model(model, tmp_path / "dense")
    return tmp_path / "dense"


def test_loads_folder_with_tokenizer(dense):
    model = load_model(dense)
    assert model.name == "dense"
    assert model.family.name == "llama"
    assert (model.dtype, model.device.type, model.accelerator) == (
        torch.float32,
        "cpu",
        model.device,
    )
    assert model.tokenizer("word5 word7")["input_ids"] == [5, 7]
    assert torch.equal(logits(model.hf), logits(tiny_model("llama").hf))
    assert not model.hf.training
    weights = (dense / "model.safetensors").read_bytes()
    assert model.identity.weights == hashlib.sha256(weights).hexdigest()


def test_loads_with_given_dtype_and_device(dense):
    model = load_model(str(dense), dtype="bfloat16", device="auto", accelerator="cpu")
    assert model.dtype == torch.bfloat16
    assert model.device.type == parse_device("auto").type
    assert model.accelerator == torch.device("cpu")
    assert load_model(dense, dtype=torch.float16).dtype == torch.float16


def test_loads_and_hashes_sharded_weights(dense, tmp_path):
    hf = load_checkpoint(dense)
    hf.save_pretrained(tmp_path / "sharded", max_shard_size="20KB")
    words().save_pretrained(tmp_path / "sharded")
    shards = sorted((tmp_path / "sharded").glob("*.safetensors"))
    assert len(shards) > 2
    model = load_model(tmp_path / "sharded")
    assert torch.equal(logits(model.hf), logits(hf))
    lines = [f"{hashlib.sha256(s.read_bytes()).hexdigest()}  {s.name}\n" for s in shards]
    assert model.identity.weights == hashlib.sha256("".join(lines).encode()).hexdigest()
    shards[1].unlink()
    with pytest.raises(
        BadInput, match=rf"lacks 1 of {len(shards)} weights files: {shards[1].name}"
    ):
        load_model(tmp_path / "sharded")


WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
DAMAGES = {
    "no configuration": ({"config.json": None}, r"not a model folder: config\.json is missing"),
    "damaged configuration": ({"config.json": "{"}, r"config\.json is damaged"),
    "empty configuration": ({"config.json": "{}"}, r"config\.json has no `model_type`"),
    "no weights": ({WEIGHTS: None}, r"has no weights; it needs model\.safetensors .* has README"),
    "damaged index": (
        {WEIGHTS: None, INDEX: "{}"},
        r"index\.json does not list the file of each weight",
    ),
    "unreadable tokenizer": ({"tokenizer.json": "{}"}, r"tokenizer in .* cannot be read"),
    "multimodal model": (
        {"config.json": json.dumps(Gemma3Config().to_dict())},
        r"'gemma3' is not supported.*text part \(gemma3_text\)",
    ),
}


@pytest.mark.parametrize(("changes", "message"), DAMAGES.values(), ids=DAMAGES)
def test_refuses_damaged_folder(dense, changes, message):
    for name, content in changes.items():
        if content is None:
            (dense / name).unlink()
        else:
            (dense / name).write_text(content)
    with pytest.raises(BadInput, match=message):
        load_model(dense)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "mamba"}, "'mamba' is not supported; use one of llama, mistral"),
        ({"quantization_config": {"quant_method": "gptq"}}, "quantised weights are not supported"),
        ({"per_layer_config": {"0": {"intermediate_size": 8}}}, "per_layer_config"),
    ],
)
def test_refuses_unsupported_configuration(dense, changes, message):
    config = json.loads((dense / "config.json").read_text())
    (dense / "config.json").write_text(json.dumps(config | changes))
    with pytest.raises(BadInput, match=message):
        load_model(dense)


@pytest.mark.parametrize("left", [0, 5, -1])
def test_refuses_truncated_weights_before_loading(dense, left):
    file = dense / "model.safetensors"
    file.write_bytes(file.read_bytes()[:left])
    with pytest.raises(BadInput, match=r"model\.safetensors is truncated.*download it again"):
        load_model(dense)


def test_refuses_folder_without_tokenizer(dense):
    for path in dense.glob("tokenizer*"):
        path.unlink()
    with pytest.raises(BadInput, match=r"has no tokenizer \(tokenizer\.json"):
        load_model(dense)
    assert load_model(dense, tokenizer=False).tokenizer is None


def test_refuses_tokenizer_of_another_model(dense):
    words(VOCABULARY + 5).save_pretrained(dense)
    with pytest.raises(BadInput, match="ids go up to 100, but the model has 96 embeddings"):
        load_model(dense)


def test_accepts_added_token_without_embedding(dense):
    """Gemma 3 (text) has a token for images without an embedding."""
    tokenizer = words()
    tokenizer.add_tokens("<image>", special_tokens=True)
    assert len(tokenizer) == VOCABULARY + 1
    tokenizer.save_pretrained(dense)
    assert load_model(dense).tokenizer("word5")["input_ids"] == [5]


def test_short_names_of_dtypes_are_known():
    assert parse_dtype("bf16") == parse_dtype("torch.bfloat16") == torch.bfloat16


def test_refuses_unknown_dtypes_and_devices_first():
    with pytest.raises(BadInput, match="unknown dtype 'int4'; use float32, bfloat16"):
        load_model("nowhere", dtype="int4")
    with pytest.raises(BadInput, match="unknown device 'gpu'; use auto, cpu"):
        load_model("nowhere", device="gpu")
    with pytest.raises(BadInput, match="this machine has no device 'meta'"):
        load_model("nowhere", accelerator="meta")
    with pytest.raises(BadInput, match="this machine has no device 'cpu:1'"):
        parse_device("cpu:1")
    assert parse_dtype(torch.bfloat16) == parse_dtype("bfloat16") == torch.bfloat16
    assert parse_device(torch.device("cpu")) == torch.device("cpu")


def test_gpus_without_float64_are_not_used(monkeypatch):
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: torch.device("mps"))
    assert parse_device("auto") == torch.device("cpu")
    with pytest.raises(BadInput, match="have no float64"):
        parse_device("mps")


def test_refuses_accelerator_that_this_machine_lacks():
    if torch.accelerator.is_available():
        count = torch.accelerator.device_count()
        name = f"{torch.accelerator.current_accelerator().type}:{count}"
    else:
        name = "xpu"
    with pytest.raises(BadInput, match=f"this machine has no device '{name}'; use auto, cpu"):
        parse_device(name)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        *((name, "did you mean 'smollm2-135m'") for name in ("smolm2-135m", "SmolLM2")),
        *(
            (name, "unknown model .* form ORG/NAME$")
            for name in ("some/where/else", "./runs/m", "")
        ),
        *((name, "unknown model") for name in ("a//b", "a--b/c", "a/b.git", "https://a/b")),
        ("~nobody-here/b", "is not a valid path"),
    ],
)
def test_refuses_name_that_is_neither_folder_nor_hub_id(name, message, monkeypatch):
    monkeypatch.setattr(loading, "hub_folder", lambda name: pytest.fail("the hub was asked"))
    with pytest.raises(BadInput, match=message):
        load_model(name)


def test_mistyped_folder_is_not_sought_on_the_hub(dense, monkeypatch):
    monkeypatch.setattr(loading, "hub_folder", lambda name: pytest.fail("the hub was asked"))
    monkeypatch.chdir(dense.parent.parent)
    with pytest.raises(BadInput, match=f"{dense.parent.name} has no folder nope; correct the name"):
        load_model(f"{dense.parent.name}/nope")


def test_refuses_file(dense):
    with pytest.raises(BadInput, match="is a file; give the folder"):
        load_model(dense / "model.safetensors")


# The hub: its cache in the real layout, a server with its protocol, and no server.


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    return tmp_path / "cache"


@pytest.fixture
def no_hub(monkeypatch, cache):
    """Set an endpoint where no server listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    point_at(monkeypatch, f"http://127.0.0.1:{port}")


def point_at(monkeypatch, url):
    monkeypatch.setattr(constants, "ENDPOINT", url)
    template = url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)


def put_in_cache(cache, folder, name="org/tiny"):
    repository = cache / f"models--{name.replace('/', '--')}"
    shutil.copytree(folder, repository / "snapshots" / COMMIT)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    return repository / "snapshots" / COMMIT


@pytest.mark.parametrize("offline", [False, True])
def test_loads_cached_hub_model_without_the_hub(dense, cache, no_hub, monkeypatch, offline):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
    put_in_cache(cache, dense)
    model = load_model("org/tiny")
    assert (model.name, model.identity.weights) == ("org/tiny", COMMIT)
    assert torch.equal(logits(model.hf), logits(load_checkpoint(dense)))


def test_asks_the_hub_for_the_tokenizer_of_a_cached_model(dense, cache, no_hub, monkeypatch):
    for file in put_in_cache(cache, dense).glob("tokenizer*"):
        file.unlink()
    with pytest.raises(Unavailable, match="org/tiny cannot be downloaded"):
        load_model("org/tiny")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(BadInput, match="has no tokenizer"):
        load_model("org/tiny")


def test_does_not_use_incomplete_cached_model(dense, cache, no_hub, monkeypatch):
    (put_in_cache(cache, dense) / "model.safetensors").unlink()
    with pytest.raises(Unavailable, match="org/tiny cannot be downloaded"):
        load_model("org/tiny")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(BadInput, match="has no weights"):
        load_model("org/tiny")


def test_offline_mode_without_cached_copy(cache, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(Unavailable, match="HF_HUB_OFFLINE is set"):
        load_model("org/tiny")


def test_reports_unreachable_hub_soon(no_hub):
    start = time.monotonic()
    with pytest.raises(Unavailable, match=r"org/tiny cannot be downloaded.*unreachable"):
        load_model("org/tiny")
    assert time.monotonic() - start < 10


def test_reports_silent_hub_soon(cache, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts connections and never answers
        point_at(monkeypatch, f"http://127.0.0.1:{silent.getsockname()[1]}")
        start = time.monotonic()
        with pytest.raises(Unavailable, match="unreachable"):
            load_model("org/tiny")
        assert time.monotonic() - start < 10


@pytest.fixture
def hub(dense, cache, monkeypatch):
    """Start a server that behaves like the hub for `org/tiny` and the gated `org/gated`."""
    (dense / "pytorch_model.bin").write_bytes(b"not wanted beside safetensors")
    asked = []

    class Hub(BaseHTTPRequestHandler):
        def answer(self, status, body=b"", **headers):
            self.send_response(status)
            for key, value in headers.items():
                self.send_header(key.replace("_", "-"), value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def do_GET(self):
            asked.append(self.path)
            path = self.path.partition("?")[0]
            if path == "/":
                return self.answer(200)
            if "org/gated" in path:
                return self.answer(403, X_Error_Code="GatedRepo", X_Error_Message="gated")
            if "org/tiny" not in path:
                return self.answer(404, X_Error_Code="RepoNotFound")
            if path.startswith("/api/models/org/tiny/tree/"):
                return self.answer(200, json.dumps(self.tree()).encode())
            if path.startswith("/api/models/org/tiny"):
                return self.answer(200, json.dumps(self.information()).encode())
            content = (dense / path.rpartition("/")[2]).read_bytes()
            tag = hashlib.sha1(content).hexdigest()
            return self.answer(200, content, ETag=f'"{tag}"', X_Repo_Commit=COMMIT)

        do_HEAD = do_GET  # noqa: N815

        def information(self):
            names = sorted(path.name for path in dense.iterdir())
            siblings = [{"rfilename": name} for name in names]
            return {"id": "org/tiny", "sha": COMMIT, "siblings": siblings}

        def tree(self):
            return [
                {
                    "type": "file",
                    "path": path.name,
                    "size": path.stat().st_size,
                    "oid": hashlib.sha1(path.read_bytes()).hexdigest(),
                }
                for path in sorted(dense.iterdir())
            ]

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    point_at(monkeypatch, f"http://127.0.0.1:{server.server_port}")
    yield asked
    server.shutdown()
    thread.join()
    server.server_close()


def test_downloads_hub_model_once(dense, hub, cache):
    model = load_model("org/tiny")
    assert (model.name, model.identity.weights) == ("org/tiny", COMMIT)
    assert torch.equal(logits(model.hf), logits(load_checkpoint(dense)))
    assert not any("pytorch_model.bin" in path for path in hub), "one kind of weights is enough"
    hub.clear()
    assert load_model("org/tiny").identity.weights == COMMIT
    assert hub == []


def test_refuses_name_that_is_not_on_the_hub(hub):
    with pytest.raises(
        BadInput, match="'org/none' is neither a local folder nor a model on the hub"
    ):
        load_model("org/none")


def test_gated_model_explains_how_to_get_access(hub):
    with pytest.raises(Unavailable, match="org/gated is gated; accept its terms"):
        load_model("org/gated")


@pytest.mark.full
@pytest.mark.model
def test_embedded_model(smollm2):
    model = smollm2
    assert model.name == "smollm2-135m"
    assert len(model.blocks) == 30
    attention = model.blocks[0].attention
    assert (attention.heads, attention.kv_heads, attention.head_size) == (9, 3, 64)
    assert model.blocks[0].feed_forward.channels == 1536
    weights = assets.embedded_model() / "model.safetensors"
    assert model.identity.weights == weights_sha256([weights])
