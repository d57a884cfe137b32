"""Tokenise texts and cut them into windows."""

import hashlib

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from implementations.harness.data.samples import (
    Text,
    load_text,
    random_documents,
    random_windows,
    tokenize,
    windows,
)
from implementations.harness.data.tokens import check_disjoint, check_vocabulary
from implementations.harness.download.embedded import embedded_model
from implementations.harness.errors import BadInput

TEXT = Text("made", "0123456789" * 10)
IDS = torch.arange(100)
BOS = 256


@pytest.fixture(scope="module")
def tokenizer():
    """Return a byte-level tokenizer that adds a BOS by default and allows 16 tokens."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {symbol: index for index, symbol in enumerate(alphabet)} | {"<s>": BOS}
    backend = Tokenizer(models.BPE(vocabulary, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", BOS)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token="<s>",
        model_max_length=16,
        clean_up_tokenization_spaces=False,
    )


class TestTokenize:
    def test_adds_no_bos_and_loses_nothing(self, tokenizer):
        assert tokenizer("ab")["input_ids"][0] == BOS  # the default
        ids = tokenize(Text("made", " a\n\nb é"), tokenizer)
        assert ids.dtype == torch.int64
        assert BOS not in ids
        assert tokenizer.decode(ids) == " a\n\nb é"

    def test_does_not_warn_about_long_text(self, tokenizer, caplog, recwarn):
        assert len(tokenize(TEXT, tokenizer)) == 100 > tokenizer.model_max_length
        assert not caplog.records
        assert not recwarn.list

    def test_refuses_empty_text(self, tokenizer):
        with pytest.raises(BadInput, match="blank is empty"):
            tokenize(Text("blank", ""), tokenizer)

    def test_refuses_model_without_tokenizer(self):
        with pytest.raises(BadInput, match="the model has no tokenizer"):
            tokenize(TEXT, None)


class TestWindows:
    def test_first(self):
        cut = windows(TEXT, IDS, 30, 2)
        assert cut.ids.tolist() == [list(range(30)), list(range(30, 60))]
        assert cut.spans == ((0, 30), (30, 60))
        assert cut.source == "made"
        assert cut.text_sha256 == hashlib.sha256(TEXT.text.encode()).hexdigest()

    def test_last_counts_full_windows_from_the_start(self):
        assert windows(TEXT, IDS, 30, 2, where="last").spans == ((30, 60), (60, 90))

    def test_drops_incomplete_window(self):
        assert windows(TEXT, IDS, 30).spans == ((0, 30), (30, 60), (60, 90))

    @pytest.mark.parametrize("count", [None, 1, 3])
    def test_error_says_how_many_tokens_are_needed(self, count):
        windows_of_120 = f"{count or 1} windows of 120 tokens need {120 * (count or 1)}"
        message = f"made is too short: it has 100 tokens, but {windows_of_120}"
        with pytest.raises(BadInput, match=message):
            windows(TEXT, IDS, 120, count)

    @pytest.mark.parametrize(("length", "count"), [(0, 1), (-1, None), (4, 0)])
    def test_refuses_counts_below_one(self, length, count):
        with pytest.raises(BadInput, match="must be at least 1"):
            windows(TEXT, IDS, length, count)


class TestRandomWindows:
    def test_same_seed_same_windows(self):
        first, again, other = (random_windows(TEXT, IDS, 10, 8, seed) for seed in (0, 0, 1))
        assert first.sha256 == again.sha256
        assert first.sha256 != other.sha256

    def test_starts_are_pinned(self):
        """Protocols rely on the numbers that the generator draws."""
        starts = [start for start, _ in random_windows(TEXT, IDS, 10, 5, 0).spans]
        assert starts == [81, 80, 14, 16, 64]

    @settings(max_examples=50)
    @given(st.integers(1, 100), st.integers(1, 100), st.integers(0, 2**32))
    def test_windows_lie_within_the_text(self, length, tokens, seed):
        if length > tokens:
            with pytest.raises(BadInput, match="too short"):
                random_windows(TEXT, IDS[:tokens], length, 3, seed)
            return
        cut = random_windows(TEXT, IDS[:tokens], length, 3, seed)
        assert all(0 <= start < end <= tokens for start, end in cut.spans)
        assert cut.ids.tolist() == [list(range(*span)) for span in cut.spans]

    def test_every_start_occurs(self):
        cut = random_windows(TEXT, IDS, 97, 200, 0)
        assert {start for start, _ in cut.spans} == {0, 1, 2, 3}


class TestRandomDocuments:
    DOCUMENTS = ("", "short", *(letter * 5 + "0123456789" for letter in "abcdef"))

    def test_crops_of_long_enough_documents(self, tokenizer):
        cut = random_documents("made", self.DOCUMENTS, tokenizer, 8, 6, seed=0)
        crops = [tokenizer.decode(row) for row in cut.ids]
        assert all(any(crop in document for document in self.DOCUMENTS) for crop in crops)
        assert cut.sha256 == random_documents("made", self.DOCUMENTS, tokenizer, 8, 6, 0).sha256
        assert cut.sha256 != random_documents("made", self.DOCUMENTS, tokenizer, 8, 6, 1).sha256

    def test_uses_no_document_twice(self, tokenizer):
        cut = random_documents("made", self.DOCUMENTS, tokenizer, 14, 6, seed=0)
        # 14 of 15 bytes keep a letter, which identifies the document.
        assert {tokenizer.decode(row)[1] for row in cut.ids} == set("abcdef")
        assert [start // 15 for start, _ in cut.spans] == list(range(6))

    def test_spans_refer_to_the_chosen_documents(self, tokenizer):
        documents = ("x" * 20, "y" * 20)
        cut = random_documents("made", documents, tokenizer, 8, 2, seed=3)
        order = [tokenizer.decode(row)[0] for row in cut.ids]
        joined = order[0] * 20 + order[1] * 20
        assert [joined[start:end] for start, end in cut.spans] == [letter * 8 for letter in order]

    def test_refuses_too_few_documents(self, tokenizer):
        with pytest.raises(BadInput, match="6 documents of more than 8 tokens, but 7 are needed"):
            random_documents("made", self.DOCUMENTS, tokenizer, 8, 7, seed=0)

    def test_document_must_be_longer_than_the_crop(self, tokenizer):
        with pytest.raises(BadInput, match="0 documents of more than 5 tokens"):
            random_documents("made", ("12345",), tokenizer, 5, 1, seed=0)


def test_text_hash_is_of_utf8():
    assert Text("made", "é").sha256 == hashlib.sha256(b"\xc3\xa9").hexdigest()


@pytest.fixture(scope="module")
def real_tokenizer():
    return AutoTokenizer.from_pretrained(embedded_model())


@pytest.fixture(scope="module")
def wikipedia(real_tokenizer):
    text = load_text("wikipedia")
    return text, tokenize(text, real_tokenizer)


@pytest.fixture(scope="module")
def c4(real_tokenizer):
    text = load_text("c4")
    return text, tokenize(text, real_tokenizer)


@pytest.mark.full
@pytest.mark.model
def test_token_counts_of_the_embedded_texts(wikipedia, c4):
    assert len(wikipedia[1]) == 459_857
    assert len(c4[1]) == 302_437
    assert len(windows(*c4, 1024).ids) == 295


@pytest.mark.full
@pytest.mark.model
def test_windows_of_the_embedded_texts_are_pinned(wikipedia, c4):
    evaluation = windows(*wikipedia, 1024, 32)
    text, ids = c4
    calibration = random_windows(text, ids[: (295 - 16) * 1024], 1024, 32, seed=0)
    assert evaluation.sha256.startswith("185c3b5fb52d16ef")
    assert calibration.sha256.startswith("8865ff64cc607395")
    assert [start for start, _ in calibration.spans[:3]] == [43604, 132927, 93263]
    check_disjoint(calibration, evaluation)
    check_disjoint(calibration, windows(*c4, 1024, 16, where="last"))
    check_vocabulary(calibration, 49_152)
