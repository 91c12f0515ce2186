"""Who encodes rows of many modules: token ids in, hidden states out, on the same random weights.

Each rival loads the modules from the checkpoints that our methods write. Those that have no modules
run the bare base: they are a bound, not an equal.
"""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from adaptation.architectures import EncoderArchitecture
from adaptation.methods import METHODS
from adaptation.slotted import SlottedBase
from benchmarks.experiment import EncoderRivals
from benchmarks.rivals.random_base import code, kept
from benchmarks.slots_cost import modules_of, random_base, tables_of
from export.encoder_graphs import Body, Embed
from export.graph import described, export_one
from langmod.specs import ROLES, Precision
from service.session import Array, Graph, options
from service.settings import Settings

Encode = Callable[[Array, Sequence[int]], Array]
"""Token ids ``[B, T]`` and each row's module from 0 on → hidden states ``[B, T, D]``."""
Opened = Callable[[EncoderRivals], AbstractContextManager[Encode]]


def ours(precision: Precision) -> Opened:
    """The graphs that are served, all modules in their slots."""

    @contextmanager
    def opened(asked: EncoderRivals) -> Iterator[Encode]:
        base = random_base(asked)
        slotted = SlottedBase(base)
        slotted.eval().requires_grad_(False)
        body, embed = Body(slotted), Embed(slotted)
        settings = Settings(threads=asked.threads)

        def build(folder: Path) -> None:
            for graph in (body, embed):
                export_one(graph, folder, precision)

        with kept(_place(asked, precision), build, code()) as folder:
            specs = [described(graph, folder) for graph in (embed, body)]
            first, second = (Graph(folder / spec.file, spec, settings) for spec in specs)
        tables = tables_of(body.banks, modules_of(base, asked.method, asked))

        def encode(ids: Array, wanted: Sequence[int]) -> Array:
            rows, tokens = ids.shape
            slots = np.zeros((rows, len(ROLES)), np.int64)
            slots[:, 0] = np.array(wanted) + 1
            feed = {
                **first.run({"token_ids": ids}, {}, keep=("words",)),
                "mask": np.ones_like(ids),
                "positions": np.tile(np.arange(tokens) + base.first_position, (rows, 1)),
                "slots": slots,
            }
            return np.asarray(second.run(feed, tables)["hidden"])

        yield encode

    return opened


def _place(asked: EncoderRivals, precision: Precision) -> Path | None:
    """Where graphs are kept for the other method."""
    made = f"{asked.width}-{asked.layers}-{asked.seed}-{precision}"
    return asked.cache and asked.cache / "encoders" / made


def checkpoints(base: EncoderArchitecture, asked: EncoderRivals, folder: Path) -> list[str]:
    """Every module in its library's own files; their names."""
    method = METHODS[asked.method]
    names = []
    for number, (_, tensors) in enumerate(modules_of(base, asked.method, asked)):
        names.append(f"m{number}")
        method.write(folder / names[-1], method.Config(), tensors, base)
    return names


def hidden_of(model: nn.Module, ids: Array, **further: Any) -> Array:
    """The last hidden states of a model that answers with logits too."""
    found = model(
        input_ids=torch.from_numpy(ids),
        attention_mask=torch.ones(ids.shape, dtype=torch.int64),
        **further,
    )
    return np.asarray(found.last_hidden_state.float())


def peft(dtype: torch.dtype) -> Opened:
    """PEFT's mixed batch: ``adapter_names`` for each row."""

    @contextmanager
    def opened(asked: EncoderRivals) -> Iterator[Encode]:
        from peft import PeftModel

        base = random_base(asked)
        with tempfile.TemporaryDirectory() as name:
            names = checkpoints(base, asked, Path(name))
            model = PeftModel.from_pretrained(base.model, Path(name) / names[0], names[0])
            for each in names[1:]:
                model.load_adapter(Path(name) / each, each)
        model.eval().to(dtype)
        encoder = base.backbone

        def encode(ids: Array, wanted: Sequence[int]) -> Array:
            kept: list[torch.Tensor] = []
            handle = encoder.register_forward_hook(
                lambda _, __, out: kept.append(out.last_hidden_state)
            )
            try:
                model(
                    input_ids=torch.from_numpy(ids),
                    attention_mask=torch.ones(ids.shape, dtype=torch.int64),
                    adapter_names=[names[each] for each in wanted],
                )
            finally:
                handle.remove()
            return np.asarray(kept[-1].float())

        with torch.inference_mode(), _without_head(base):
            yield encode

    return opened


@contextmanager
def _without_head(base: EncoderArchitecture) -> Iterator[None]:
    """No logits of the vocabulary: nobody else makes them."""
    head, base.model.lm_head = base.model.lm_head, nn.Identity()
    try:
        yield
    finally:
        base.model.lm_head = head


