"""Token samples: provenance, overlap with evaluation, vocabulary."""

import hashlib

import pytest
import torch

from implementations.harness.data.tokens import (
    Calibration,
    Tokens,
    check_disjoint,
    check_vocabulary,
)
from implementations.harness.errors import BadInput


def tokens_of(ids, start=0, text="made"):
    """Make samples `[samples, length]` that are adjacent in `text` and begin at `start`."""
    ids = torch.as_tensor(ids)
    samples, length = ids.shape
    spans = tuple((start + i * length, start + (i + 1) * length) for i in range(samples))
    return Tokens(ids, text, spans, hashlib.sha256(text.encode()).hexdigest())


def random_ids(samples, length, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 50_000, (samples, length), generator=generator)


class TestTokens:
    def test_batches(self):
        tokens = tokens_of(torch.arange(20).reshape(5, 4))
        assert [len(batch) for batch in tokens.batches()] == [4, 1]
        assert [len(batch) for batch in tokens.batches(2)] == [2, 2, 1]
        assert torch.cat(list(tokens.batches(3))).equal(tokens.ids)
        with pytest.raises(BadInput, match="batch size must be at least 1, got 0"):
            list(tokens.batches(0))

    def test_chunks_keep_type_and_provenance(self):
        whole = Calibration.from_ids(random_ids(5, 8), "made", batch_size=3)
        chunks = list(whole.chunks(2))
        assert [type(chunk) for chunk in chunks] == [Calibration] * 3
        assert torch.equal(torch.cat([chunk.ids for chunk in chunks]), whole.ids)
        assert sum((chunk.spans for chunk in chunks), ()) == whole.spans
        assert {(c.source, c.text_sha256, c.batch_size) for c in chunks} == {
            ("made", whole.text_sha256, 3)
        }
        with pytest.raises(BadInput, match="at least 1"):
            next(whole.chunks(0))

    def test_hash_is_of_ids_and_shape(self):
        ids = torch.arange(8).reshape(2, 4)
        hashes = {
            tokens_of(ids).sha256,
            tokens_of(ids, start=4).sha256,  # same ids at another position
            tokens_of(ids.reshape(4, 2)).sha256,
            tokens_of(ids + 1).sha256,
        }
        assert len(hashes) == 3

    def test_hash_is_pinned(self):
        """Published records contain it: SHA-256 of "[1, 2]", then 1 and 2 as int64."""
        expected = hashlib.sha256(b"[1, 2]" + b"\1" + bytes(7) + b"\2" + bytes(7)).hexdigest()
        assert tokens_of([[1, 2]]).sha256 == expected

    def test_from_ids(self):
        tokens = Tokens.from_ids(torch.arange(8).reshape(2, 4), source="drawn")
        assert tokens.spans == ((0, 4), (4, 8))
        assert tokens.text_sha256 == tokens.sha256

    @pytest.mark.parametrize(
        ("ids", "spans", "message"),
        [
            (torch.zeros(4, dtype=torch.int64), ((0, 4),), "must be int64"),
            (torch.zeros(1, 4), ((0, 4),), "must be int64"),
            (torch.zeros(0, 4, dtype=torch.int64), (), "`ids` of made must not be empty"),
            (torch.zeros(2, 0, dtype=torch.int64), ((0, 0), (0, 0)), "must not be empty"),
            (torch.zeros(2, 4, dtype=torch.int64), ((0, 4),), "1 spans do not match"),
            (torch.zeros(1, 4, dtype=torch.int64), ((0, 5),), "spans do not match"),
        ],
    )
    def test_refuses_invalid_samples(self, ids, spans, message):
        with pytest.raises(BadInput, match=message):
            Tokens(ids, "made", spans, "")

    def test_refuses_batch_size_zero(self):
        with pytest.raises(BadInput, match="`batch_size` must be at least 1, got 0"):
            Tokens(torch.zeros(1, 4, dtype=torch.int64), "made", ((0, 4),), "", batch_size=0)


