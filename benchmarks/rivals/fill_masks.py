"""Who fills masks: texts with one mask to their likeliest words, on one encoder's checkpoint.

In ours each row has its language's own module, which the others do not have.
"""

import asyncio
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForMaskedLM, AutoTokenizer, pipeline

from benchmarks.experiment import FillMaskRivals
from benchmarks.systems import open_engines, without_modules
from langmod.errors import LangmodError
from service.engine import Outcome
from service.schemas import FillMaskRequest

Texts = Sequence[tuple[str, str]]
"""Languages and texts."""
Fill = Callable[[Texts], list[list[str]]]
"""The words for each text's mask, the likeliest first."""
Ways = Mapping[str, Fill]
"""Settings → the system with these."""
Opened = Callable[[FillMaskRivals], AbstractContextManager[Ways]]


@contextmanager
def ours(asked: FillMaskRivals) -> Iterator[Ways]:
    """The engine that serves, asked in one request for each language or for each text."""
    with open_engines(asked, asked.models) as engines, asyncio.Runner() as runner:

        async def ask(places: Mapping[str, list[int]], texts: Texts) -> list[list[Outcome]]:
            requests = [
                FillMaskRequest(
                    texts=[texts[place][1] for place in own], language=key.split()[0],
                    top_k=asked.top_k,
                )
                for key, own in places.items()
            ]  # fmt: skip
            return await asyncio.gather(
                *(engines.encoder.ask("fill_mask", each) for each in requests)
            )

        def fill(key: Callable[[int, str], str], texts: Texts) -> list[list[str]]:
            places: dict[str, list[int]] = {}
            for place, (language, _) in enumerate(texts):
                places.setdefault(key(place, language), []).append(place)
            words: list[list[str]] = [[]] * len(texts)
            answers = runner.run(ask(places, texts))
            for own, outcomes in zip(places.values(), answers, strict=True):
                for place, outcome in zip(own, outcomes, strict=True):
                    words[place] = _words(outcome)
            return words

        yield {
            "a request a language": partial(fill, lambda _, language: language),
            "a request a text": partial(fill, lambda place, language: f"{language} {place}"),
        }


def _words(outcome: Outcome) -> list[str]:
    if isinstance(outcome, LangmodError):
        raise outcome
    return [each["token"] for each in outcome["masks"][0]]


@contextmanager
def bare(asked: FillMaskRivals) -> Iterator[Ways]:
    """Ours without modules: what the others run."""
    with (
        without_modules(asked.models) as models,
        ours(asked.model_copy(update={"models": models})) as ways,
    ):
        yield ways


def pipelines(dtype: torch.dtype) -> Opened:
    """Transformers' pipeline."""

    @contextmanager
    def opened(asked: FillMaskRivals) -> Iterator[Ways]:
        folder = asked.models / asked.base
        model = AutoModelForMaskedLM.from_pretrained(folder, dtype=dtype).eval()
        tokenizer = AutoTokenizer.from_pretrained(folder)
        ask = pipeline("fill-mask", model=model, tokenizer=tokenizer, device="cpu")

        def fill(size: int, texts: Texts) -> list[list[str]]:
            found = ask([text for _, text in texts], batch_size=size, top_k=asked.top_k)
            rows = [found] if len(texts) == 1 else found
            return [[each["token_str"] for each in row] for row in rows]

        yield {f"batch_size {size}": partial(fill, size) for size in asked.batch_sizes}

    return opened


def optimum(precision: str) -> Opened:
    """Optimum's ONNX Runtime model: rows read, run and ranked together, long ones last."""

    @contextmanager
    def opened(asked: FillMaskRivals) -> Iterator[Ways]:
        from onnxruntime import SessionOptions
        from optimum.onnxruntime import ORTModelForMaskedLM

        checkpoint = asked.models / asked.base
        options = SessionOptions()
        options.intra_op_num_threads = asked.threads
        with tempfile.TemporaryDirectory() as name:
            folder = _exported(checkpoint, Path(name), precision)
            model = ORTModelForMaskedLM.from_pretrained(folder, session_options=options)
        tokenizer = AutoTokenizer.from_pretrained(checkpoint)

        def fill(size: int, texts: Texts) -> list[list[str]]:
            order = sorted(range(len(texts)), key=lambda place: len(texts[place][1]))
            words: list[list[str]] = [[]] * len(texts)
            for start in range(0, len(order), size):
                some = order[start : start + size]
                found = _ranked(model, tokenizer, [texts[place][1] for place in some], asked.top_k)
                for place, each in zip(some, found, strict=True):
                    words[place] = each
            return words

        yield {f"batches of {size}": partial(fill, size) for size in asked.batch_sizes}

    return opened


def _exported(checkpoint: Path, folder: Path, precision: str) -> Path:
    """Optimum's graph of the checkpoint, with dynamic 8-bit products if asked."""
    from optimum.onnxruntime import ORTModelForMaskedLM, ORTQuantizer
    from optimum.onnxruntime.configuration import AutoQuantizationConfig

    plain, small = folder / "fp32", folder / "int8"
    ORTModelForMaskedLM.from_pretrained(checkpoint, export=True).save_pretrained(plain)
    if precision == "fp32":
        return plain
    settings = AutoQuantizationConfig.avx512_vnni(is_static=False, per_channel=True)
    quantizer = ORTQuantizer.from_pretrained(plain)
    quantizer.quantize(save_dir=small, quantization_config=settings, file_suffix="")
    return small


def _ranked(model: Any, tokenizer: Any, texts: list[str], top_k: int) -> list[list[str]]:
    inputs = tokenizer(texts, padding=True, return_tensors="np")
    logits = np.asarray(model(**inputs).logits)  # [B, T, V]
    own = logits[inputs["input_ids"] == tokenizer.mask_token_id]  # [B, V]
    best = np.argpartition(own, -top_k)[:, -top_k:]
    scores = np.take_along_axis(own, best, 1)
    ranked = np.take_along_axis(best, np.argsort(-scores), 1)
    return [[tokenizer.decode([each]) for each in row] for row in ranked.tolist()]


FILLERS: dict[str, Opened] = {
    "langmod": ours,
    "langmod, bare": bare,
    "transformers fp32": pipelines(torch.float32),
    "transformers bf16": pipelines(torch.bfloat16),
    "Optimum int8": optimum("int8"),
    "Optimum fp32": optimum("fp32"),
}
