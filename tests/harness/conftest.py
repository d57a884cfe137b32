"""Fixtures of the harness tests."""

import string

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from implementations.harness import load_model
from implementations.harness.contract.tiny import VOCABULARY
from tests.selection import leave_further_families

SPECIAL = ("<pad>", "<s>", "</s>")


def pytest_itemcollected(item: pytest.Item) -> None:
    """Leave tests of further families to `make test-all`."""
    leave_further_families(item)


@pytest.fixture
def letters():
    """Return a tokenizer with one token per character, for the vocabulary of tiny models."""
    characters = (" " + string.ascii_letters + string.digits + string.punctuation)[: VOCABULARY - 3]
    vocabulary = {token: i for i, token in enumerate([*SPECIAL, *characters])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<pad>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<s>", eos_token="</s>"
    )


@pytest.fixture(scope="session")
def smollm2():
    """Return the embedded model; tests that change it use a copy."""
    return load_model("smollm2-135m")
