"""Soft prompts in torch: as PEFT reads them, in rows of all sorts, and how they begin."""

import itertools
import json
from functools import partial

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer, XLMRobertaForSequenceClassification

from adaptation.architectures import load_base
from adaptation.banks import banks_of, stack_banks
from adaptation.methods import METHODS
from adaptation.rows import Rows, prompt_length
from adaptation.slot_sources import BankSource, FixedSource
from adaptation.slotted import SlottedBase
from export.heads import read_head
from langmod.errors import BrokenModule, ConfigError, ModuleMismatch
from langmod.specs import PROMPT, ROLES, ROW_TOLERANCE
from tests.adaptation import models
from tests.adaptation.models import inputs_of, module_for

PEFT_TOLERANCE = 1e-5
METHOD = METHODS["soft_prompt"]
P = 6
CONFIG = METHOD.Config(num_virtual_tokens=P)


BASES = {kind: partial(models.strong, make) for kind, make in models.BASES.items()}
xlmr, m2m100 = BASES["xlmr"], BASES["m2m100"]


def prompt(base, seed, length=P):
    return module_for(base, METHOD, METHOD.Config(num_virtual_tokens=length), seed)


def named(**roles):
    return {f"{role}.{name}": each for role, own in roles.items() for name, each in own.items()}


def logits(slotted, source, inputs):
    with torch.no_grad(), slotted.using(source):
        return slotted.model(**inputs).logits


def tokens_alone(values, inputs):
    """The places of a row's tokens: what stands at padding means nothing."""
    return values[inputs["attention_mask"].bool()]


@pytest.mark.parametrize("kind", BASES)
def test_rows_are_read_as_peft_reads_them(kind, tmp_path):
    from peft import PeftModel

    base = BASES[kind]()
    inputs, tensors = inputs_of(base), prompt(base, 8)
    METHOD.write(tmp_path / "mine", CONFIG, tensors, base)
    theirs = PeftModel.from_pretrained(BASES[kind]().model, tmp_path / "mine").eval()
    with torch.no_grad():
        expected = theirs(**inputs).logits
    slotted = SlottedBase(base)
    ours = logits(slotted, FixedSource(named(language=tensors)), inputs)
    bare = logits(slotted, None, inputs)
    if base.kind == "encoder":
        assert expected.shape[1] == P + ours.shape[1]
        found = [tokens_alone(each, inputs) for each in (ours, expected[:, P:], bare)]
        ours, expected, bare = found
    assert (bare - expected).abs().max() > 1e-2
    torch.testing.assert_close(ours, expected, rtol=0, atol=PEFT_TOLERANCE)


@pytest.mark.parametrize("kind", ["xlmr", "bert"])
def test_a_language_prompt_stands_before_a_task_prompt(kind):
    base = BASES[kind]()
    inputs = inputs_of(base)
    language, task = prompt(base, 1, 3), prompt(base, 2, 5)
    ids, mask = inputs["input_ids"], inputs["attention_mask"]
    front = torch.cat([language[PROMPT], task[PROMPT]]).expand(len(ids), -1, -1)
    whole = {"attention_mask": torch.cat([mask.new_ones(len(ids), 8), mask], 1)}
    with torch.no_grad():
        words = torch.cat([front, base.words(ids)], 1)
        expected = base.model(inputs_embeds=words, **whole).logits[:, 8:]
    slotted = SlottedBase(base)
    both = logits(slotted, FixedSource(named(language=language, task=task)), inputs)
    swapped = logits(slotted, FixedSource(named(language=task, task=language)), inputs)
    assert tokens_alone(both - swapped, inputs).abs().max() > 1e-2
    ours, expected = (tokens_alone(each, inputs) for each in (both, expected))
    torch.testing.assert_close(ours, expected, rtol=0, atol=PEFT_TOLERANCE)