class TestDisjoint:
    def test_same_text_overlapping(self):
        ids = random_ids(2, 10)
        with pytest.raises(BadInput, match=r"\[10, 20\).*\[19, 29\) of made overlap"):
            check_disjoint(tokens_of(ids), tokens_of(random_ids(2, 10, 1), start=19))

    def test_same_text_adjoining(self):
        ids = random_ids(4, 10)
        check_disjoint(tokens_of(ids[:2]), tokens_of(ids[2:], start=20))

    def test_different_texts(self):
        check_disjoint(tokens_of(random_ids(8, 512)), tokens_of(random_ids(8, 1024, 1), text="b"))

    @pytest.mark.parametrize("length", [4, 200])
    def test_identical_window_in_another_text(self, length):
        calibration, evaluation = random_ids(4, length), random_ids(4, length, 1)
        evaluation[3] = calibration[1]
        span = rf"made \[{length}, {2 * length}\)"
        with pytest.raises(BadInput, match=f"calibration .made. .*copy.* share tokens of {span}"):
            check_disjoint(tokens_of(calibration), tokens_of(evaluation, text="copy"))

    @pytest.mark.parametrize("offset", [0, 1, 100, 199])
    def test_sample_across_two_windows_of_a_copy(self, offset):
        """Wherever the sample lies in the evaluated text, one of its halves is inside a window."""
        stretch = random_ids(1, 400)[0]
        sample = stretch[offset : offset + 200].reshape(1, 200)
        with pytest.raises(BadInput, match="use different texts"):
            check_disjoint(tokens_of(sample), tokens_of(stretch.reshape(2, 200), text="copy"))

    @pytest.mark.parametrize("length", [50, 100])
    def test_short_sample_across_two_windows_of_a_copy(self, length):
        stretch = random_ids(1, 2 * length)[0]
        sample = stretch[length // 2 : length // 2 + length].reshape(1, length)
        with pytest.raises(BadInput, match="use different texts"):
            check_disjoint(tokens_of(sample), tokens_of(stretch.reshape(2, length), text="copy"))

    @pytest.mark.parametrize("shared", [100, 127])
    def test_passage_in_the_middle_of_windows_of_other_neighbours(self, shared):
        calibration, evaluation = random_ids(3, 200), random_ids(4, 200, 1)
        evaluation[3, 30 : 30 + shared] = calibration[1, 60 : 60 + shared]
        with pytest.raises(BadInput, match=r"share tokens of made \[200, 400\)"):
            check_disjoint(tokens_of(calibration), tokens_of(evaluation, text="other"))
        evaluation[3, 30 + 99] = 50_000
        check_disjoint(tokens_of(calibration), tokens_of(evaluation, text="other"))

    def test_windows_that_are_not_adjacent_are_not_joined(self):
        windows, start = random_ids(2, 10), ((0, 10), (11, 21))
        evaluation = Tokens(windows, "made", start, "copy", batch_size=1)
        sample = windows.flatten()[5:15].reshape(1, 10)
        check_disjoint(tokens_of(sample), evaluation)

    def test_short_evaluation_inside_a_long_calibration_sample(self):
        calibration = random_ids(2, 1024)
        evaluation = calibration[1, 300:428].reshape(1, 128)
        with pytest.raises(BadInput, match="share tokens of copy"):
            check_disjoint(tokens_of(calibration), tokens_of(evaluation, text="copy"))

    def test_accepts_a_few_shared_tokens(self):
        calibration, evaluation = random_ids(2, 256), random_ids(2, 256, 1)
        evaluation[0, :60] = calibration[0, :60]
        check_disjoint(tokens_of(calibration), tokens_of(evaluation, text="other"))


class TestVocabulary:
    def test_inside(self):
        check_vocabulary(tokens_of([[0, 9]]), 10)

    @pytest.mark.parametrize("bad", [10, -1])
    def test_error_names_id_and_position(self, bad):
        message = rf"token id {bad} \(sample 1, position 0 of made\).*vocabulary of 10"
        with pytest.raises(BadInput, match=message):
            check_vocabulary(tokens_of([[0, 9], [bad, 1]]), 10)


def test_picked_samples_keep_their_provenance():
    spans = ((0, 3), (5, 8), (9, 12), (20, 23))
    tokens = Tokens(torch.arange(12).view(4, 3), "text", spans, "x", batch_size=2)
    picked = tokens.pick([3, 0])
    assert picked.ids.tolist() == [[9, 10, 11], [0, 1, 2]]
    assert picked.spans == ((20, 23), (0, 3))
    assert (picked.source, picked.text_sha256, picked.batch_size) == ("text", "x", 2)
