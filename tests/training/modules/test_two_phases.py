"""New vocabularies, encoders of others and the two phases of XPT, at nano size."""

import pytest
import torch
from transformers import AutoTokenizer, BertConfig, BertModel, BertTokenizerFast

from adaptation.architectures import load_base
from adaptation.bases import load_spec
from adaptation.methods import METHODS
from export.module import export_module
from langmod.errors import ConfigError
from langmod.specs import ModuleRun
from tests.text import SENTENCES
from tests.training.runs import QUICK, base_config, module_config
from training.data.corpus import read_text
from training.evaluation.measure import MeasureConfig, measure
from training.models.adopt import AdoptConfig, adopt_encoder
from training.models.base import train_base
from training.models.new_vocabulary import VocabularyConfig, replace_vocabulary
from training.modules.module import train_module


@pytest.fixture(scope="module")
def english(tmp_path_factory):
    """A BERT without a head, as sentence encoders are published, under another's name."""
    folder = tmp_path_factory.mktemp("english")
    words = sorted({each for line in SENTENCES["en"] for each in line.lower().split()})
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words, "##x"]
    (folder / "vocab.txt").write_text("\n".join(vocabulary), encoding="utf-8")
    BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    settings = BertConfig(vocab_size=len(vocabulary), intermediate_size=64, **shape)
    BertModel(settings, add_pooling_layer=False).save_pretrained(folder)
    return folder


def adopted(english, folder):
    settings = {"name": "english", "source": str(english), "languages": ["eng"]}
    adopt_encoder(AdoptConfig.model_validate(settings | {"licence": "Apache-2.0", "out": folder}))
    return folder


def vocabulary(base, tokenizer, folder, **changes):
    values = {"name": "words", "base": str(base), "tokenizer": tokenizer, "language": "khk"}
    replace_vocabulary(VocabularyConfig.model_validate(values | {"out": folder} | changes))
    return folder


def test_an_encoder_without_a_head_becomes_a_base(english, tmp_path):
    folder = adopted(english, tmp_path / "base")
    model, theirs = load_base(folder).model, BertModel.from_pretrained(english)
    assert load_spec(folder).max_tokens == 128
    assert model.config.hidden_dropout_prob == 0
    ids = torch.tensor([[2, 6, 7, 3]])
    with torch.no_grad():
        found, wanted = model.eval().bert(ids)[0], theirs.eval()(ids)[0]
    torch.testing.assert_close(found, wanted, atol=5e-3, rtol=5e-3)
    transform = model.cls.predictions.transform.dense
    torch.testing.assert_close(transform.weight, torch.eye(32))
    assert model.cls.predictions.decoder.weight is model.get_input_embeddings().weight
    nothing = AdoptConfig(name="none", languages=("eng",), licence="x", out=tmp_path / "none")
    with pytest.raises(ConfigError, match="give `source` or `package`"):
        adopt_encoder(nothing)


@pytest.mark.parametrize("start", ["random", "overlap", "focus", "procrustes"])
def test_new_words_stand_on_the_same_layers(start, base, tokenizer, small_corpus, tmp_path):
    corpus = {"corpus": small_corpus} if start in ("focus", "procrustes") else {}
    folder = vocabulary(base, tokenizer, tmp_path / start, start=start, **corpus)
    new, old = load_base(folder).model, load_base(base).model
    layer = "roberta.encoder.layer.1.output.dense.weight"
    torch.testing.assert_close(new.get_parameter(layer), old.get_parameter(layer))
    words = new.get_input_embeddings().weight
    names = AutoTokenizer.from_pretrained(tokenizer).get_vocab()
    theirs = AutoTokenizer.from_pretrained(base).get_vocab()
    assert words.shape == (len(names), old.config.hidden_size)
    before = old.get_input_embeddings().weight
    torch.testing.assert_close(words[names["<s>"]], before[theirs["<s>"]])
    known = AutoTokenizer.from_pretrained(tokenizer)
    text = {
        each for line in read_text(small_corpus, "mn", "train") for each in known.tokenize(line)
    }
    both = sorted(text & theirs.keys())
    pairs = [(words[names[each]], before[theirs[each]]) for each in both]
    alike = {torch.allclose(*pair, atol=2e-3) for pair in pairs}
    assert alike == {start in ("overlap", "focus")}


