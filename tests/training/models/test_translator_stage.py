"""A stage of a translator: only what was asked for learns, and a killed run goes on as it was."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoTokenizer

from langmod.errors import ConfigError
from tests.halves import make_halves
from tests.text import SENTENCES
from training.loop.watching import TokenRate
from training.models.halves import load_halves, load_learned
from training.models.translator import LEARNED_FILE, TranslatorConfig, train_translator
from training.scoring.dev_curve import DevCurve

MAP = r"encoder\.(gain|shift|project)"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("stage")
    make_halves(place / "base")
    corpus = place / "corpus"
    pairs = list(zip(SENTENCES["en"], SENTENCES["mn"], strict=True))
    lines = [f"{en}\t{mn}\t{'short' if n % 2 else 'flores'}" for n, (en, mn) in enumerate(pairs)]
    for split in ("train", "dev"):
        (corpus / "parallel" / "en-mn").mkdir(parents=True, exist_ok=True)
        (corpus / "parallel" / "en-mn" / f"{split}.tsv").write_text(
            "\n".join(lines) + "\n", "utf-8"
        )
    (corpus / "text" / "en").mkdir(parents=True)
    (corpus / "text" / "en" / "train.txt").write_text("\n".join(SENTENCES["en"]) + "\n", "utf-8")
    (corpus / "card.json").write_text('{"digest": "0123456789abcdef"}', "utf-8")
    return place


def config_of(place, run, steps, **changes):
    settings = {
        "name": run,
        "base": place / "base",
        "learns": {MAP: 2.0, "encoder_attn": 1.0},
        "data": {
            "corpus": place / "corpus",
            "languages": ["mn"],
            "into_pivot": 0.5,
            "kinds": {"short": ["short"]},
            "shares": {"short": 0.5, "running": 0.5},
            "longest": [60, 70],
            "denoising": {"languages": ["en"], "share": 0.2, "characters": [5, 200]},
        },
        "pools": {"pairs": 40, "batches": 4},
        "frequent": 50,
        "dev": {"corpus": place / "corpus", "directions": ["mn-en", "en-mn"], "sentences": 2,
                "minutes": 600, "longest": 5},
        "run_folder": place / run,
        "save_minutes": 0,
        "tokens": place / "tokens",
        "optimisation": {"steps": steps, "batch_size": 1, "learning_rate": 0.01, "warmup": 0,
                         "schedule": "constant_with_warmup", "save_every": 0, "log_every": 1,
                         "bf16": False},
    }  # fmt: skip
    return TranslatorConfig.model_validate(settings | changes)


def test_only_what_was_asked_for_learns(place):
    learned = load_file(train_translator(config_of(place, "few", 3)))
    assert all("encoder_attn" in name or name.startswith("encoder.") for name in learned)
    assert "encoder.project.weight" in learned
    translator, _, _ = load_halves(place / "base")
    before = {name: tensor.clone() for name, tensor in translator.state_dict().items()}
    load_learned(translator, place / "few" / LEARNED_FILE)
    changed = {n for n, t in translator.state_dict().items() if not torch.equal(t, before[n])}
    without_effect = {name for name in learned if name.endswith("k_proj.bias")}  # softmax drops it
    assert learned.keys() - without_effect <= changed <= learned.keys()
    curve = json.loads((place / "few" / "dev.json").read_text())
    assert curve[-1]["step"] == 3
    assert set(curve[-1]["chrf++"]) == {"mn-en", "en-mn"}
    assert (place / "few" / "dev.png").is_file()


def test_a_killed_run_goes_on_as_if_nothing_had_been(place):
    whole = load_file(train_translator(config_of(place, "whole", 6)))
    train_translator(config_of(place, "cut", 4))
    cut = load_file(train_translator(config_of(place, "cut", 6)))
    for name, tensor in whole.items():
        torch.testing.assert_close(cut[name], tensor, rtol=1e-3, atol=1e-4)
    history = json.loads(next((place / "cut").glob("checkpoint-6/trainer_state.json")).read_text())[
        "log_history"
    ]
    tokens = [entry["tokens"] for entry in history if "tokens" in entry]
    assert tokens == sorted(set(tokens))
    assert len(tokens) == 6
    shutil.rmtree(place / "cut")


def test_rows_of_words_that_are_kept_stay(place):
    config = config_of(place, "words", 2, learns={"embed_tokens": 1.0}, kept_words=300)
    (words,) = load_file(train_translator(config)).values()
    translator, _, _ = load_halves(place / "base")
    before = translator.decoder.get_input_embeddings().weight
    assert torch.equal(words[:300].float(), before[:300])
    assert not torch.equal(words[300:].float(), before[300:])


def test_a_batch_is_translated_as_hugging_face_does_each_text(place):
    translator, source, target = load_halves(place / "base")
    settings = config_of(place, "curve", 1).dev.model_copy(update={"longest": 12})
    language = target.token_to_id("<|mn|>")
    curve = DevCurve(settings, place, (translator.eval(), source, target), {}, TokenRate(None))
    texts = [SENTENCES["mn"][0][:9], *SENTENCES["mn"]]
    tokenizer = AutoTokenizer.from_pretrained(place / "base")
    prompt = torch.tensor([[translator.config.decoder_start_token_id, language]])
    expected = []
    for text in texts:
        read = tokenizer(text, return_tensors="pt")
        out = translator.generate(
            input_ids=read["input_ids"],
            attention_mask=read["attention_mask"],
            decoder_input_ids=prompt,
            max_new_tokens=12,
            no_repeat_ngram_size=3,
            do_sample=False,
        )
        expected.append(target.decode(out[0, 2:].tolist(), skip_special_tokens=True).strip())
    assert curve.translated(texts, language) == expected
    assert len(set(expected)) > 1


def test_an_expression_that_matches_nothing_is_refused(place):
    with pytest.raises(ConfigError, match="no parameter's name matches 'decoder9'"):
        train_translator(config_of(place, "wrong", 1, learns={"decoder9": 1.0}))


def test_a_kind_without_a_share_is_refused(place):
    config = config_of(place, "wrong", 1)
    data = config.data.model_copy(update={"shares": {"running": 1.0}})
    with pytest.raises(ConfigError, match="short"):
        train_translator(config.model_copy(update={"data": data}))