@pytest.mark.parametrize("kind", BASES)
def test_prompts_of_all_lengths_share_a_batch(kind):
    base = BASES[kind]()
    inputs = inputs_of(base)
    slotted = SlottedBase(base)
    short, long, task = prompt(base, 1, 2), prompt(base, 2, 9), prompt(base, 3, 4)
    alone = [
        logits(slotted, source, inputs)
        for source in (
            None,
            FixedSource(named(language=short)),
            FixedSource(named(language=long, task=task)),
            FixedSource(named(task=task)),
        )
    ]
    for one, other in itertools.pairwise(alone):
        assert (one - other).abs().max() > 1e-2
    banks = stack_banks(banks_of(base), [("language", short), ("language", long), ("task", task)])
    slots = torch.tensor([[0, 0], [1, 0], [2, 1], [0, 1]])
    mixed = logits(slotted, BankSource(banks, slots), inputs)
    for row, each in enumerate(alone):
        length = inputs["attention_mask"][row].sum() if base.kind == "encoder" else None
        torch.testing.assert_close(
            mixed[row, :length], each[row, :length], rtol=0, atol=ROW_TOLERANCE
        )


def test_a_row_does_not_feel_its_padding():
    base = xlmr()
    inputs = inputs_of(base)
    slotted = SlottedBase(base)
    source = FixedSource(named(language=prompt(base, 1)))
    together = logits(slotted, source, inputs)
    for row, length in enumerate(inputs["attention_mask"].sum(1)):
        one = {name: each[row : row + 1, :length] for name, each in inputs.items()}
        alone = logits(slotted, source, one)[0]
        torch.testing.assert_close(together[row, :length], alone, rtol=0, atol=ROW_TOLERANCE)


def test_the_six_configurations_of_the_paper_share_a_batch():
    """Task {adapter, prompt} on language {none, adapter, prompt}, and every other method beside."""
    base = xlmr()
    slotted = SlottedBase(base)
    adapter = METHODS["bottleneck"]
    languages = [{}, module_for(base, adapter, adapter.Config(), 1), prompt(base, 2, 5)]
    tasks = [module_for(base, adapter, adapter.Config(), 3), prompt(base, 4, 7)]
    others = [module_for(base, each, each.Config(), 5) for each in METHODS.values()]
    pairs = [(language, task) for language in languages for task in tasks]
    pairs += [(other, tasks[1]) for other in others]
    inputs = inputs_of(base, rows=len(pairs), tokens=len(pairs) + 3)
    alone = [
        logits(slotted, FixedSource(named(language=language, task=task)), inputs)
        for language, task in pairs
    ]
    loaded = [*languages[1:], *others]
    slot = {id(each): place for group in (loaded, tasks) for place, each in enumerate(group, 1)}
    modules = [("language", each) for each in loaded] + [("task", each) for each in tasks]
    banks = stack_banks(banks_of(base), modules)
    slots = torch.tensor([[slot.get(id(each), 0) for each in pair] for pair in pairs])
    mixed = logits(slotted, BankSource(banks, slots), inputs)
    for row, own in enumerate(alone):
        length = inputs["attention_mask"][row].sum()
        others_differ = [(own[row] - each[row]).abs().max() > 1e-3 for each in alone]
        assert sum(others_differ) == len(alone) - 1
        torch.testing.assert_close(
            mixed[row, :length], own[row, :length], rtol=0, atol=ROW_TOLERANCE
        )


def test_token_types_stay_with_their_tokens():
    base = BASES["bert"]()
    inputs = inputs_of(base)
    inputs["token_type_ids"] = (torch.arange(9) > 4).long().expand(4, -1) * inputs["attention_mask"]
    slotted, vectors = SlottedBase(base), prompt(base, 1)
    source = FixedSource(named(task=vectors))
    ours = logits(slotted, source, inputs)
    untyped = logits(slotted, source, inputs | {"token_type_ids": torch.zeros(4, 9).long()})
    assert tokens_alone(ours - untyped, inputs).abs().max() > 1e-3
    types = torch.cat([torch.zeros(4, P).long(), inputs["token_type_ids"]], 1)
    mask = torch.cat([torch.ones(4, P).long(), inputs["attention_mask"]], 1)
    with torch.no_grad():
        words = torch.cat([vectors[PROMPT].expand(4, -1, -1), base.words(inputs["input_ids"])], 1)
        expected = base.model(inputs_embeds=words, attention_mask=mask, token_type_ids=types).logits
    ours, expected = (tokens_alone(each, inputs) for each in (ours, expected[:, P:]))
    torch.testing.assert_close(ours, expected, rtol=0, atol=PEFT_TOLERANCE)


