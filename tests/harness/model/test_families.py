"""One entry makes a family: it keeps the contract, is cut, saved, and read where we are unknown."""

from __future__ import annotations

import pytest
import torch

from implementations.harness import BadInput, keep_channels, keep_kv_groups, load_model
from implementations.harness.contract import tiny
from implementations.harness.contract.cases import cases
from implementations.harness.model.checkpoint import save
from implementations.harness.model.families import (
    AROUND_FEED_FORWARD,
    FAMILIES,
    ROLES,
    Family,
    family_of,
)
from tests.harness.contract.toys import Narrow, Reading
from tests.harness.model.test_checkpoint import IDS, OUTSIDE, PACKAGES, continued, isolated, logits

# Families of transformers that the atlas does not list.
NEW = {
    "granite": Family("granite"),
    "gemma2": Family("gemma2", norms=Family.norms + AROUND_FEED_FORWARD),
}


@pytest.fixture
def one_entry(monkeypatch):
    """The new families, each by an entry in the table and nothing else."""
    for model_type, family in NEW.items():
        monkeypatch.setitem(FAMILIES, model_type, family)
        monkeypatch.setitem(tiny.MODEL_TYPES, family.name, model_type)  # is made of the table


@pytest.mark.parametrize("family", NEW)
@pytest.mark.parametrize("method", [Reading, Narrow])
def test_one_entry_is_enough_for_the_contract(method, family, one_entry):
    covering = [case for case in cases(method) if case.family == family]
    assert len(covering) > 10
    for case in covering:
        case.check()


def test_blocks_of_different_widths_load_where_this_repository_is_unknown(one_entry, tmp_path):
    folders = []
    for family in NEW:
        model = tiny.tiny_model(family, blocks=3)
        first, second, third = model.blocks
        keep_kv_groups(first.attention, [1])
        keep_channels(second.feed_forward, range(7))
        keep_kv_groups(third.attention, [])
        folder = tmp_path / family
        save(model, folder)
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


def test_without_its_entry_a_family_is_refused_with_the_place_for_it():
    model = tiny.tiny_model().hf
    model.config.model_type = "granite"
    with pytest.raises(BadInput, match=r"'granite' is not supported.*llama.*model/families\.py"):
        family_of(model)


@pytest.mark.parametrize("family", FAMILIES.values(), ids=lambda family: family.name)
def test_every_path_of_an_entry_leads_to_its_part(family):
    block = tiny.tiny_model(family.name).blocks[0]
    assert list(block.linears()) == [role for role in ROLES if getattr(family, role)]
    assert block.attention.module.head_dim == block.attention.head_size
    assert block.feed_forward.channels == 48
    assert all(list(norm.parameters()) for norm in block.norms.values())
