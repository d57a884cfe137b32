"""The settings of a model folder, checked before any weight is read or any model is built."""

from __future__ import annotations

import copy
import stat
from collections.abc import Callable
from inspect import getattr_static
from pathlib import Path
from typing import Annotated, Any

import torch
import transformers
from pydantic import Field, TypeAdapter, ValidationError
from transformers import GenerationConfig, PreTrainedConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from implementations.harness.errors import BadInput, in_short
from implementations.harness.model.devices import DTYPES
from implementations.harness.model.families import FAMILIES, ONE_BASIS
from implementations.harness.model.foreign import refused
from implementations.harness.model.modeling_pruned import COLUMNS, INDICES, READERS, ROWS, WRITERS
from implementations.harness.results.part import Part, problems
from implementations.harness.results.reading import read_json

SHAPES = "pruned_shapes"  # in the configuration of a checkpoint that needs modeling_pruned.py
MOST = {"num_hidden_layers": 1000, "num_labels": 10_000}
"""What the classes make lists of before they look at anything; the deepest models have some 130
blocks, and none here has a use for labels."""
LARGEST = 2**31 - 1
"""Of any number that says how large a model is."""

# What the harness counts on, by the name that every family has for it.
SIZES = (
    "vocab_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "max_position_embeddings",
)
UNSUPPORTED = {
    "quantization_config": ": the weights are quantised; load them in full precision instead",
    "per_layer_config": ", which is not supported: configure all blocks at once",
    "transformers_weights": ", which is not supported: name the weights model.safetensors",
    "fusion_config": ", which is not supported; remove it",
    "distributed_config": ", which is not supported; remove it",
}
KERNELS = ("attn_implementation", "_attn_implementation")
OF_TORCH = (None, "eager", "sdpa")
"""Attention kernels that need no code from elsewhere."""
MEND = "mend it, or fetch it again"

Count = Annotated[int, Field(ge=0, le=LARGEST)]
Width = Annotated[int, Field(ge=1, le=LARGEST)]


class Held(Part):
    """How many rows or columns an indexed linear layer holds; None where it holds all."""

    rows: Count | None = None
    columns: Count | None = None


# What the rows and the columns of each layer count, dimensions of the residual stream included.
COUNTED = (ROWS | dict.fromkeys(WRITERS, "hidden"), COLUMNS | dict.fromkeys(READERS, "hidden"))


class Shape(Part):
    """One entry of `pruned_shapes`: what is left of a block."""

    heads: Count
    kv_heads: Count
    channels: Count
    biases: list[str]
    indexed: dict[str, Held] = Field(default_factory=dict)
    residual: Annotated[list[Width], Field(min_length=3, max_length=3)] | None = None
    """How wide the residual stream is before, between the halves of and behind the block."""

    @property
    def empty(self) -> bool:
        """Whether neither attention nor feed-forward part has a weight that puts something out."""
        silent = {
            COLUMNS.get(name)
            for name, held in self.indexed.items()
            if 0 in (held.rows, held.columns)
        }
        widths = {"heads": self.heads, "channels": self.channels}
        return not any(width and part not in silent for part, width in widths.items())


def read_config(folder: Path) -> dict[str, Any]:
    """Return config.json as a dictionary with a model_type.

    Raises `BadInput` when the folder or the file is missing or unreadable, or when something in the
    folder is neither file nor folder (a pipe would be waited for).
    """
    if not folder.is_dir():
        raise BadInput(f"there is no folder {folder}")
    _refuse_pipes(folder)
    path = folder / "config.json"
    if not path.exists():
        raise BadInput(f"{folder} is no model folder: config.json is missing")
    config = read_json(path)
    if not isinstance(config, dict) or not isinstance(config.get("model_type"), str):
        raise BadInput(f"{path} does not say the model_type")
    return config


