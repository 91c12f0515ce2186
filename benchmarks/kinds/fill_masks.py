"""Texts with one mask to their likeliest words, by our engine and by other libraries.

All read one encoder's checkpoint. In ours each row has its language's own module, which the others
do not have.
"""

import asyncio
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForMaskedLM, AutoTokenizer, pipeline

from benchmarks.baselines import Baselines, Systems, alike, rates
from benchmarks.experiment import (
    Answers,
    Column,
    Figures,
    Inputs,
    OfBase,
    Ratio,
    Times,
    Ways,
    constant,
)
from benchmarks.requests import Request, text_of
from benchmarks.systems import gathered, in_process, part_of

Texts = Sequence[tuple[str, str]]
"""Languages and texts."""


class FillMasks(Baselines, OfBase):
    """Fill masks by our engine and by other libraries on the same weights in turns."""

    kind = "fill-masks"
    heads = ("at once", "system")
    columns = (Column("rows/s"), Column("="))
    ratio = Ratio("ours ÷ it", "rows/s")
    caption = (
        "Texts to the {top_k} likeliest words of a mask, rows a second; {base}, langmod "
        "{precision} with the module of each row's own language ({languages} in turn), all others "
        "the bare base. `=` counts the rows whose first word is that of {references}. Of the "
        "settings tried, the fastest."
    )

    languages: tuple[str, ...]
    """Of the rows, in turn."""
    top_k: int = 5
    rows: tuple[int, ...] = (1, 32)
    batch_sizes: tuple[int, ...] = (1, 8, 32)
    """That are tried with systems that have to be told one."""
    repetitions: int = 15

    def known(self) -> Systems:
        return FILLERS

    def settings(self) -> Iterator[tuple[str, Inputs]]:
        count, mask = len(self.languages), self.mask_token()
        for rows in self.rows:
            spoken = [self.languages[row % count] for row in range(rows)]
            texts = [(tag, text_of(tag, row // count, mask)) for row, tag in enumerate(spoken)]
            yield str(rows), constant(texts)

    def figures(self, arm: str, answers: Answers, times: Times) -> Figures:
        own, right = (
            [words[0].strip() for words in answers[each][0]] for each in (arm, self.references[0])
        )
        return {"rows/s": rates([len(own)] * len(times), times), "=": (alike(own, right),)}


def ours(asked: FillMasks, stack: ExitStack, modules: bool = True) -> Ways:
    """The engine that serves, asked in one request for each language or for each text."""
    runner = stack.enter_context(asyncio.Runner())
    models = stack.enter_context(part_of(asked.models, modules=modules))
    engines = stack.enter_context(in_process(asked, models))

    def fill(key: Callable[[int, str], object], texts: Texts) -> list[list[str]]:
        places: dict[object, list[int]] = {}
        for place, (language, _) in enumerate(texts):
            places.setdefault(key(place, language), []).append(place)
        requests = [
            Request(
                "fill_mask",
                {
                    "texts": [texts[place][1] for place in own],
                    "language": texts[own[0]][0],
                    "top_k": asked.top_k,
                },
            )
            for own in places.values()
        ]
        all_answers = gathered(runner, [engines], requests)
        words: list[list[str]] = [[]] * len(texts)
        for own, answers in zip(places.values(), all_answers, strict=True):
            for place, answer in zip(own, answers, strict=True):
                words[place] = [each["token"] for each in answer["masks"][0]]
        return words

    return {
        "a request a language": partial(fill, lambda _, language: language),
        "a request a text": partial(fill, lambda place, _: place),
    }


def pipelines(asked: FillMasks, stack: ExitStack, dtype: torch.dtype) -> Ways:
    """Transformers' pipeline."""
    del stack
    folder = asked.models / asked.base
    model = AutoModelForMaskedLM.from_pretrained(folder, dtype=dtype).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ask = pipeline("fill-mask", model=model, tokenizer=tokenizer, device="cpu")

    def fill(size: int, texts: Texts) -> list[list[str]]:
        answers = ask([text for _, text in texts], batch_size=size, top_k=asked.top_k)
        rows = [answers] if len(texts) == 1 else answers
        return [[each["token_str"] for each in row] for row in rows]

    return {f"batch_size {size}": partial(fill, size) for size in asked.batch_sizes}


def optimum(asked: FillMasks, stack: ExitStack, precision: str) -> Ways:
    """Optimum's ONNX Runtime model: rows read, run and ranked together, long ones last."""
    from onnxruntime import SessionOptions
    from optimum.onnxruntime import ORTModelForMaskedLM, ORTQuantizer
    from optimum.onnxruntime.configuration import AutoQuantizationConfig

    checkpoint = asked.models / asked.base
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    ORTModelForMaskedLM.from_pretrained(checkpoint, export=True).save_pretrained(folder / "fp32")
    if precision == "int8":
        products = AutoQuantizationConfig.avx512_vnni(is_static=False, per_channel=True)
        quantizer = ORTQuantizer.from_pretrained(folder / "fp32")
        quantizer.quantize(save_dir=folder / "int8", quantization_config=products, file_suffix="")
    options = SessionOptions()
    options.intra_op_num_threads = asked.threads
    model = ORTModelForMaskedLM.from_pretrained(folder / precision, session_options=options)
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)

    def fill(size: int, texts: Texts) -> list[list[str]]:
        order = sorted(range(len(texts)), key=lambda place: len(texts[place][1]))
        words: list[list[str]] = [[]] * len(texts)
        for start in range(0, len(order), size):
            some = order[start : start + size]
            ranked = _ranked(model, tokenizer, [texts[place][1] for place in some], asked.top_k)
            for place, each in zip(some, ranked, strict=True):
                words[place] = each
        return words

    return {f"batches of {size}": partial(fill, size) for size in asked.batch_sizes}


def _ranked(model: Any, tokenizer: Any, texts: list[str], top_k: int) -> list[list[str]]:
    inputs = tokenizer(texts, padding=True, return_tensors="np")
    logits = np.asarray(model(**inputs).logits)  # [B, T, V]
    own = logits[inputs["input_ids"] == tokenizer.mask_token_id]  # [B, V]
    best = np.argpartition(own, -top_k)[:, -top_k:]
    scores = np.take_along_axis(own, best, 1)
    ranked = np.take_along_axis(best, np.argsort(-scores), 1)
    return [[tokenizer.decode([each]) for each in row] for row in ranked.tolist()]


FILLERS: Systems = {
    "langmod": ours,
    "langmod, bare": partial(ours, modules=False),
    "transformers fp32": partial(pipelines, dtype=torch.float32),
    "transformers bf16": partial(pipelines, dtype=torch.bfloat16),
    "Optimum int8": partial(optimum, precision="int8"),
    "Optimum fp32": partial(optimum, precision="fp32"),
}