def adapters(dtype: torch.dtype, split: bool) -> Opened:
    """AdapterHub's library: one ``BatchSplit``, or the rows of one module after another's."""

    @contextmanager
    def opened(asked: EncoderRivals) -> Iterator[Encode]:
        import adapters as library
        from adapters.composition import BatchSplit

        base = random_base(asked)
        model = base.model
        with tempfile.TemporaryDirectory() as name:
            names = checkpoints(base, asked, Path(name))
            library.init(model)
            for each in names:
                model.load_adapter(str(Path(name) / each), load_as=each, use_safetensors=True)
        model.eval().to(dtype)

        def encode(ids: Array, wanted: Sequence[int]) -> Array:
            # Rows of one module must lie side by side.
            order = np.argsort(wanted, kind="stable")
            present, counts = np.unique(np.array(wanted), return_counts=True)
            found = np.empty((*ids.shape, asked.width), np.float32)
            if split and len(present) > 1:
                active = [names[each] for each in present]
                model.set_active_adapters(BatchSplit(*active, batch_sizes=counts.tolist()))
                found[order] = hidden_of(base.backbone, ids[order])
                return found
            for each in present:
                own = np.flatnonzero(np.array(wanted) == each)
                model.set_active_adapters(names[each])
                found[own] = hidden_of(base.backbone, ids[own])
            return found

        with torch.inference_mode():
            yield encode

    return opened


@contextmanager
def onnxruntime_int8(asked: EncoderRivals) -> Iterator[Encode]:
    """The bare base as a plain graph with ONNX Runtime's own dynamic quantisation."""
    import onnxruntime as ort
    from onnxruntime.quantization import quantize_dynamic

    base = random_base(asked)
    with tempfile.TemporaryDirectory() as name:
        plain, small = Path(name) / "plain.onnx", Path(name) / "small.onnx"
        export_plain(base, plain)
        quantize_dynamic(plain, small, per_channel=True)
        session = ort.InferenceSession(
            small, options(Settings(threads=asked.threads)), providers=["CPUExecutionProvider"]
        )

    def encode(ids: Array, wanted: Sequence[int]) -> Array:
        del wanted
        feed = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
        return np.asarray(session.run(None, feed)[0])

    yield encode


def export_plain(base: EncoderArchitecture, path: Path) -> None:
    """The bare encoder from token ids to hidden states."""
    ids = torch.full((2, 4), 5)
    axes = {0: "B", 1: "T"}
    torch.onnx.export(
        base.backbone, (ids, torch.ones_like(ids)), str(path), dynamo=False, opset_version=18,
        input_names=["input_ids", "attention_mask"], output_names=["hidden"],
        dynamic_axes=dict.fromkeys(["input_ids", "attention_mask", "hidden"], axes),
    )  # fmt: skip


@contextmanager
def ctranslate2_int8(asked: EncoderRivals) -> Iterator[Encode]:
    """The bare base in CTranslate2's encoder."""
    import ctranslate2 as library
    from ctranslate2.converters.transformers import XLMRobertaLoader

    base = random_base(asked)
    holder: Any = nn.Module()
    holder.roberta, holder.config = base.backbone, base.model.config
    holder.config.position_embedding_type = "absolute"
    spec = XLMRobertaLoader().get_model_spec(holder)
    tokens = [f"t{each}" for each in range(base.model.config.vocab_size)]
    spec.register_vocabulary(tokens)
    spec.config.unk_token, spec.config.layer_norm_epsilon = "t3", base.model.config.layer_norm_eps
    with tempfile.TemporaryDirectory() as name:
        spec.validate()
        spec.optimize(quantization="int8")
        spec.save(name)
        encoder = library.Encoder(
            name, device="cpu", intra_threads=asked.threads, compute_type="int8"
        )

    def encode(ids: Array, wanted: Sequence[int]) -> Array:
        del wanted
        return np.asarray(encoder.forward_batch(ids.tolist()).last_hidden_state)

    yield encode


@contextmanager
def torch_bare(asked: EncoderRivals) -> Iterator[Encode]:
    """The bare base in torch: what bare systems are held against."""
    base = random_base(asked)
    with torch.inference_mode():
        yield lambda ids, _: hidden_of(base.backbone, ids)


ENCODERS: dict[str, Opened] = {
    "langmod int8": ours("int8"),
    "langmod fp32": ours("fp32"),
    "PEFT fp32": peft(torch.float32),
    "PEFT bf16": peft(torch.bfloat16),
    "adapters BatchSplit fp32": adapters(torch.float32, split=True),
    "adapters BatchSplit bf16": adapters(torch.bfloat16, split=True),
    "adapters one by one bf16": adapters(torch.bfloat16, split=False),
    "torch fp32, bare": torch_bare,
    "ONNX Runtime int8, bare": onnxruntime_int8,
    "CTranslate2 int8, bare": ctranslate2_int8,
}
