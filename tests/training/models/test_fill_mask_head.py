"""A head for words over several layers: trained, kept beside its base, exported and served."""

import asyncio
import json
import math

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoTokenizer

from adaptation.architectures import load_base
from adaptation.architectures.vocabulary_head import HEAD_FILE
from adaptation.bases import load_spec
from adaptation.methods import METHODS
from adaptation.slot_sources import FixedSource
from adaptation.slotted import SlottedBase
from export.graph import export_graphs
from langmod.errors import ConfigError
from service.encoder import EncoderEngine
from service.schemas import FillMaskRequest
from service.settings import Settings
from tests.bases import make_base
from tests.text import SENTENCES
from tests.training.runs import LANGUAGES, QUICK
from training.models.fill_mask_head import FillMaskHeadConfig, train_fill_mask_head
from training.scoring.pseudo_perplexity import summed_nats


def config_of(base, corpus, out, **changes):
    values = {"name": "head", "base": base, "corpus": corpus, "languages": LANGUAGES, "out": out,
              "layers": (1, 2), "block_tokens": 48, "optimisation": QUICK}  # fmt: skip
    return FillMaskHeadConfig.model_validate(values | changes)


@pytest.fixture(scope="module")
def trained(small_corpus, tmp_path_factory):
    """A models folder with a base whose head reads both layers, its graphs, and the run."""
    models = tmp_path_factory.mktemp("models")
    base = models / "nano"
    before = make_base(base, "encoder")
    train_fill_mask_head(config_of(base, small_corpus, models / "run"))
    export_graphs(base, "fp32")
    return base, models / "run", before


def masked(base):
    tokenizer = AutoTokenizer.from_pretrained(base)
    ids = tokenizer(SENTENCES["ko"][0], return_tensors="pt")["input_ids"]
    ids[0, 2] = tokenizer.mask_token_id
    return ids


def test_the_head_learns_and_the_base_stays_itself(trained):
    base, run, before = trained
    spec = load_spec(base)
    assert (spec.digest, spec.mixed_layers) == (before.digest, (1, 2))
    (state,) = run.glob("checkpoints/checkpoint-8/trainer_state.json")
    losses = [
        each["loss"] for each in json.loads(state.read_text())["log_history"] if "loss" in each
    ]
    assert losses[-1] < losses[0]
    architecture = load_base(base)
    pieces = architecture.pieces
    assert 0 < len(pieces) < architecture.model.config.vocab_size
    width = architecture.width
    assert load_file(base / HEAD_FILE)["mix.map.weight"].shape == (width, 2 * width)


def test_a_head_reads_all_of_its_layers(trained):
    architecture = load_base(trained[0])
    ids = masked(trained[0])
    with torch.no_grad():
        whole = architecture.model.eval()(input_ids=ids).logits
        architecture.mix.map.weight[:, : architecture.width] = 0
        assert not torch.allclose(architecture.model(input_ids=ids).logits, whole)


def test_logits_are_of_the_known_pieces(trained):
    architecture = load_base(trained[0])
    pieces, words = architecture.pieces, architecture.model.get_input_embeddings().weight
    torch.testing.assert_close(architecture.vocabulary.weight, words[pieces])
    with torch.no_grad():
        logits = architecture.model.eval()(input_ids=masked(trained[0])).logits
    assert logits.shape[-1] == len(pieces) < len(words)
    asked = torch.tensor([int(pieces[3]), int(pieces[-1])])
    assert architecture.places(asked, -100).tolist() == [3, len(pieces) - 1]
    others = sorted({*range(len(words))} - {*pieces.tolist()})
    assert set(architecture.places(torch.tensor(others), -100).tolist()) == {-100}


def test_a_text_of_unknown_pieces_costs_their_share(trained):
    architecture = load_base(trained[0])
    pieces, size = architecture.pieces, architecture.model.config.vocab_size
    logits = torch.zeros(1, len(pieces))
    chances = [
        math.exp(-summed_nats(logits, torch.tensor([token]), architecture)) for token in range(size)
    ]
    assert sum(chances) == pytest.approx(1, abs=1e-5)
    assert min(chances) < max(chances)


def test_rows_behind_a_prompt_read_the_layers_of_their_tokens(trained):
    """A prompt of zeros is no position, so that it changes nothing; another one does."""
    architecture = load_base(trained[0])
    slotted = SlottedBase(architecture).eval()
    prompt = METHODS["soft_prompt"]
    ids = masked(trained[0])
    settings = prompt.Config(num_virtual_tokens=3)
    tensors = prompt.fresh(settings, architecture, torch.Generator().manual_seed(0))
    with torch.no_grad():
        bare = slotted.model(input_ids=ids).logits
        for scale, same in ((0.0, True), (1.0, False)):
            named = {f"language.{name}": each.detach() * scale for name, each in tensors.items()}
            with slotted.using(FixedSource(named)):
                found = slotted.model(input_ids=ids).logits
            assert found.shape == bare.shape
            assert torch.allclose(found, bare, atol=1e-4) == same


def test_the_service_answers_as_torch_does(trained):
    base = trained[0]
    engine = EncoderEngine(base, Settings(models=base.parent, precision="fp32", threads=1), None)
    text = SENTENCES["ko"][0].split()
    text = " ".join([text[0], "<mask>", *text[2:]])
    request = FillMaskRequest(texts=[text], language="ko", top_k=5)
    (answer,) = asyncio.run(engine.ask("fill_mask", request))
    architecture = load_base(base)
    encoded = engine.encoder.encode(text, masks=True).token_ids
    place = int(np.flatnonzero(encoded == engine.base.mask_id)[0])
    with torch.no_grad():
        logits = architecture.model.eval()(input_ids=torch.from_numpy(encoded)[None]).logits
    ranked = logits[0, place].softmax(-1).sort(descending=True)
    known = engine.encoder.control_ids
    best = [
        (float(score), engine.encoder.piece(token)[0])
        for score, token in zip(
            ranked.values, architecture.pieces[ranked.indices].tolist(), strict=True
        )
        if token not in known
    ][:5]
    engine.close()
    found = [(each["score"], each["token"]) for each in answer["masks"][0]]
    np.testing.assert_allclose([each[0] for each in found], [each[0] for each in best], atol=1e-4)
    assert {each[1] for each in found} == {each[1] for each in best}


def test_layers_that_a_base_has_not_are_refused(trained, small_corpus, tmp_path):
    base = trained[0]
    for layers, message in (((2, 1), "layers must rise to 2"), ((1,), "layers must rise to 2")):
        with pytest.raises(ConfigError, match=message):
            train_fill_mask_head(config_of(base, small_corpus, tmp_path, layers=layers))
    with pytest.raises(ConfigError, match=r"reads layers \(1, 2\); remove it"):
        train_fill_mask_head(config_of(base, small_corpus, tmp_path, layers=(2,)))
