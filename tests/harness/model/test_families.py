"""An entry in `FAMILIES` is enough to prune, save and load a family."""

from __future__ import annotations

import pytest
import torch

from implementations.harness import BadInput, keep_channels, keep_kv_groups, load_model
from implementations.harness.contract import tiny
from implementations.harness.contract.cases import cases
from implementations.harness.contract.clause import CLAUSES
from implementations.harness.model.saving import save_model
from implementations.harness.model.view import (
    AROUND_FEED_FORWARD,
    FAMILIES,
    ROLES,
    Family,
    family_of,
)
from tests.harness.contract.toys import Narrow, Reading
from tests.harness.model.test_checkpoint import IDS, OUTSIDE, PACKAGES, continued, isolated, logits

# Families that the atlas does not support.
NEW = {
    "granite": Family("granite"),
    "gemma2": Family("gemma2", norms=Family.norms + AROUND_FEED_FORWARD),
}


@pytest.fixture
def one_entry(monkeypatch):
    """Add the new families by one table entry each."""
    for model_type, family in NEW.items():
        monkeypatch.setitem(FAMILIES, model_type, family)
        monkeypatch.setitem(tiny.MODEL_TYPES, family.name, model_type)  # computed from the table


@pytest.mark.parametrize("family", NEW)
@pytest.mark.parametrize("method", [Reading, Narrow])
def test_new_family_passes_the_contract(method, family, one_entry):
    assert family in {case.family for case in cases(method)}
    covering = [one for one in CLAUSES if one.of(method) and one.families == "supported"]
    assert len(covering) > 10
    for clause in covering:
        clause.check(method, family)


@pytest.mark.full
def test_uneven_blocks_of_a_new_family_load_without_this_package(one_entry, tmp_path):
    folders = []
    for family in NEW:
        model = tiny.tiny_model(family, blocks=3)
        first, second, third = model.blocks
        keep_kv_groups(first.attention, [1])
        keep_channels(second.feed_forward, range(7))
        keep_kv_groups(third.attention, [])
        folder = tmp_path / family
        save_model(model, folder)
        torch.save(logits(model.hf), f"{folder}.logits")
        torch.save(continued(model.hf, cache=True), f"{folder}.tokens")
        folders.append(folder)
        again = load_model(folder, tokenizer=False)
        assert again.family.name == family
        assert torch.equal(logits(again.hf), logits(model.hf))
    torch.save(IDS, tmp_path / "ids")
    script = OUTSIDE.format(packages=str(PACKAGES), ids=str(tmp_path / "ids"))
    result = isolated(script, *folders, cwd=tmp_path)
    assert result.returncode == 0, result.stderr[-3000:]
    assert result.stdout.count("refused") == len(folders)


def test_unsupported_family_names_the_file_to_change():
    model = tiny.tiny_model().hf
    model.config.model_type = "granite"
    with pytest.raises(BadInput, match=r"'granite' is not supported.*llama.*model/view\.py"):
        family_of(model)


@pytest.mark.parametrize("family", FAMILIES.values(), ids=lambda family: family.name)
def test_paths_of_every_family_exist(family):
    model = tiny.tiny_model(family.name)
    block, mixed = model.blocks[0], model.blocks[1]
    assert block.attention.module.head_dim == block.attention.head_size
    assert all(list(norm.parameters()) for norm in block.norms.values())
    if family.experts and block.experts:
        assert list(block.linears()) == ["q", "k", "v", "o"]
    else:
        assert list(block.linears()) == [role for role in ROLES if getattr(family, role)]
        assert block.feed_forward.channels == 48
    if family.experts:
        assert mixed.experts.count == 8
        assert mixed.experts.top_k == 2
