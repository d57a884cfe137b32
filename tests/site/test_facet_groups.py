"""Groups of licences and families of models."""

from __future__ import annotations

import pytest

from tools.catalog.schema.paper import Code
from tools.catalog.schema.vocabulary import vocabulary
from tools.site.atlas import Atlas
from tools.site.licences import licence_group
from tools.site.model_families import RELATIVES, family


@pytest.mark.parametrize(
    ("licence", "group"),
    [
        ("MIT", "permissive"),
        ("BSD-3-Clause-Clear", "permissive"),
        ("CC-BY-4.0", "permissive"),
        ("GPL-3.0-only", "copyleft"),
        ("AGPL-3.0-or-later", "copyleft"),
        ("CC-BY-SA-4.0", "copyleft"),
        ("CC-BY-NC-4.0", "custom"),
        ("LicenseRef-NVIDIA", "custom"),
        ("unclear", "custom"),
        ("NONE", "none"),
        (None, None),
        ("GPL-2.0-only OR MIT", "permissive"),
        ("MIT AND CC-BY-NC-4.0", "custom"),
        ("MIT AND GPL-2.0-only WITH Classpath-exception-2.0", "copyleft"),
    ],
)
def test_licences_are_grouped_by_what_they_permit(licence: str | None, group: str | None) -> None:
    assert licence_group(Code(url="https://a.example", official=True, license=licence)) == group


def test_only_unclear_and_non_commercial_licences_of_the_catalog_are_custom(real: Atlas) -> None:
    licences = {
        code.license: licence_group(code)
        for paper in real.papers.values()
        for code in paper.code or ()
    }
    assert {name for name, group in licences.items() if group == "custom"} == {
        *("unclear", "CC-BY-NC-4.0", "CC-BY-NC-SA-4.0")
    }


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("LLaMA", "Llama 1"),
        ("LLaMA-2", "Llama 2"),
        ("LLaMA-3", "Llama 3"),
        ("LLaMA-3.2", "Llama 3"),
        ("LLaMA-4", "Llama 4"),
        ("Vicuna", "Llama derivatives"),
        ("Qwen1.5-MoE", "Qwen"),
        ("Qwen3-Coder", "Qwen"),
        ("Phi-3.5-MoE", "Phi"),
        ("GPT-2", "GPT"),
        ("T5", "T5"),
        ("Flan-T5", "T5"),
        ("DeepSeek-V2", "DeepSeek"),
        ("OPT", "OPT"),
    ],
)
def test_models_belong_to_the_family_of_their_name(model: str, name: str) -> None:
    assert family(model) == name


def test_families_are_far_fewer_than_models() -> None:
    models = vocabulary()["models"].terms.keys()
    assert models >= RELATIVES.keys()
    assert len({family(model) for model in models}) < len(models) * 0.6
