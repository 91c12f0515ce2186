"""What is mixed in beside real pairs, how much of it and until when."""

from pathlib import Path

import pytest
from transformers import AutoTokenizer

from adaptation.bases import load_spec
from langmod.errors import ConfigError, DataError
from tests.bases import make_base
from tests.training.corpora import sentences
from training.data.noise import Noise
from training.data.pair_mix import Denoising, PairMix, PairReader, Synthetic, mixed_phases, sampled
from training.data.pairs import PairDataset

MADE = [(f"made {number}", f"зохиосон {number}") for number in range(20)]


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mix") / "base"
    make_base(folder, "translator")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    return PairReader(tokenizer, load_spec(folder).language_tokens, 200, seed=1)


@pytest.fixture
def synthetic(tmp_path):
    """Pairs from English alone: the other direction has none."""
    folder = tmp_path / "made" / "parallel" / "en-mn"
    folder.mkdir(parents=True)
    lines = "".join(f"{source}\t{target}\tbt-greedy\n" for source, target in MADE)
    (folder / "train.tsv").write_text(lines)
    return tmp_path / "made"


def real(reader):
    pairs = [(f"үнэн {number}", f"real {number}") for number in range(30)]
    return {
        ("mn", "en"): reader.encode(pairs, ("mn", "en")),
        ("en", "mn"): reader.encode([(b, a) for a, b in pairs], ("en", "mn")),
    }


def texts(reader, pairs):
    """Source and target of pairs as text, without control tokens."""
    return [
        tuple(
            reader.tokenizer.decode(side[1:-1], skip_special_tokens=True).strip()
            for side in (pair.source, pair.target)
        )
        for pair in pairs
    ]


def dataset(reader, mix, corpus=Path("none"), total=100):
    phases = mixed_phases(reader, mix, real(reader), (corpus, total))
    return PairDataset(phases, (0.0, 100.0), (10, 1)), phases


def test_synthetic_pairs_are_tagged_and_leave_when_their_time_is_over(reader, synthetic):
    settings = Synthetic(corpus=synthetic, share=0.4, until=0.7)
    data, _ = dataset(reader, PairMix(synthetic=settings))
    found = texts(reader, [data[place] for place in range(len(data))])
    made = [place for place, (source, _) in enumerate(found) if "made" in source]
    assert len(found) == 100
    assert len(made) == 28, "40 % of the first 70"
    assert max(made) < 70
    assert all(found[place][0].startswith("<bt> made") for place in made)
    assert not any("<bt>" in source for place, (source, _) in enumerate(found) if place not in made)
    assert not any("<bt>" in target for _, target in found)
    assert {found[place][1].split()[0] for place in made} == {"зохиосон"}, "real text is the target"
    assert data.draws == [[{"mn-en": 21, "en-mn": 21}, {"en-mn": 28}], [{"mn-en": 15, "en-mn": 15}]]


def test_without_a_tag_and_without_an_end(reader, synthetic):
    settings = Synthetic(corpus=synthetic, share=0.25, tag=None)
    data, phases = dataset(reader, PairMix(synthetic=settings))
    found = texts(reader, [data[place] for place in range(len(data))])
    assert len(phases) == 1
    assert sum(source.startswith("made") for source, _ in found) == 25
    assert not any("<bt>" in source for source, _ in found)


def test_noised_text_is_mended_into_its_own_language(reader, small_corpus):
    noise = Noise(shuffle=0, drop=0, infill=0.3, span=2)
    mix = PairMix(denoising=Denoising(share=0.2, noise=noise))
    data, ((_, (denoising, count)),) = dataset(reader, mix, small_corpus)
    assert (len(data), count) == (100, 20)
    assert denoising.keys() == {("en", "en"), ("mn", "mn")}
    assert data.draws == [[{"mn-en": 40, "en-mn": 40}, {"en-en": 10, "mn-mn": 10}]]
    tokens, mask = reader.language_tokens, reader.tokenizer.mask_token_id
    for (tag, _), pairs in denoising.items():
        assert len(pairs) == 20
        assert {each[0] for pair in pairs for each in (pair.source, pair.target)} == {tokens[tag]}
        assert any(mask in pair.source for pair in pairs)
        assert not any(mask in pair.target for pair in pairs)
    known = set(sentences("mn", 300))
    clean = [target for _, target in texts(reader, denoising["mn", "mn"])]
    assert sum(text in known for text in clean) > 10


def test_all_together_and_nothing_at_all(reader, synthetic, small_corpus):
    both = PairMix(
        synthetic=Synthetic(corpus=synthetic, share=0.4, until=0.5), denoising=Denoising(share=0.1)
    )
    data, _ = dataset(reader, both, small_corpus, total=200)
    assert [[sum(kind.values()) for kind in phase] for phase in data.draws] == [
        [50, 10, 40],
        [90, 10],
    ], "real, denoising, synthetic for half of the run; then no synthetic"
    data, phases = dataset(reader, PairMix())
    plain = PairDataset([[(real(reader), 100)]], (0.0, 100.0), (10, 1))
    assert len(phases) == 1
    assert data.rows == plain.rows


def test_mixes_that_cannot_be(reader, synthetic):
    with pytest.raises(ConfigError, match=r"no real ones"):
        dataset(
            reader,
            PairMix(
                synthetic=Synthetic(corpus=synthetic, share=0.6), denoising=Denoising(share=0.4)
            ),
        )
    (synthetic / "parallel" / "en-mn").rename(synthetic / "parallel" / "en-ko")
    with pytest.raises(DataError, match=r"no synthetic pairs of mn-en, en-mn"):
        dataset(reader, PairMix(synthetic=Synthetic(corpus=synthetic)))


def test_a_part_of_the_pairs_is_drawn_by_seed_and_keeps_their_order():
    found = sampled(range(1000), 10, seed=1)
    assert found == sampled(range(1000), 10, seed=1) == sorted(found)
    assert found != sampled(range(1000), 10, seed=2)
    assert sampled(range(5), 10, seed=1) == sampled(range(5), None, seed=1) == list(range(5))
