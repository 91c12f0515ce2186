"""A language with a vocabulary of its own, end to end at nano size: train, score, publish."""

import pytest
import torch

from adaptation.architectures import load_base
from adaptation.bases import load_spec
from adaptation.methods import METHODS
from adaptation.slot_sources import FixedSource
from adaptation.slotted import SlottedBase
from export.module import export_module
from langmod.encoding import TextEncoder
from langmod.errors import ConfigError, ModuleMismatch
from langmod.specs import read_scores
from langmod.store import ModuleStore
from tests.bases import make_base
from tests.training.runs import QUICK, losses, module_config
from training.data.corpus import read_text
from training.evaluation.scoreboard import ScoreConfig, encoder_of, score_published, tensors_of
from training.modules.module import train_module
from training.scoring.score import Sample, open_base

LONGER = QUICK | {"steps": 60, "batch_size": 8, "learning_rate": 1e-2}


@pytest.fixture(scope="module")
def trained(base, tokenizer, small_corpus, tmp_path_factory):
    """Runs with words that start at random and at the base's, published."""
    folder = tmp_path_factory.mktemp("runs")
    for start in ("random", "overlap"):
        config = module_config(
            folder, base, f"mn-{start}", language="mn", corpus=small_corpus, method="xpt",
            method_config={"tokenizer": str(tokenizer), "start": start}, optimisation=LONGER,
        )  # fmt: skip
        train_module(config)
        export_module(folder / f"mn-{start}", base)
    return folder


@pytest.mark.parametrize("start", ["random", "overlap"])
def test_a_language_learns_words_of_its_own(trained, start):
    curve = losses(trained / f"mn-{start}" / "checkpoints")
    assert sum(curve[-5:]) / 5 < sum(curve[:5]) / 5 - 0.5


def test_the_run_and_its_published_module_are_scored_with_its_own_tokens(
    trained, base, small_corpus
):
    """In bits for each byte, which vocabularies share; the base's own tokens give other numbers."""
    module = ModuleStore(base / "modules").load("mn-random")
    scored, sample = open_base(str(base)), Sample(corpus=small_corpus, split="dev")
    encoder = encoder_of(module, scored.spec)
    text = read_text(small_corpus, "mn", "dev")[0]
    own, theirs = encoder.encode(text), scored.encoder.encode(text)
    assert own.token_ids.tolist() != theirs.token_ids.tolist()
    again = scored.place(tensors_of(module), ("mn",), sample, encoder)
    run = {m.name: m.value for m in read_scores(trained / "mn-random")}
    assert {m.name: m.value for m in again} == pytest.approx(run, rel=1e-4)
    bare = {m.name: m.value for m in scored.place({}, ("mn",), sample)}
    assert run["bits_per_byte"] < bare["bits_per_byte"]


def test_the_board_scores_it_beside_the_bare_base(trained, base, small_corpus, tmp_path):
    config = ScoreConfig(base=str(base), corpus=small_corpus, sentences=4, out=tmp_path / "b.json")
    rows = {row.module: row for row in score_published(config).rows if row.language == "mn"}
    assert {None, "mn-random", "mn-overlap"} <= rows.keys()
    bits = {name: next(m.value for m in row.metrics if m.name == "bits_per_byte")
            for name, row in rows.items()}  # fmt: skip
    assert max(bits["mn-random"], bits["mn-overlap"]) < bits[None]


def test_what_is_published_reads_as_it_was_trained(trained, base, tokenizer):
    module = ModuleStore(base / "modules").load("mn-overlap")
    about = module.manifest.vocabulary
    assert module.tokenizer == (tokenizer / "tokenizer.json").read_bytes()
    assert about.size == len(module.tensors["xpt.words"])
    assert about.mask_token == "<mask>"
    assert str(tokenizer) not in module.manifest.model_dump_json()
    spec = load_spec(base)
    encoder = TextEncoder(module.tokenizer, spec, about)
    ids = torch.from_numpy(encoder.encode("Монгол <mask> хот", masks=True).token_ids)
    assert encoder.base.mask_id == about.mask_id in ids
    _, run = METHODS["xpt"].read(trained / "mn-overlap" / "mn-overlap", load_base(base))
    slotted = SlottedBase(load_base(base)).eval()
    logits = []
    for tensors in (run, tensors_of(module)):
        named = {f"language.{name}": each for name, each in tensors.items()}
        with torch.no_grad(), slotted.using(FixedSource(named)):
            logits.append(slotted.model(input_ids=ids.unsqueeze(0)).logits)
    torch.testing.assert_close(*logits)
    assert logits[0].shape[-1] == about.size


def test_a_run_without_its_tokenizer_is_not_published(trained, base, tmp_path):
    import shutil

    shutil.copytree(trained / "mn-random", tmp_path / "run")
    (tmp_path / "run" / "mn-random" / "tokenizer.json").unlink()
    with pytest.raises(ModuleMismatch, match="mn-random brings no vocabulary"):
        export_module(tmp_path / "run", base)


@pytest.mark.parametrize(
    ("kind", "changes", "words"),
    [
        ("encoder", {"role": "task"}, "xpt: a vocabulary is a language's"),
        ("translator", {"source": "khk", "target": "eng"}, "xpt: a translator's decoder"),
    ],
)
def test_it_is_trained_only_where_it_has_a_meaning(kind, changes, words, small_corpus, tmp_path):
    make_base(tmp_path / "base", kind)
    task = {"name": "t", "kind": "classify", "languages": ["eng"], "files": "none"}
    extra = {"task": task} if "role" in changes else {"corpus": small_corpus}
    config = module_config(tmp_path, tmp_path / "base", "odd", method="xpt", **changes, **extra)
    with pytest.raises(ConfigError, match=words):
        train_module(config)
