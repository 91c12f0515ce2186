"""A published module was compared with its own library, and what is printed says with which."""

import re
import shutil
from importlib.metadata import PackageNotFoundError
from math import nan

import pytest
import torch
from peft import LoraConfig, PromptTuningConfig, get_peft_model

from adaptation.architectures import load_base
from adaptation.architectures.vocabulary_head import (
    limit_vocabulary,
    mix_layers,
    own_parameters,
    write_head,
)
from adaptation.methods import METHODS
from export import comparison, libraries
from export import module as module_stage
from export.module import ModuleDescription, examine, export_module
from export.parity import ParityError
from langmod.specs import FP32_TOLERANCE
from langmod.store import ModuleStore
from tests.export.test_import import command, described
from tests.export.test_module import make_run
from tests.foreign import (
    TOPICS,
    foreign,
    peft_translator,
    randomise,
    static_model,
)
from tests.halves import make_halves

LORA = LoraConfig(r=3, lora_alpha=6, target_modules=["query", "value", "q_proj", "v_proj"])
ABOUT = ModuleDescription(name="theirs", languages=("mn",), head=False)
DIFFERS = (
    r"differs from {library} \d+\.\d+\.\d+ itself by \d\.\d\de[-+]\d\d \({answers} of 4 texts\)"
)


@pytest.fixture
def without_graphs(monkeypatch):
    """Graphs are checked elsewhere, and take their time."""
    monkeypatch.setattr(module_stage, "check_module", lambda *_: 0.0)


def compared(folder, base, **fields):
    about = {"name": "x", "languages": ("mn",), **fields}
    found = examine(folder, base, ModuleDescription(**about))
    assert not found.faults, found.faults.listed()
    assert found.compared.difference <= FP32_TOLERANCE
    return found.compared


def said(library, answers="logits"):
    return re.compile(DIFFERS.format(library=library, answers=answers))


@pytest.mark.parametrize("name", foreign())
def test_modules_with_heads_are_compared_by_their_labels(
    name, tiny_encoder, tmp_path, without_graphs
):
    foreign()[name].save(tiny_encoder, tmp_path / name, 3)
    about = described(name)
    found = compared(tmp_path / name, tiny_encoder, **about.model_dump(exclude_unset=True))
    library = "PEFT" if name.startswith("peft") else "adapters"
    assert said(library).fullmatch(str(found))


@pytest.mark.parametrize("name", ["hub-topic", "hub-flat", "hub-static", "peft-topic", "peft-ner"])
def test_without_their_heads_they_are_compared_by_words(
    name, tiny_encoder, tmp_path, without_graphs
):
    foreign()[name].save(tiny_encoder, tmp_path / name, 3)
    found = compared(tmp_path / name, tiny_encoder, head=False)
    assert (found.answers, found.difference > 0) == ("logits", True)


RUNS = {
    "lora": {"encoder": "PEFT", "translator": "PEFT"},
    "ia3": {"encoder": "PEFT", "translator": "PEFT"},
    "soft_prompt": {"encoder": "PEFT", "translator": "PEFT"},
    "bottleneck": {"encoder": "adapters", "translator": "it has no m2m_100"},
    "double_bottleneck": {"encoder": "adapters", "translator": "it has no m2m_100"},
    "parallel_bottleneck": {"encoder": "adapters", "translator": "it has no m2m_100"},
    "bitfit": {"encoder": "langmod's own format", "translator": "langmod's own format"},
    "xpt": {"encoder": "langmod's own format"},
}


def test_every_method_says_whom_it_is_compared_with():
    assert RUNS.keys() == METHODS.keys()


@pytest.mark.parametrize(("method", "kind"), [(m, k) for m, kinds in RUNS.items() for k in kinds])
def test_runs_of_ours_are_compared_with_the_library_of_their_format(
    method, kind, models_folder, tmp_path, without_graphs
):
    base = models_folder / f"tiny-{kind}"
    direction = {"source": "mn", "target": "en"} if kind == "translator" else {}
    make_run(tmp_path / "mine", base, method, **direction)
    found = examine(tmp_path / "mine", base)
    assert not found.faults, found.faults.listed()
    whom = RUNS[method][kind]
    if whom in ("PEFT", "adapters"):
        assert said(whom).fullmatch(str(found.compared))
        assert found.compared.difference > 0
    else:
        assert re.fullmatch(rf"not compared with .*: .*{whom}", str(found.compared))


