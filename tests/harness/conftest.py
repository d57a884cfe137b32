"""What several tests of the harness share."""

import string

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from implementations.harness import load_model
from implementations.harness.contract.tiny import VOCABULARY

SPECIAL = ("<pad>", "<s>", "</s>")


@pytest.fixture
def letters():
    """A tokenizer of one token a character, for the vocabulary of the tiny models."""
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
    """The embedded model; tests that change it work on a copy."""
    return load_model("smollm2-135m")
