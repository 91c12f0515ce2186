"""Rows of many modules encoded by our graphs and by other libraries, on the same random weights.

A way takes token ids ``[B, T]`` and each row's module from 0 on, and gives hidden states
``[B, T, D]``. Libraries load the modules from the checkpoints that our methods write; those that
have no modules run the bare base: they are a bound, not an equal.
"""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from adaptation.architectures import EncoderArchitecture
from adaptation.methods import METHODS
from benchmarks.baselines import Baselines, Systems, code, kept
from benchmarks.experiment import Answers, Column, Figures, Inputs, Ratio, Times, Ways, constant
from benchmarks.random_encoder import FIRST, WORDS, RandomEncoder, tables_of
from export.encoder_graphs import Body, Embed
from export.graph import described, export_one
from langmod.specs import ROLES, Precision
from service.session import Array, Graph, options
from service.settings import Settings


class Encoders(Baselines, RandomEncoder):
    """Encode rows of many modules by our graphs and by other libraries in turns."""

    kind = "encoders"
    heads = ("rows x tokens", "system")
    columns = (Column("ms"), Column("difference", ".0e"))
    ratio = Ratio("times ours", "ms", inverse=True)
    caption = (
        "Token ids to hidden states in milliseconds, random weights of XLM-R's architecture, "
        "{layers} x {width}; {modules} {method} modules, rows take them in turn. The difference is "
        "the largest from {references} (the first for systems with modules, the second for bare "
        "ones), as a share of its largest number."
    )

    method: Literal["lora", "bottleneck"]
    batches: tuple[tuple[int, int], ...] = ((1, 32), (8, 32), (32, 32))
    """Rows and tokens."""

    def known(self) -> Systems:
        return ENCODERS

    def settings(self) -> Iterator[tuple[str, Inputs]]:
        for rows, tokens in self.batches:
            ids = np.random.default_rng(self.seed).integers(5, WORDS, (rows, tokens))
            modules = [row % self.modules for row in range(rows)]
            yield f"{rows} x {tokens}", constant(ids, modules)

    def figures(self, arm: str, answers: Answers, times: Times) -> Figures:
        right = answers[self.references["bare" in arm]][0]
        difference = np.abs(answers[arm][0] - right).max() / np.abs(right).max()
        return {"ms": tuple(times), "difference": (float(f"{difference:.3g}"),)}

    def headless(self) -> EncoderArchitecture:
        """The base without logits of the vocabulary, which nobody else makes."""
        base = self.base()
        base.model.lm_head = nn.Identity()
        return base

    def checkpoints(self, base: EncoderArchitecture, folder: Path) -> list[Path]:
        """Writes every module as its library's own files."""
        method = METHODS[self.method]
        modules = self.modules_of(base, self.method)
        paths = [folder / f"m{number}" for number in range(len(modules))]
        for path, (_, tensors) in zip(paths, modules, strict=True):
            method.write(path, method.Config(), tensors, base)
        return paths


def ours(asked: Encoders, stack: ExitStack, precision: Precision) -> Ways:
    """The graphs that are served, all modules in their slots."""
    del stack
    slotted = asked.slotted()
    body, embed = Body(slotted), Embed(slotted)

    def build(folder: Path) -> None:
        for graph in (body, embed):
            export_one(graph, folder, precision)

    made = f"{asked.width}-{asked.layers}-{asked.seed}-{precision}"
    folder = kept(asked.cache / f"encoders-{code()}" / made, build)
    specs = [described(graph, folder) for graph in (embed, body)]
    settings = Settings(threads=asked.threads)
    first, second = (Graph(folder / spec.file, spec, settings) for spec in specs)
    tables = tables_of(body.banks, asked.modules_of(slotted.architecture, asked.method))

    def encode(ids: Array, wanted: Sequence[int]) -> Array:
        rows, tokens = ids.shape
        slots = np.zeros((rows, len(ROLES)), np.int64)
        slots[:, 0] = np.array(wanted) + 1
        feed = {
            **first.run({"token_ids": ids}, {}, keep=("words",)),
            "mask": np.ones_like(ids),
            "positions": np.tile(np.arange(tokens) + FIRST, (rows, 1)),
            "slots": slots,
        }
        return np.asarray(second.run(feed, tables)["hidden"])

    return {"": encode}


@torch.inference_mode()
def hidden_of(model: nn.Module, ids: Array, **further: Any) -> Array:
    """The last hidden states, which are the logits of a model without a head."""
    tokens = torch.from_numpy(ids)
    logits = model(input_ids=tokens, attention_mask=torch.ones_like(tokens), **further).logits
    return np.asarray(logits.float())


