"""The page "Use it": every option of the program, and how saved models are loaded."""

from __future__ import annotations

import html
import json
import re
import shlex
import tomllib
from pathlib import Path
from typing import Annotated

import pytest
import torch
import typer
from transformers import AutoModelForCausalLM
from typer.testing import CliRunner

from implementations.harness import get_method, methods
from implementations.harness.cli.commands import app
from implementations.harness.contract import helpers
from implementations.harness.contract.tiny import tiny_model
from implementations.harness.model.saving import save_model
from implementations.harness.results.protocol import PROTOCOLS
from tools.site import options, usage
from tools.site.atlas import Atlas
from tools.site.pages import use


@pytest.fixture(scope="module")
def page(real_pages: dict[str, str]) -> str:
    return real_pages["use.md"]


def table(page: str, command: str) -> str:
    return page.partition(f'id="options-{command}"')[2].partition("</section>")[0]


def test_every_command_has_a_table_and_every_option_a_row(page: str) -> None:
    known = typer.main.get_command(app).commands
    assert [found.name for found in options.commands()] == list(known)
    for name, command in known.items():
        rows = re.findall(
            r'<th scope="row"><code>(.*?)</code>.*<span>(.*?)</span>', table(page, name)
        )
        assert len(rows) == len(command.params) > 0
        for param, (written, said) in zip(command.params, rows, strict=True):
            if param.param_type_name == "option":
                assert written == param.opts[0]
            shown = html.unescape(re.sub("</?code>", "", said))
            assert shown == param.help.replace("`", "")


def test_options_show_values_default_and_help() -> None:
    program = typer.Typer()

    @program.command()
    def first() -> None:
        """Do nothing."""

    @program.command("second-one")
    def second(
        what: Annotated[Path, typer.Argument(help="A file.")],
        often: Annotated[int, typer.Option(min=1, help="How\noften.")] = 3,
        shares: Annotated[list[float] | None, typer.Option("--share", help="Some.")] = None,
        quiet: Annotated[bool, typer.Option("--quiet", help="Say less.")] = False,
        secret: Annotated[bool, typer.Option("--secret", hidden=True)] = False,
    ) -> None:
        """Do something
        more.

        At length.
        """

    one, other = options.commands(program)
    assert (one.name, one.about, one.options) == ("first", "Do nothing.", ())
    assert (other.name, other.about) == ("second-one", "Do something more.")
    assert other.options == (
        options.Option("WHAT", "path", "required", "A file."),
        options.Option("--often", "whole number from 1", "3", "How often."),
        options.Option("--share", "number", "", "Some."),
        options.Option("--quiet", "", "off", "Say less."),
    )


def test_renders_without_methods() -> None:
    assert 'id="options-run"' in dict(use.pages(Atlas({}, {})))["use.md"]


def test_every_question_links_to_a_section(page: str) -> None:
    asked = re.findall(r'<li><a href="#(.*?)">', page)
    assert len(asked) == len(set(asked)) >= 12
    for anchor in asked:
        assert page.count(f"{{ #{anchor} }}") == 1


def test_lists_every_extra(page: str, repository: Path) -> None:
    project = tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)) == set(
        project["optional-dependencies"]
    )
    assert f"Python {project['requires-python'].removeprefix('>=')} or newer" in page


def test_default_dtype_is_float32(page: str) -> None:
    assert "The default is float32, whatever dtype the checkpoint has" in page
    assert {protocol.dtype for protocol in PROTOCOLS.values()} == {"float32"}


def test_every_method_is_listed_under_one_way_to_load(page: str) -> None:
    listed = page.partition('id="reload-plain"')[2].partition("</dl>")[0]
    assert sorted(re.findall(r"papers/(\w+)\.html", listed)) == sorted(methods())


# Possible results: with our code in the saved folder, or without.
MAY = {"plain": {False}, "alike": {False, True}, "code": {True}}


@pytest.mark.parametrize("slug", methods())
def test_saved_models_load_as_the_page_says(slug: str, real: Atlas, tmp_path: Path) -> None:
    method = get_method(slug)
    said = usage.reloading(real.methods[slug], real.papers[slug])
    assert (said == "nothing") == (method.capabilities.when == "input-dependent")
    if said == "nothing":
        return
    model = tiny_model(helpers.first_family(method), blocks=4)
    (share,) = helpers.shares(method, model, 0.5)
    helpers.apply(method, model, sparsity=share)
    save_model(model, tmp_path / "pruned")
    own = (tmp_path / "pruned" / "modeling_pruned.py").exists()
    assert own in MAY[said]
    shapes = json.loads((tmp_path / "pruned" / "config.json").read_text()).get("pruned_shapes", ())
    inside = any({"indexed", "residual", "rotations"} & shape.keys() for shape in shapes)
    assert inside == (said == "code")  # equal shapes of all blocks would not suffice
    if not own:
        again = AutoModelForCausalLM.from_pretrained(tmp_path / "pruned")
        ids = helpers.random_tokens(2, 20, seed=1).ids
        with torch.no_grad():
            assert torch.equal(
                again(ids, use_cache=False).logits, model.hf(ids, use_cache=False).logits
            )


def test_training_methods_are_listed_for_models_larger_than_the_gpu(real: Atlas) -> None:
    trains = {slug for slug in methods() if get_method(slug).capabilities.trains}
    assert set(usage.training(real)) == trains


@pytest.fixture(scope="module")
def papers(real_pages: dict[str, str]) -> dict[str, str]:
    return real_pages


def test_commands_of_a_method_are_valid_until_they_load_the_model(
    papers: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    for slug in methods():
        text = papers[f"papers/{slug}.md"].partition("{ #run-it")[2].partition("\n## ")[0]
        assert "use." in text
        (command,) = re.findall(rf"^atlas (run {slug} --model .*)$", text, re.MULTILINE)
        capabilities = get_method(slug).capabilities
        assert ("--save pruned" in command) != (capabilities.when == "input-dependent")
        patterns = "semi-structured" in capabilities.granularity
        assert ("--pattern 2:4" in command) == patterns, slug
        done = CliRunner().invoke(app, shlex.split(command))
        assert done.exit_code == 2
        assert "unknown model 'my-model'" in done.stderr
