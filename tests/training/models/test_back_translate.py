"""Text to pairs with machine-made sources: which text, which pairs stay, and training on them."""

from collections import Counter
from pathlib import Path

import pytest
import torch
import yaml
from pydantic import ValidationError

from langmod.errors import ConfigError, DataError
from langmod.synthetic_pairs import SyntheticPair
from tests.bases import make_base
from tests.training.runs import QUICK, base_config, module_config
from training.data.corpus import corpus_digest, read_pairs, read_text
from training.data.pair_mix import Denoising, PairMix, Synthetic, read_directed
from training.models.back_translate import BackTranslateConfig, back_translate, best_of
from training.models.base import BaseConfig, train_base
from training.modules.module import train_module
from training.modules.settings import ModuleConfig
from training.scoring.score import open_base
from training.scoring.translation_score import Search, translate

ALL = {"max_length_ratio": 1000, "min_chrf": 0, "identifier": None}


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("translator") / "base"
    make_base(folder, "translator")
    return folder


def made(base, corpus, out, **changes):
    values = {"base": str(base), "corpus": corpus, "directions": ["eng-khk"], "sentences": 12}
    return back_translate(BackTranslateConfig.model_validate(values | {"out": out} | changes))


def test_real_text_that_is_in_no_pair_becomes_the_target(base, small_corpus, tmp_path):
    card = made(base, small_corpus, tmp_path / "bt", filters=None)
    rows = read_directed(tmp_path / "bt", ("en", "mn"))
    targets = {target for _, target in rows}
    assert len(rows) == len(targets) == 12
    assert targets <= set(read_text(small_corpus, "mn", "train"))
    assert not targets & {row[0] for row in read_pairs(small_corpus, "mn", "en", "train")}
    scored = open_base(str(base))
    with torch.no_grad():
        back = translate(scored.slotted, scored.encoder, [row[1] for row in rows], ("mn", "en"))
    assert [row[0] for row in rows] == [" ".join(text.split()) for text in back]
    assert read_directed(tmp_path / "bt", ("mn", "en")) == []
    assert card.digest == corpus_digest(tmp_path / "bt")
    assert (card.counts[0].read, card.counts[0].kept, card.counts[0].dropped) == (12, 12, {})


def test_what_the_filters_took_is_counted(base, small_corpus, tmp_path):
    filters = ALL | {"max_length_ratio": 1.5, "keep_share": 0.5}
    card = made(base, small_corpus, tmp_path / "bt", filters=filters, sentences=40)
    (count,) = card.counts
    assert count.read == 40 == count.kept + sum(count.dropped.values())
    assert count.dropped["length_ratio"] > 0
    assert abs(count.dropped["not_among_best"] - count.kept) <= 1
    assert "| bt-greedy | en-mn | 40 |" in card.count_table()
    assert len(read_directed(tmp_path / "bt", ("en", "mn"))) == count.kept
    with pytest.raises(DataError, match=r"no synthetic pair of en-mn is left: .*low_chrf"):
        made(base, small_corpus, tmp_path / "none", filters=ALL | {"min_chrf": 100})
    assert not (tmp_path / "none").exists()


def pair(trip, target="abc def"):
    return SyntheticPair(target, "mn", "x", "en", (3, 3), trip)


def test_the_best_by_round_trip_stay_in_their_order():
    pairs = [pair("abc dxx"), pair("zzz"), pair("abc def"), pair("abc deg"), pair("yyy")]
    assert [each.round_trip for each in best_of(pairs, 0.4)] == ["abc def", "abc deg"]
    assert best_of(pairs, 1.0) == pairs
    assert Counter(each.chrf for each in pairs)[0.0] == 2


def test_sources_are_searched_or_drawn_by_seed(base, small_corpus, tmp_path):
    found = {}
    for name, search in {
        "greedy": {"mode": "greedy"},
        "beam": {"mode": "beam", "beams": 3},
        "one beam": {"mode": "beam", "beams": 1},
        "drawn": {"mode": "sample", "seed": 1},
        "again": {"mode": "sample", "seed": 1},
        "other": {"mode": "sample", "seed": 2},
        "likeliest": {"mode": "sample", "top_k": 1},
    }.items():
        made(base, small_corpus, tmp_path / name, filters=None, search=search)
        found[name] = read_directed(tmp_path / name, ("en", "mn"))
    assert found["greedy"] == found["one beam"] == found["likeliest"]
    assert found["drawn"] == found["again"]
    assert len({str(found[name]) for name in ("greedy", "beam", "drawn", "other")}) == 4
    with pytest.raises(ValidationError):
        Search(mode="noised beam")


def test_a_base_trains_on_them(base, small_corpus, tmp_path):
    made(base, small_corpus, tmp_path / "bt", filters=None, directions=["eng-khk", "khk-eng"])
    losses = {}
    for name, mix in {
        "real": PairMix(),
        "mixed": PairMix(synthetic=Synthetic(corpus=tmp_path / "bt", share=0.5)),
    }.items():
        config = base_config(
            tmp_path / name,
            small_corpus,
            base,
            "translator",
            start_from=str(base),
            mixed_in=mix,
            max_pairs=10,
            optimisation=QUICK | {"steps": 2},
        )
        train_base(config)
        losses[name] = (config.out / "curve.json").read_text()
    assert losses["real"] != losses["mixed"]


def test_a_directions_module_trains_on_them_and_needs_no_scores(base, small_corpus, tmp_path):
    made(base, small_corpus, tmp_path / "bt", filters=None)
    found = {}
    for name, mix in {
        "real": PairMix(),
        "mixed": PairMix(synthetic=Synthetic(corpus=tmp_path / "bt", share=0.5)),
    }.items():
        config = module_config(
            tmp_path,
            base,
            name,
            source="en",
            target="mn",
            corpus=small_corpus,
            mixed_in=mix,
            score=False,
            optimisation=QUICK | {"steps": 2},
        )
        found[name] = train_module(config).final_loss
        assert not (tmp_path / name / "scores.json").exists()
    assert found["real"] != found["mixed"]


def test_the_settings_of_the_docs_are_settings():
    text = (Path(__file__).parents[3] / "docs" / "corpus.md").read_text()
    blocks = text.split("## Synthetic pairs")[1].split("```yaml\n")[1:]
    made, trained = (yaml.safe_load(block.split("```")[0]) for block in blocks)
    assert BackTranslateConfig.model_validate(made).out == Path("corpora/mine-bt")
    mix = PairMix.model_validate(trained.pop("mixed_in"))
    assert mix.synthetic.tag == "<bt>"
    assert mix.denoising == Denoising()
    assert trained.keys() <= BaseConfig.model_fields.keys() & ModuleConfig.model_fields.keys()


def test_an_encoder_refuses_pairs(small_corpus, tmp_path):
    base = base_config(tmp_path, small_corpus, tmp_path, "encoder", max_pairs=10)
    with pytest.raises(ConfigError, match=r"nano-encoder: mixed_in and max_pairs are for transl"):
        train_base(base)
    mix = PairMix(denoising=Denoising())
    module = module_config(tmp_path, tmp_path, "mine", language="mn", corpus="c", mixed_in=mix)
    with pytest.raises(ConfigError, match=r"mine: `mixed_in` and `max_pairs` are for directions"):
        module.checked()