def peft(asked: Encoders, stack: ExitStack, dtype: torch.dtype) -> Ways:
    """PEFT's mixed batch: ``adapter_names`` for each row."""
    from peft import PeftModel

    base = asked.headless()
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    first, *others = asked.checkpoints(base, folder)
    model = PeftModel.from_pretrained(base.model, first, first.name)
    for path in others:
        model.load_adapter(path, path.name)
    model.eval().to(dtype)
    return {
        "": lambda ids, wanted: hidden_of(model, ids, adapter_names=[f"m{each}" for each in wanted])
    }


def adapters(asked: Encoders, stack: ExitStack, dtype: torch.dtype, split: bool) -> Ways:
    """AdapterHub's library: one ``BatchSplit``, or the rows of one module after another's."""
    import adapters as library
    from adapters.composition import BatchSplit

    model = asked.headless().model
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    paths = asked.checkpoints(asked.base(), folder)
    library.init(model)
    for path in paths:
        model.load_adapter(str(path), load_as=path.name, use_safetensors=True)
    model.eval().to(dtype)

    def encode(ids: Array, wanted: Sequence[int]) -> Array:
        # Rows of one module must lie side by side.
        order = np.argsort(wanted, kind="stable")
        present, counts = np.unique(np.array(wanted), return_counts=True)
        names = [f"m{each}" for each in present]
        hidden = np.empty((*ids.shape, asked.width), np.float32)
        if split and len(names) > 1:
            model.set_active_adapters(BatchSplit(*names, batch_sizes=counts.tolist()))
            hidden[order] = hidden_of(model, ids[order])
            return hidden
        for name, own in zip(names, np.split(order, np.cumsum(counts)[:-1]), strict=True):
            model.set_active_adapters(name)
            hidden[own] = hidden_of(model, ids[own])
        return hidden

    return {"": encode}


def torch_bare(asked: Encoders, stack: ExitStack) -> Ways:
    """The bare base in torch: what bare systems are held against."""
    del stack
    model = asked.headless().model
    return {"": lambda ids, _: hidden_of(model, ids)}


def onnxruntime_int8(asked: Encoders, stack: ExitStack) -> Ways:
    """The bare base as a plain graph with ONNX Runtime's own dynamic quantisation."""
    import onnxruntime as ort
    from onnxruntime.quantization import quantize_dynamic

    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    plain, small = folder / "plain.onnx", folder / "small.onnx"
    ids = torch.full((2, 4), 5)
    axes = {name: {0: "B", 1: "T"} for name in ("input_ids", "attention_mask", "hidden")}
    torch.onnx.export(
        asked.base().backbone, (ids, torch.ones_like(ids)), str(plain), dynamo=False,
        opset_version=18, input_names=["input_ids", "attention_mask"], output_names=["hidden"],
        dynamic_axes=axes,
    )  # fmt: skip
    quantize_dynamic(plain, small, per_channel=True)
    session = ort.InferenceSession(
        small, options(Settings(threads=asked.threads)), providers=["CPUExecutionProvider"]
    )

    def encode(ids: Array, _: Sequence[int]) -> Array:
        feed = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
        return np.asarray(session.run(None, feed)[0])

    return {"": encode}


def ctranslate2_int8(asked: Encoders, stack: ExitStack) -> Ways:
    """The bare base in CTranslate2's encoder."""
    import ctranslate2 as library
    from ctranslate2.converters.transformers import XLMRobertaLoader

    base = asked.base()
    holder: Any = nn.Module()
    holder.roberta, holder.config = base.backbone, base.model.config
    holder.config.position_embedding_type = "absolute"
    spec = XLMRobertaLoader().get_model_spec(holder)
    spec.register_vocabulary([f"t{each}" for each in range(base.model.config.vocab_size)])
    spec.config.unk_token, spec.config.layer_norm_epsilon = "t3", base.model.config.layer_norm_eps
    folder = stack.enter_context(tempfile.TemporaryDirectory())
    spec.validate()
    spec.optimize(quantization="int8")
    spec.save(folder)
    encoder = library.Encoder(
        folder, device="cpu", intra_threads=asked.threads, compute_type="int8"
    )
    return {"": lambda ids, _: np.asarray(encoder.forward_batch(ids.tolist()).last_hidden_state)}


ENCODERS: Systems = {
    "langmod int8": partial(ours, precision="int8"),
    "langmod fp32": partial(ours, precision="fp32"),
    "PEFT fp32": partial(peft, dtype=torch.float32),
    "PEFT bf16": partial(peft, dtype=torch.bfloat16),
    "adapters BatchSplit fp32": partial(adapters, dtype=torch.float32, split=True),
    "adapters BatchSplit bf16": partial(adapters, dtype=torch.bfloat16, split=True),
    "adapters one by one bf16": partial(adapters, dtype=torch.bfloat16, split=False),
    "torch fp32, bare": torch_bare,
    "ONNX Runtime int8, bare": onnxruntime_int8,
    "CTranslate2 int8, bare": ctranslate2_int8,
}