def test_gradients_reach_every_vector_and_nothing_else():
    for kind in ("xlmr", "m2m100"):
        base = BASES[kind]()
        base.model.requires_grad_(False)
        vectors = {role: prompt(base, seed)[PROMPT].requires_grad_() for seed, role in
                   enumerate(ROLES)}  # fmt: skip
        slotted = SlottedBase(base)
        source = FixedSource({f"{role}.{PROMPT}": each for role, each in vectors.items()})
        with slotted.using(source):
            slotted.model(**inputs_of(base)).logits.square().sum().backward()
        assert all((each.grad.abs().sum(1) > 0).all() for each in vectors.values())
        assert all(parameter.grad is None for parameter in base.model.parameters())


def test_generate_is_given_rows_that_entered(tmp_path):
    from peft import PeftModel

    base = m2m100()
    ids = inputs_of(base)["input_ids"]
    mask = inputs_of(base)["attention_mask"]
    tensors = prompt(base, 3)
    METHOD.write(tmp_path / "mine", CONFIG, tensors, base)
    theirs = PeftModel.from_pretrained(m2m100().model, tmp_path / "mine").eval()
    options = {"max_length": 12, "num_beams": 2, "return_dict_in_generate": True,
               "output_scores": True}  # fmt: skip
    slotted = SlottedBase(base)
    with torch.no_grad():
        expected = theirs.generate(input_ids=ids, attention_mask=mask, **options)
        bare = slotted.model.generate(input_ids=ids, attention_mask=mask, **options)
        with slotted.using(FixedSource(named(language=tensors))):
            rows = slotted.enter(Rows(ids, base.words(ids), mask))
            ours = slotted.model.generate(
                inputs_embeds=rows.words, attention_mask=rows.mask, **options
            )
    assert ours.sequences.tolist() == expected.sequences.tolist()
    torch.testing.assert_close(ours.sequences_scores, expected.sequences_scores)
    assert (bare.sequences_scores - expected.sequences_scores).abs().max() > 1e-3


def fresh(base, seed=0, **settings):
    config = METHOD.Config(num_virtual_tokens=P, **settings)
    return METHOD.fresh(config, base, torch.Generator().manual_seed(seed))[PROMPT]


@pytest.mark.parametrize("kind", BASES)
def test_how_a_prompt_begins(kind):
    base = BASES[kind]()
    table = base.words(torch.arange(200)[None])[0].detach()
    drawn = fresh(base, prompt_tuning_init="SAMPLE_VOCAB")
    assert (
        torch.cdist(drawn, table, compute_mode="donot_use_mm_for_euclid_dist").min(1).values < 1e-4
    ).all()
    assert not torch.equal(drawn, fresh(base, 1, prompt_tuning_init="SAMPLE_VOCAB"))
    mean = fresh(base, prompt_tuning_init="MEAN")
    assert 0 < (mean - table.mean(0)).abs().max() < table.std()
    assert 0.7 < fresh(base, prompt_tuning_init="RANDOM").std() < 1.3
    for settings in ({"prompt_tuning_init": "TEXT"},
                     {"prompt_tuning_init": "TEXT", "prompt_tuning_init_text": "x"}):  # fmt: skip
        with pytest.raises(ConfigError, match=r"needs (prompt_tuning_init_text|the base's tok)"):
            fresh(base, **settings)


@pytest.mark.parametrize("text", ["Монгол хэл", "a " * 40])
def test_a_text_begins_a_prompt_as_in_peft(tiny_encoder, text):
    from peft import PromptTuningConfig, get_peft_model

    base = load_base(tiny_encoder)
    ids = AutoTokenizer.from_pretrained(tiny_encoder)(text)["input_ids"]
    assert len(ids) != P
    ours = fresh(base, prompt_tuning_init="TEXT", prompt_tuning_init_text=text)
    config = PromptTuningConfig(
        task_type="FEATURE_EXTRACTION",
        num_virtual_tokens=P,
        prompt_tuning_init="TEXT",
        prompt_tuning_init_text=text,
        tokenizer_name_or_path=str(tiny_encoder),
    )
    theirs = get_peft_model(base.model, config).get_prompt_embedding_to_save("default")
    torch.testing.assert_close(ours, theirs)