def check_supported(config: dict[str, Any], path: Path) -> None:
    """Refuse with `BadInput` the configuration at `path` of what the harness has no place for."""
    model_type = config["model_type"]
    if model_type not in FAMILIES:
        parts = config.get("text_config")
        inner = parts.get("model_type") if isinstance(parts, dict) else None
        hint = ""
        if isinstance(inner, str) and inner in FAMILIES:
            hint = f"; of this multimodal model save the text part ({inner}) alone"
        raise BadInput(
            f"{path}: model family {in_short(repr(model_type), 100)} is not supported; supported "
            f"are {', '.join(FAMILIES)}{hint}"
        )
    for name, reason in UNSUPPORTED.items():
        if config.get(name):
            raise BadInput(f"{path} has {name}{reason}")
    for name, most in MOST.items():
        count = config.get(name)
        if isinstance(count, int) and count > most:
            said = in_short(f"{count:,}", 60)
            raise BadInput(f"{path}: {name} is {said}; more than {most:,} are not supported")
    for name in KERNELS:
        if config.get(name) not in OF_TORCH:
            raise BadInput(f"{path} asks for an {name} other than eager and sdpa; remove it")
    for name in ("dtype", "torch_dtype"):
        dtype = config.get(name) or "float32"
        known = getattr(torch, dtype, None) if isinstance(dtype, str) else None
        if not isinstance(known, torch.dtype) or not known.is_floating_point:
            said = in_short(repr(dtype), 60)
            raise BadInput(f"{path}: {name} is {said}; there are {', '.join(DTYPES)}")


def configuration(folder: Path) -> PreTrainedConfig:
    """Return the configuration of a folder, built by its class and found sound.

    Raises `BadInput` naming the file and what is wrong in it.
    """
    entries, path = read_config(folder), folder / "config.json"
    check_supported(entries, path)
    kind = stock_class(entries["model_type"]).config_class
    with refused(f"{path} is not a configuration of {entries['model_type']}", MEND):
        config: PreTrainedConfig = kind.from_dict(_settings(entries, kind, path))
        _check_sizes(config, path)
        if hasattr(config, SHAPES):
            _check_shapes(config, path)
        config.to_json_string()  # as it will be saved
    return config


def generation_settings(folder: Path) -> GenerationConfig:
    """Return how the model of a folder generates: generation_config.json, else the configuration.

    Raises `BadInput` when it is damaged.
    """
    path = folder / "generation_config.json"
    make: Callable[[dict[str, Any]], GenerationConfig] = GenerationConfig.from_dict
    if not path.exists():
        path, make = folder / "config.json", GenerationConfig.from_model_config
    entries = read_json(path)
    if not isinstance(entries, dict):
        raise BadInput(f"{path} is no mapping of settings; {MEND}")
    with refused(f"{path} is not how a model generates", MEND):
        settings = make(_settings(entries, GenerationConfig, path))
        settings.to_json_string()  # as it will be saved
    ends = settings.eos_token_id
    for token in ends if isinstance(ends, list) else [ends]:
        if token is not None and type(token) is not int:
            raise BadInput(f"{path}: eos_token_id is {in_short(repr(ends), 60)}, no token; {MEND}")
    return settings


def stock_class(model_type: str) -> Any:
    """Return the class of transformers for a model type; raises `BadInput` for an unknown one."""
    if model_type not in FAMILIES:
        raise BadInput(f"blocks of different widths are not known for {model_type!r}")
    return getattr(transformers, MODEL_FOR_CAUSAL_LM_MAPPING_NAMES[model_type])


def _refuse_pipes(folder: Path) -> None:
    try:
        for path in folder.iterdir():
            if not path.exists():  # a link to nothing: missed where it is needed
                continue
            mode = path.stat().st_mode
            if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
                name = in_short(path.name, 100)  # the folder may have any
                raise BadInput(f"{folder / name} is neither file nor folder; remove it")
    except OSError as error:
        raise BadInput(f"cannot read {folder}: {error.strerror}") from error


def _settings(entries: dict[str, Any], kind: type, path: Path) -> dict[str, Any]:
    """Return the entries without those that say what the class itself is, such as a plan of it.

    Raises `BadInput` for one that would take the place of a method.
    """
    fields = {"model_type", *getattr(kind, "__dataclass_fields__", ())}
    own = {name: getattr_static(kind, name) for name in entries if hasattr(kind, name)}
    for name in own.keys() - fields:
        if callable(getattr(kind, name)):
            raise BadInput(f"{path}: {name} is no setting; remove it")
    settings = {
        name: value
        for name, value in entries.items()
        if name not in own or name in fields or isinstance(own[name], property)
    }
    return copy.deepcopy(settings)


