"""XPT against a plain composition of Hugging Face modules, and where it is refused."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional

from adaptation.banks import banks_of, stack_banks
from adaptation.methods import METHODS
from adaptation.slot_sources import BankSource, FixedSource
from adaptation.slotted import SlottedBase
from adaptation.word_vectors import STARTS, Spelling, Transfer
from langmod.errors import BrokenModule, ConfigError, ModuleMismatch
from langmod.specs import ROW_TOLERANCE
from tests.adaptation.models import bert, inputs_of, module_for, xlmr
from tests.adaptation.references import Composed
from tests.bases import make_tokenizer

XPT = METHODS["xpt"]
KINDS = {"xlmr": xlmr, "bert": bert}


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    """A folder as `training tokenizer` leaves it."""
    folder = tmp_path_factory.mktemp("tokenizer")
    make_tokenizer(folder, "encoder")
    return folder


def own_module(base, tokens, seed):
    """A module of so many tokens, whose numbers are large enough to change answers."""
    generator = torch.Generator().manual_seed(seed)
    fresh = XPT.fresh(XPT.Config(), base, generator)
    found = {}
    for name, tensor in fresh.items():
        shape = (tokens, *tensor.shape[1:]) if name in ("xpt.words", "xpt.bias") else tensor.shape
        norm = 1.0 if name.endswith("LayerNorm.weight") else 0.0
        found[name] = norm + torch.randn(shape, generator=generator) * 0.2
    return found


def answers(slotted, source, inputs):
    with torch.no_grad(), slotted.using(source):
        hidden = slotted.architecture.backbone(**inputs).last_hidden_state
        return hidden, slotted.model(**inputs).logits


def language(tensors):
    return FixedSource({f"language.{name}": tensor for name, tensor in tensors.items()})


@pytest.mark.parametrize("tokens", [90, 350])
@pytest.mark.parametrize("kind", KINDS)
def test_a_module_equals_a_plain_composition(kind, tokens):
    base = KINDS[kind]()
    tensors = own_module(base, tokens, 3)
    inputs = inputs_of(base)
    inputs["input_ids"] = inputs["input_ids"] * 11 % tokens
    mask = inputs["attention_mask"].bool()
    with torch.no_grad():
        found = Composed(KINDS[kind](), tensors)(**inputs)
    hidden, logits = found.last_hidden_state, found.logits
    slotted = SlottedBase(base)
    ours = answers(slotted, language(tensors), inputs)
    assert ours[1].shape[-1] == tokens
    torch.testing.assert_close(ours[0][mask], hidden[mask], rtol=0, atol=1e-5)
    torch.testing.assert_close(ours[1][mask], logits[mask], rtol=0, atol=1e-5)
    bare = answers(slotted, None, inputs | {"input_ids": inputs["input_ids"] % 200})
    assert (bare[0] - hidden)[mask].abs().max() > 0.1


@pytest.mark.parametrize("kind", KINDS)
def test_vocabularies_of_any_size_share_a_batch(kind):
    base = KINDS[kind]()
    slotted = SlottedBase(base)
    small, large = own_module(base, 60, 1), own_module(base, 420, 2)
    lora = module_for(base, METHODS["lora"], METHODS["lora"].Config(), 3)
    inputs = inputs_of(base)
    sizes = torch.tensor([420, 200, 60, 200]).unsqueeze(1)
    inputs["input_ids"] = inputs["input_ids"] * 13 % sizes
    alone = [answers(slotted, source, {k: v[row : row + 1] for k, v in inputs.items()})
             for row, source in enumerate([language(large), None, language(small),
                                           language(lora)])]  # fmt: skip
    modules = [("language", each) for each in (small, lora, large)]
    banks = stack_banks(banks_of(base), modules)
    slots = torch.tensor([[3, 0], [0, 0], [1, 0], [2, 0]])
    hidden, logits = answers(slotted, BankSource(banks, slots), inputs)
    assert logits.shape[-1] == 420
    for row, (own_hidden, own_logits) in enumerate(alone):
        size = own_logits.shape[-1]
        mask = inputs["attention_mask"][row].bool()
        pairs = [(hidden[row], own_hidden[0]), (logits[row, :, :size], own_logits[0])]
        for together, by_itself in pairs:
            torch.testing.assert_close(together[mask], by_itself[mask], rtol=0, atol=ROW_TOLERANCE)
        assert (logits[row, :, size:] == float("-inf")).all()


def test_tokens_of_the_same_spelling_start_at_the_bases_vectors():
    own = Spelling({"<s>": 0, "<m>": 1, "a": 2, "b": 3, "c": 4}, {"cls": 0, "mask": 1})
    theirs = Spelling({"b": 0, "[C]": 1, "a": 2, "[M]": 3}, {"bos": 1, "mask": 3})
    table, bias = torch.randn(4, 3), torch.randn(4)
    transfer = Transfer(own, theirs, table, bias)
    found = {name: start(transfer, torch.Generator().manual_seed(1))
             for name, start in STARTS.items()}  # fmt: skip
    for words, biases in found.values():
        torch.testing.assert_close(words[[0, 1]], table[[1, 3]])
        torch.testing.assert_close(biases[[0, 1]], bias[[1, 3]])
        assert not (words[4].unsqueeze(0) == table).any()
        assert biases[4] == 0
    torch.testing.assert_close(found["overlap"][0][[2, 3]], table[[2, 0]])
    torch.testing.assert_close(found["overlap"][1][[2, 3]], bias[[2, 0]])
    assert (found["random"][0][[2, 3]] != table[[2, 0]]).all()


@pytest.mark.parametrize("kind", KINDS)
def test_fresh_layers_hand_on_nearly_what_they_take(kind):
    """With the base's own words the fresh module knows most of what the base does."""
    base = KINDS[kind]()
    fresh = XPT.fresh(XPT.Config(start="overlap"), base, torch.Generator().manual_seed(1))
    torch.testing.assert_close(fresh["xpt.words"], base.model.get_input_embeddings().weight.data)
    inputs = inputs_of(base)
    slotted = SlottedBase(base)
    bare, ours = (answers(slotted, each, inputs)[0] for each in (None, language(fresh)))
    other = own_module(base, 200, 5)
    far = answers(slotted, language(other), inputs)[0]
    mask = inputs["attention_mask"].bool()
    near = functional.cosine_similarity(bare[mask], ours[mask], dim=-1).mean()
    assert near > 0.75 > functional.cosine_similarity(bare[mask], far[mask], dim=-1).mean()