def test_the_prompt_of_an_encoder_decoder_is_the_first_of_two(tmp_path):
    from peft import PromptTuningConfig, get_peft_model

    base = m2m100()
    config = PromptTuningConfig(task_type="SEQ_2_SEQ_LM", num_virtual_tokens=P)
    theirs = get_peft_model(m2m100().model, config).eval()
    theirs.save_pretrained(tmp_path / "theirs")
    assert len(load_file(tmp_path / "theirs" / "adapter_model.safetensors")["prompt_embeddings"]) \
        == 2 * P  # fmt: skip
    found, tensors = METHOD.read(tmp_path / "theirs", base)
    assert (found.num_virtual_tokens, prompt_length(tensors)) == (P, P)
    inputs = inputs_of(base)
    with torch.no_grad():
        expected = theirs(**inputs).logits
    ours = logits(SlottedBase(base), FixedSource(named(language=tensors)), inputs)
    torch.testing.assert_close(ours, expected, rtol=0, atol=PEFT_TOLERANCE)


def test_a_vector_of_zeros_stays_a_position(tmp_path):
    base = xlmr()
    tensors = prompt(base, 1)
    tensors[PROMPT][2] = 0
    METHOD.write(tmp_path / "zeros", CONFIG, tensors, base)
    _, found = METHOD.read(tmp_path / "zeros", base)
    assert found[PROMPT][2].abs().max() > 0
    torch.testing.assert_close(found[PROMPT], tensors[PROMPT], rtol=0, atol=1e-5)


def sequence_classifier(folder):
    """A PEFT classifier over XLM-R as its library saves it, with numbers that matter."""
    from peft import PromptTuningConfig, get_peft_model

    torch.manual_seed(1)
    model = XLMRobertaForSequenceClassification(xlmr().model.config)
    model.roberta.load_state_dict(xlmr().model.roberta.state_dict(), strict=False)
    theirs = get_peft_model(model, PromptTuningConfig(task_type="SEQ_CLS", num_virtual_tokens=P))
    for name, parameter in theirs.named_parameters():
        if "classifier" in name:
            torch.nn.init.normal_(parameter, std=0.5)
    theirs.save_pretrained(folder)
    return theirs.eval()


def test_a_classifier_of_peft_brings_its_head(tmp_path):
    theirs = sequence_classifier(tmp_path / "theirs")
    config, tensors = METHOD.read(tmp_path / "theirs", xlmr())
    assert config.num_virtual_tokens == P
    assert list(tensors) == [PROMPT]
    found = read_head(tmp_path / "theirs", xlmr())
    assert (found.kind, found.pooling) == ("classify", "prompt")
    head = theirs.base_model.classifier.modules_to_save["default"]
    assert torch.equal(found.tensors["classify.dense_weight"], head.dense.weight.T)
    assert torch.equal(found.tensors["classify.out_bias"], head.out_proj.bias)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"peft_type": "PREFIX_TUNING"}, r"peft_type is PREFIX_TUNING; allowed: PROMPT_TUNING"),
        ({"peft_type": "P_TUNING"}, r"peft_type is P_TUNING"),
        ({"task_type": "CAUSAL_LM"}, r"task_type is CAUSAL_LM; this encoder takes FEATURE_EX"),
        ({"num_transformer_submodules": 2}, r"num_transformer_submodules is 2.*has shape"),
        ({"num_virtual_tokens": P + 1}, r"shape \[6, 32\], the base wants \[7, 32\]"),
    ],
)
def test_checkpoints_that_are_no_prompt_of_this_base(tmp_path, changes, words):
    base = xlmr()
    METHOD.write(tmp_path / "odd", CONFIG, prompt(base, 1), base)
    path = tmp_path / "odd" / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    assert METHOD.recognises(tmp_path / "odd")
    with pytest.raises(ModuleMismatch, match=words):
        METHOD.read(tmp_path / "odd", base)


def test_tensors_that_do_not_belong_to_a_prompt(tmp_path):
    base = xlmr()
    METHOD.write(tmp_path / "odd", CONFIG, prompt(base, 1), base)
    file = tmp_path / "odd" / "adapter_model.safetensors"
    state = load_file(file)
    save_file(state | {"extra": torch.zeros(1)}, file)
    with pytest.raises(ModuleMismatch, match=r"extra is unknown"):
        METHOD.read(tmp_path / "odd", base)
    save_file({"extra": torch.zeros(1)}, file)
    with pytest.raises(BrokenModule, match=r"no PEFT soft prompt: 'prompt_embeddings'"):
        METHOD.read(tmp_path / "odd", base)