def _check_sizes(config: Any, path: Path) -> None:
    names = [*SIZES, FAMILIES[config.model_type].channels]
    names += [
        n for n in ("num_key_value_heads", "head_dim") if getattr(config, n, None) is not None
    ]
    for name in names:
        size = getattr(config, name, None)
        if type(size) is not int or not 0 < size <= LARGEST:
            raise BadInput(f"{path}: {name} is {in_short(repr(size), 60)}, no size; {MEND}")
    heads = config.num_attention_heads
    groups = getattr(config, "num_key_value_heads", None) or heads
    if heads % groups:
        raise BadInput(
            f"{path}: num_key_value_heads is {groups}, which does not divide {heads}, "
            f"num_attention_heads; {MEND}"
        )


def _check_shapes(config: Any, path: Path) -> None:
    """Refuse shapes that are none, or not what is left of the blocks that the rest describes."""
    try:
        shapes = TypeAdapter(list[Shape]).validate_python(config.pruned_shapes)
    except ValidationError as error:
        raise BadInput(f"{path}: {SHAPES}: {in_short(problems(error))}; {MEND}") from error
    if len(shapes) != config.num_hidden_layers:
        raise BadInput(
            f"{path}: {SHAPES} has {len(shapes)} entries for {config.num_hidden_layers} blocks; "
            f"{MEND}"
        )
    family = FAMILIES[config.model_type]
    roles = (family.q, family.k, family.v, family.o, family.gate, family.up, family.down)
    linears = {role.rpartition(".")[2] for role in roles if role}
    head_size = (
        getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    )
    most = (
        config.num_attention_heads,
        getattr(config, "num_key_value_heads", None) or config.num_attention_heads,
        getattr(config, family.channels),
    )
    for index, shape in enumerate(shapes):
        left = (shape.heads, shape.kv_heads, shape.channels)
        if any(count > dense for count, dense in zip(left, most, strict=True)):
            wrong = f"heads, kv_heads, channels {left} are more than the dense block's {most}"
        elif bool(shape.heads) != bool(shape.kv_heads) or shape.heads % (shape.kv_heads or 1):
            wrong = f"{shape.kv_heads} kv_heads do not divide {shape.heads} heads"
        elif not linears.issuperset(shape.biases):
            odd = next(name for name in shape.biases if name not in linears)
            wrong = f"there is no layer {in_short(repr(odd), 60)} to have a bias"
        else:
            wrong = _wrongly_held(shape, linears, head_size, config.hidden_size)
            if not wrong:
                continue
        raise BadInput(f"{path}: {SHAPES}.{index}: {wrong}; {MEND}")
    if all(shape.empty for shape in shapes):
        raise BadInput(f"{path}: {SHAPES} leaves nothing in any block; {MEND}")
    wrong = _wrongly_rotated([shape.residual for shape in shapes], config)
    if wrong:
        raise BadInput(f"{path}: {SHAPES}: {wrong}; {MEND}")


def _wrongly_rotated(widths: list[list[int] | None], config: Any) -> str:
    """Say what is wrong with the widths of the residual stream; nothing where all is well."""
    if not any(widths):
        return ""
    family = FAMILIES[config.model_type]
    if family.name in ONE_BASIS:
        return f"the residual of {family.name} cannot change its width: {ONE_BASIS[family.name]}"
    if config.tie_word_embeddings:
        return "a residual that changes its width, and a head that is tied to the embedding"
    known = [width for width in widths if width]
    if len(known) < len(widths):
        return f"block {widths.index(None)} has no residual, which others have"
    following = [before for before, _, _ in known[1:]] + [config.hidden_size]
    for index, (width, next_one) in enumerate(zip(known, following, strict=True)):
        if width[2] != next_one or max(width) > config.hidden_size:
            return (
                f"block {index} has a residual of {width}, where {next_one} follows and "
                f"{config.hidden_size} is the most"
            )
    return ""


def _wrongly_held(shape: Shape, linears: set[str], head_size: int, hidden_size: int) -> str:
    """Say what is wrong with the indexed layers of a shape; nothing where all is well."""
    widths = {
        "hidden": 0 if shape.residual else hidden_size,  # of a narrowed one nothing is held
        "heads": shape.heads * head_size,
        "kv_heads": shape.kv_heads * head_size,
        "channels": shape.channels,
    }
    for name, held in shape.indexed.items():
        if name not in linears:
            return f"there is no layer {in_short(repr(name), 60)} to be indexed"
        for index, parts in zip(INDICES, COUNTED, strict=True):
            count, width = getattr(held, index), widths[parts[name]]
            if count is not None and count >= width:
                return f"{name} holds {count} of {width} {index}, which are not fewer"
    return ""