def test_both_sides_of_an_invertible_adapter_are_compared(tiny_encoder, tmp_path, without_graphs):
    config = {"inv_adapter": "nice"}
    make_run(tmp_path / "inv", tiny_encoder, "bottleneck", config=config)
    assert said("adapters").fullmatch(str(examine(tmp_path / "inv", tiny_encoder).compared))


def test_a_translators_module_is_compared(tiny_translator, tmp_path, without_graphs):
    peft_translator(tiny_translator, tmp_path / "theirs", LORA, 3)
    found = compared(tmp_path / "theirs", tiny_translator, source="mn", target="en")
    assert said("PEFT").fullmatch(str(found))


def test_a_checkpoint_without_the_bases_head_is_compared_by_hidden_states(
    tiny_encoder, tmp_path, without_graphs
):
    inner = get_peft_model(load_base(tiny_encoder).model.base_model, LORA)
    randomise(inner, ("lora_",), 3).save_pretrained(tmp_path / "theirs")
    found = compared(tmp_path / "theirs", tiny_encoder)
    assert said("PEFT", "hidden states").fullmatch(str(found))


def test_a_classifier_that_reads_a_prompt_is_compared(tiny_encoder, tmp_path, without_graphs):
    config = PromptTuningConfig(task_type="SEQ_CLS", num_virtual_tokens=4)
    theirs = get_peft_model(static_model(tiny_encoder, "classify", 3), config)
    randomise(theirs, ("prompt", "modules_to_save"), 3).save_pretrained(tmp_path / "theirs")
    found = compared(tmp_path / "theirs", tiny_encoder, task="topic", labels=TOPICS)
    assert said("PEFT").fullmatch(str(found))
    assert found.difference > 0


@pytest.mark.filterwarnings("ignore")
def test_ranks_factors_and_biases_go_through_the_graphs(tiny_encoder, tmp_path):
    config = LoraConfig(
        r=2, lora_alpha=3, use_rslora=True, bias="all", rank_pattern={"query": 5},
        target_modules=["query", "value"],
    )  # fmt: skip
    model = get_peft_model(load_base(tiny_encoder).model, config)
    randomise(model, ("lora_", "query.base_layer.bias", "output.LayerNorm.bias"), 3)
    model.save_pretrained(tmp_path / "theirs")
    done = export_module(tmp_path / "theirs", tiny_encoder, ABOUT)
    assert said("PEFT").fullmatch(str(done.compared))
    assert 0 < done.max_difference <= FP32_TOLERANCE
    store = ModuleStore(tiny_encoder / "modules")
    module = store.load("theirs")
    store.remove("theirs")
    assert {name.split(".")[0] for name in module.tensors} == {"lora", "bitfit"}
    assert module.tensors["lora.encoder.attention.self.query.a"].shape[-1] == 5


@pytest.mark.parametrize("method", ["lora", "soft_prompt", "bottleneck"])
def test_a_base_whose_head_reads_several_layers_is_compared(
    method, tiny_encoder, tmp_path, without_graphs
):
    base = shutil.copytree(tiny_encoder, tmp_path / tiny_encoder.name)
    deep = load_base(base)
    limit_vocabulary(deep, torch.arange(0, 300, 2))
    mix_layers(deep, (1, 2))
    for parameter in own_parameters(deep).values():
        parameter.data.normal_(std=0.3)
    write_head(deep, base)
    make_run(tmp_path / "mine", base, method)
    found = examine(tmp_path / "mine", base)
    assert not found.faults, found.faults.listed()
    library, answers = (
        ("adapters", "hidden states") if method == "bottleneck" else ("PEFT", "logits")
    )
    assert said(library, answers).fullmatch(str(found.compared))