def test_gradients_reach_every_tensor_and_never_the_base():
    base = xlmr()
    base.model.requires_grad_(False)
    tensors = {name: each.requires_grad_() for name, each in own_module(base, 200, 4).items()}
    slotted = SlottedBase(base)
    with slotted.using(language(tensors)):
        slotted.model(**inputs_of(base)).logits.square().sum().backward()
    unmoved = {name for name, each in tensors.items() if not each.grad.abs().sum() > 0}
    assert unmoved == set()
    assert all(parameter.grad is None for parameter in base.model.parameters())


def test_a_checkpoint_brings_its_vocabulary(tokenizer, tmp_path):
    base = xlmr()
    config = XPT.Config(tokenizer=str(tokenizer), start="overlap")
    tensors = XPT.fresh(config, base, torch.Generator().manual_seed(1))
    XPT.write(tmp_path / "mine", config, tensors, base)
    found, _ = XPT.read(tmp_path / "mine", base)
    about, text = XPT.vocabulary(tmp_path / "mine")
    assert found.start == "overlap"
    assert str(tokenizer) not in (tmp_path / "mine" / "xpt_config.json").read_text()
    assert text == (tokenizer / "tokenizer.json").read_bytes()
    assert about.size == len(tensors["xpt.words"]) == len(tensors["xpt.bias"])
    assert (about.pad_id, about.eos_id, about.mask_token) == (1, 2, "<mask>")


@pytest.mark.parametrize("damage", ["no tokenizer.json", "no vocabulary"])
def test_a_checkpoint_without_its_vocabulary_is_refused(damage, tokenizer, tmp_path):
    base, config = xlmr(), XPT.Config(tokenizer=str(tokenizer))
    tensors = XPT.fresh(config, base, torch.Generator().manual_seed(1))
    XPT.write(tmp_path / "mine", config, tensors, base)
    if damage == "no tokenizer.json":
        (tmp_path / "mine" / "tokenizer.json").unlink()
    else:
        (tmp_path / "mine" / "xpt_config.json").write_text('{"start": "random"}')
    with pytest.raises(BrokenModule, match=r"mine brings no vocabulary \(tokenizer.json"):
        XPT.vocabulary(tmp_path / "mine")


def test_a_checkpoint_of_another_shape_is_refused_with_every_fault(tokenizer, tmp_path):
    base, config = xlmr(), XPT.Config(tokenizer=str(tokenizer))
    tensors = XPT.fresh(config, base, torch.Generator().manual_seed(1))
    XPT.write(tmp_path / "mine", config, tensors, base)
    with pytest.raises(ModuleMismatch, match=r"xpt.words has shape \[\d+, 32\], .* 16\]") as wide:
        XPT.read(tmp_path / "mine", xlmr(hidden_size=16))
    assert len(wide.value.details["faults"]) > 30
    state = load_file(tmp_path / "mine" / "xpt.safetensors")
    state["extra"] = state.pop("bias")
    save_file(state, tmp_path / "mine" / "xpt.safetensors")
    with pytest.raises(ModuleMismatch, match=r"xpt.bias is missing; xpt.extra is no part"):
        XPT.read(tmp_path / "mine", base)
    (tmp_path / "mine" / "xpt_config.json").write_text(json.dumps([]))
    with pytest.raises(BrokenModule, match="mine is no XPT checkpoint"):
        XPT.read(tmp_path / "mine", base)


@pytest.mark.parametrize(("kind", "role"), [("encoder", "task"), ("translator", "language")])
def test_it_has_no_meaning_elsewhere(kind, role):
    assert XPT.unfit("encoder", "language") is None
    assert XPT.unfit(kind, role).startswith("xpt: a ")


def test_a_tokenizer_that_is_none_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="tokenizer: there is no folder nowhere"):
        XPT.fresh(XPT.Config(tokenizer="nowhere"), xlmr(), torch.Generator())
    with pytest.raises(ConfigError, match=r"tokenizer: .* holds none"):
        XPT.fresh(XPT.Config(tokenizer=str(tmp_path)), xlmr(), torch.Generator())
