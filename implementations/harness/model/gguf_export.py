"""Export a model to GGUF, the file format of llama.cpp, Ollama and LM Studio.

If all blocks have the same widths, the architecture in the file is `llama`. Otherwise it is `deci`,
in which each block has its own number of heads, KV heads and channels.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGMLQuantizationType, GGUFWriter, LlamaFileType
from gguf.quants import quant_shape_to_byte_shape, quantize
from torch import Tensor

from implementations.harness.errors import BadInput, Unavailable, unknown_name
from implementations.harness.model.checkpoint import configuration, load_checkpoint
from implementations.harness.model.gguf_tensors import GROUP, block_widths, tensors
from implementations.harness.model.gguf_tokenizer import CONVERTER, add_tokenizer
from implementations.harness.model.loading import load_tokenizer, locate
from implementations.harness.model.modeling_pruned import INDICES, held_indices
from implementations.harness.model.units import refuse_emptied, rotated
from implementations.harness.model.view import FAMILIES, LanguageModel
from implementations.harness.progress import track
from implementations.harness.results.files import (
    check_writable,
    locked,
    partial_folder,
    resolve,
    short_path,
)

TYPES = {
    "f16": (GGMLQuantizationType.F16, LlamaFileType.MOSTLY_F16),
    "bf16": (GGMLQuantizationType.BF16, LlamaFileType.MOSTLY_BF16),
    "q8_0": (GGMLQuantizationType.Q8_0, LlamaFileType.MOSTLY_Q8_0),
}
"""Number formats of the matrices; vectors are always float32."""
EXPORTED = ("llama", "mistral", "qwen2")
"""Model types whose blocks are those of Llama, with or without biases."""
MIXTURES = "the export does not write experts"
REASONS = {
    "qwen3": "llama.cpp does not support blocks of different widths with query and key norms",
    "gemma3_text": "llama.cpp does not support blocks of different widths with these norms",
    "opt": "llama.cpp does not know its architecture",
    "mixtral": MIXTURES,
    "olmoe": MIXTURES,
    "qwen3_moe": MIXTURES,
    "qwen2_moe": MIXTURES,
}
ROPES = ("default", "linear", "llama3")
UNITS = "export the result of a method that removes whole KV groups, channels or layers"


def export_gguf(
    source: LanguageModel | str | os.PathLike[str], path: str | Path, *, type: str = "f16"
) -> None:
    """Write a model to the GGUF file `path`, completely or not at all.

    `source` is a model, or a folder or name as in `load_model`, whose weights are read in the dtype
    in which they are stored. `type` is "f16", "bf16" or "q8_0".

    Raises:
        BadInput: the type or the path is invalid, the file exists, llama.cpp cannot express the
            family, the shapes or the tokenizer, or a value is too large for the type.
        Unavailable: the folder is not writable or the disk is full.
    """
    if type not in TYPES:
        raise BadInput(unknown_name(type, TYPES, "type"))
    path = resolve(path)
    if path.suffix != ".gguf":
        raise BadInput(f"{short_path(path)} does not end in .gguf; choose a name like model.gguf")
    _check_missing(path)
    check_writable(path.parent, path.name)
    model = source if isinstance(source, LanguageModel) else _load(source)
    _check_family(model.config.model_type)
    _check_shapes(model)
    writer = _described(model, type)
    try:
        with locked(path), partial_folder(path) as partial:
            _check_missing(path)  # another process may have written it meanwhile
            _write(writer, model, partial / path.name, type)
            (partial / path.name).rename(path)
    except OSError as error:
        raise Unavailable(
            f"{short_path(path)} could not be written: {error.strerror or error}. Choose another "
            "folder or free some space."
        ) from error


def _check_missing(path: Path) -> None:
    if os.path.lexists(path):
        raise BadInput(f"{short_path(path)} exists; choose another name or remove it first")


def _load(source: str | os.PathLike[str]) -> LanguageModel:
    origin = locate(source)
    config = configuration(origin.folder)
    _check_family(config.model_type)
    tokenizer = load_tokenizer(origin.folder, config.vocab_size)
    return LanguageModel(load_checkpoint(origin.folder), tokenizer, name=origin.name)


def _check_family(model_type: str) -> None:
    if model_type not in EXPORTED:
        raise BadInput(
            f"{FAMILIES[model_type].name} models cannot be exported: {REASONS[model_type]}. If all "
            f"blocks have the same widths, try {CONVERTER}; otherwise prune a model of one of "
            f"these families: {', '.join(EXPORTED)}"
        )


def _check_shapes(model: LanguageModel) -> None:
    """Raise `BadInput` for shapes and settings that llama.cpp cannot express."""
    for block in model.blocks:
        if rotated(block):
            raise BadInput(
                f"block {block.index} has matrices that rotate the residual stream, as after "
                f"SliceGPT or DenoiseRotator, which GGUF cannot express; {UNITS}"
            )
        for role, linear in block.linears().items():
            for dim, name in enumerate(INDICES):
                if held_indices(linear, dim) is not None:
                    raise BadInput(
                        f"block {block.index} lacks some {name} of {role}, as after KVPruner, "
                        f"FASP, ATP or DISP-LLM, which GGUF cannot express; {UNITS}"
                    )
    refuse_emptied(model.blocks)
    if model.config.hidden_act != "silu":
        raise BadInput(
            f"{model.name} has the activation {model.config.hidden_act}, but the export supports "
            "only silu; use convert_hf_to_gguf.py of llama.cpp"
        )
    rope = model.config.rope_parameters
    if rope["rope_type"] not in ROPES or rope.get("partial_rotary_factor", 1) != 1:
        raise BadInput(
            f"{model.name} has rotary embeddings of type {rope['rope_type']!r}, which are not "
            f"supported; use a model with one of {', '.join(ROPES)}, over whole heads"
        )


def _described(model: LanguageModel, type: str) -> GGUFWriter:
    """Return a writer that has the metadata of a model, but no tensors."""
    blocks = block_widths(model, padded=type == "q8_0")
    uniform = len(set(blocks.values())) == 1
    config: Any = model.config
    writer = GGUFWriter(None, "llama" if uniform else "deci")
    writer.add_type("model")
    writer.add_name(model.name)
    writer.add_file_type(TYPES[type][1])
    writer.add_quantization_version(2)
    writer.add_vocab_size(model.vocabulary_size)
    # llama.cpp has no sliding window in these architectures; up to its length, it has no effect.
    window = getattr(config, "sliding_window", None) or config.max_position_embeddings
    writer.add_context_length(min(window, config.max_position_embeddings))
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(len(blocks))
    heads, kv_heads, channels = (
        counts[0] if uniform else list(counts) for counts in zip(*blocks.values(), strict=True)
    )
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv_heads)
    writer.add_feed_forward_length(channels)
    size = model.blocks[0].attention.head_size
    writer.add_key_length(size)
    writer.add_value_length(size)
    writer.add_rope_dimension_count(size)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    add_tokenizer(writer, model)
    return writer


def _write(writer: GGUFWriter, model: LanguageModel, path: Path, type: str) -> None:
    padded = type == "q8_0"
    kinds = []
    for name, tensor in tensors(model, padded=padded):
        kinds.append(_kind(tensor, type))
        shape = quant_shape_to_byte_shape(tuple(tensor.shape), kinds[-1])
        writer.add_tensor_info(name, shape, np.dtype(np.uint8), math.prod(shape), kinds[-1])
    try:
        writer.write_header_to_file(path)
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        # One tensor is converted at a time, so that memory holds only one copy of the model.
        again = tensors(model, padded=padded)
        for kind, (name, tensor) in zip(track(kinds, "writing"), again, strict=True):
            values = tensor.detach().cpu().float()
            if kind == GGMLQuantizationType.F16:
                values = values.half()
            if not bool(values.isfinite().all()):
                raise BadInput(f"{name} has NaN, or values too large for {type}; try --type bf16")
            writer.write_tensor_data(quantize(values.numpy(), kind))
    finally:
        writer.close()


def _kind(tensor: Tensor, type: str) -> GGMLQuantizationType:
    if tensor.ndim == 1:
        return GGMLQuantizationType.F32
    if type == "q8_0" and tensor.shape[1] % GROUP:
        return GGMLQuantizationType.F16
    return TYPES[type][0]