@pytest.mark.parametrize("method", ["lora", "ia3", "soft_prompt", "bottleneck"])
def test_a_translator_of_two_halves_is_compared(method, tmp_path, without_graphs):
    make_halves(tmp_path / "halves")
    make_run(tmp_path / "mine", tmp_path / "halves", method, source="mn", target="en")
    found = examine(tmp_path / "mine", tmp_path / "halves")
    assert not found.faults, found.faults.listed()
    # PEFT puts prompts in front of models that have one configuration alone.
    lacking = {"bottleneck": "it has no encoder-decoder", "soft_prompt": "it cannot run it"}
    if method in lacking:
        assert re.match(rf"not compared with .*: {lacking[method]}", str(found.compared))
    else:
        assert said("PEFT").fullmatch(str(found.compared))


@pytest.fixture
def saved(tiny_encoder, tmp_path):
    foreign()["peft-topic"].save(tiny_encoder, tmp_path / "theirs", 3)
    return tmp_path / "theirs"


def test_what_answers_otherwise_than_its_library_is_not_published(
    saved, tiny_encoder, monkeypatch, without_graphs
):
    method = METHODS["lora"]
    read = method.read

    def read_amiss(folder, base):
        config, tensors = read(folder, base)
        return config, {name: each * (1.01 if name.endswith(".b") else 1)
                        for name, each in tensors.items()}  # fmt: skip

    monkeypatch.setattr(method, "read", read_amiss)
    with pytest.raises(ParityError, match=r"the module differs from PEFT \S+ itself by .*allowed"):
        export_module(saved, tiny_encoder, ABOUT)
    assert "theirs" not in ModuleStore(tiny_encoder / "modules").names()


@pytest.mark.parametrize("place", ["torch", "graphs"])
def test_what_is_no_number_is_a_difference(place, saved, tiny_encoder, monkeypatch):
    if place == "torch":
        ours = comparison._ours
        monkeypatch.setattr(comparison, "_ours", lambda *args, **words: ours(*args, **words) * nan)
    else:
        run = module_stage.run
        spoilt = lambda *args: {k: v * nan for k, v in run(*args).items()}  # noqa: E731
        monkeypatch.setattr(module_stage, "run", spoilt)
    with pytest.raises(ParityError, match=r"differs? from (PEFT|torch) .*by nan"):
        export_module(saved, tiny_encoder, ABOUT)


def test_without_the_library_it_is_published_and_says_so(
    saved, tiny_encoder, monkeypatch, capsys, without_graphs
):
    def missing(name):
        raise PackageNotFoundError(name)

    about = ("--name", "theirs", "--language", "mn", "--no-head")
    command_line = (tiny_encoder, "--from", saved, *about)
    monkeypatch.setattr(comparison, "version", missing)
    assert command(monkeypatch, *command_line) == 0
    assert re.fullmatch(
        r"theirs@\w{12}: not compared with PEFT: it is not installed; "
        r"its graphs differ from torch by 0\.00e\+00\n",
        capsys.readouterr().out,
    )
    monkeypatch.undo()
    monkeypatch.setattr(module_stage, "check_module", lambda *_: 0.0)
    assert command(monkeypatch, *command_line) == 0
    line = rf"theirs@\w{{12}}: {said('PEFT').pattern}; its graphs differ from torch by .*\n"
    assert re.fullmatch(line, capsys.readouterr().out)
    assert command(monkeypatch, *command_line, "--dry-run") == 0
    assert said("PEFT").search(capsys.readouterr().out)
    ModuleStore(tiny_encoder / "modules").remove("theirs")


def test_a_library_that_stumbles_is_named_with_its_words(
    saved, tiny_encoder, monkeypatch, without_graphs
):
    def stumbles(*_):
        raise ImportError("it requires another package")

    monkeypatch.setattr(libraries.Peft, "model", stumbles)
    found = compared(saved, tiny_encoder, head=False)
    assert re.fullmatch(
        r"not compared with PEFT \S+: it cannot run it \(it requires another package\)", str(found)
    )


def test_the_texts_are_of_several_lengths_and_scripts(tiny_encoder):
    base = load_base(tiny_encoder)
    rows = [row["input_ids"] for row in comparison.text_rows(tiny_encoder, base)]
    assert len({row.shape[1] for row in rows}) > 1
    assert len(torch.cat(rows, 1).unique()) > 20