def test_blank_layers_are_drawn_anew(base, tokenizer, tmp_path):
    folders = [
        vocabulary(base, tokenizer, tmp_path / str(seed), blank=True, seed=seed) for seed in (1, 2)
    ]
    layer = "roberta.encoder.layer.1.output.dense.weight"
    found = [load_base(each).model.get_parameter(layer) for each in (*folders, base)]
    assert not torch.allclose(found[0], found[2])
    assert not torch.allclose(found[0], found[1])


def test_a_start_from_text_needs_it(base, tokenizer, tmp_path):
    with pytest.raises(ConfigError, match="start focus needs `corpus`"):
        vocabulary(base, tokenizer, tmp_path / "none", start="focus")


def phase(folder, base, name, corpus, **changes):
    settings = {"tokenizer": str(base), "start": "overlap"}
    return module_config(
        folder, changes.pop("under", base), name, language="mn", corpus=corpus, method="xpt",
        method_config=settings, score=False, **changes,
    )  # fmt: skip


def test_the_second_phase_goes_on_with_the_first_and_moves_the_base(
    english, tokenizer, small_corpus, tmp_path
):
    words = vocabulary(adopted(english, tmp_path / "e"), tokenizer, tmp_path / "words")
    train_module(phase(tmp_path, words, "first", small_corpus))
    second = phase(
        tmp_path, words, "second", small_corpus, train="both", start_from=tmp_path / "first",
        optimisation=QUICK | {"steps": 2, "learning_rate": 1e-3, "save_every": 0},
    )  # fmt: skip
    run = train_module(second)
    assert not list((tmp_path / "second" / "checkpoints").glob("checkpoint-*"))
    assert list((tmp_path / "first" / "checkpoints").glob("checkpoint-*"))
    first = ModuleRun.load(tmp_path / "first")
    assert run.trained_parameters > first.trained_parameters
    kept, before = load_base(tmp_path / "second" / "base").model, load_base(words).model
    layer = "bert.encoder.layer.0.output.dense.weight"
    assert not torch.allclose(kept.get_parameter(layer), before.get_parameter(layer), atol=1e-5)
    torch.testing.assert_close(  # what no row reads stays
        kept.get_input_embeddings().weight, before.get_input_embeddings().weight
    )

    def bits(name):
        found = measure(
            MeasureConfig(model=tmp_path / name, corpus=small_corpus, languages=["khk"],
                          sentences=3, by_word=False, out=tmp_path / "m")
        )  # fmt: skip
        assert {m.name for m in found.metrics} == {"pppl", "bits_per_byte", "unknown_rate"}
        return next(m.value for m in found.metrics if m.name == "bits_per_byte")

    assert bits("second") < bits("first")
    with pytest.raises(ConfigError, match=r"is a baseline \(train: both\), not a module"):
        export_module(tmp_path / "second", words)
    lora = module_config(tmp_path, words, "lora", language="mn", corpus=small_corpus,
                         method="lora", start_from=tmp_path / "first")  # fmt: skip
    with pytest.raises(ConfigError, match="is a xpt run that trained its module; wanted a lora"):
        train_module(lora)


def test_words_beside_the_bases_own_answer_while_they_learn(base, small_corpus, tmp_path):
    """Without a tokenizer of its own a module has other vectors for the base's tokens."""
    config = module_config(
        tmp_path, base, "same", language="mn", corpus=small_corpus, method="xpt",
        method_config={"start": "overlap"}, score=False,
    )  # fmt: skip
    train_module(config)
    architecture = load_base(base)
    _, tensors = METHODS["xpt"].read(tmp_path / "same" / "same", architecture)
    before = architecture.vocabulary.get_parameter("bias")
    assert (tensors["xpt.bias"] - before).abs().max() > 1e-3, "its bias made the logits"


def test_words_alone_learn(base, tokenizer, small_corpus, tmp_path):
    folder = vocabulary(base, tokenizer, tmp_path / "words")
    train_base(
        base_config(tmp_path, small_corpus, None, "encoder", start_from=str(folder),
                    languages=("khk",), learns="words", optimisation=QUICK | {"steps": 2})
    )  # fmt: skip
    after, before = (load_base(each).model for each in (tmp_path / "encoder", folder))
    for name, tensor in after.state_dict().items():
        if tensor.is_floating_point():
            moved = not torch.allclose(tensor, before.state_dict()[name], atol=1e-6)
            words = "word_embeddings" in name or name.startswith(
                ("lm_head.decoder", "lm_head.bias")
            )
            assert moved == words, name
