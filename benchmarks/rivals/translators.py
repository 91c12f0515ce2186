"""Who translates: each system reads a base's own checkpoint and takes texts to texts.

All cut a translation at the same number of tokens, and read and write text by the base's tokenizer.
"""

import asyncio
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Protocol, Self

import torch
from transformers import AutoTokenizer, M2M100ForConditionalGeneration, PreTrainedTokenizerBase

from adaptation.bases import language_token
from benchmarks.experiment import Rivals
from benchmarks.rivals.random_base import kept
from benchmarks.systems import open_engines, without_modules
from benchmarks.turns import fastest
from export.graph import without_lint
from langmod.errors import LangmodError
from langmod.languages import canonical
from service.translator_schemas import TranslateRequest

SPECIAL = 2
"""Language token and end."""


Translate = Callable[[Sequence[str], int], list[str]]
"""Texts and beams → translations."""
Opened = Callable[[Rivals], AbstractContextManager[Translate]]


@contextmanager
def ours(asked: Rivals) -> Iterator[Translate]:
    """The engine that serves, without its modules, which no rival has."""
    with (
        without_modules(asked.models) as models,
        open_engines(asked, models) as engines,
        asyncio.Runner() as runner,
    ):

        def translate(texts: Sequence[str], beams: int) -> list[str]:
            request = TranslateRequest(
                texts=list(texts),
                source=asked.source,
                target=asked.target,
                beams=beams,
                max_length=asked.most_tokens + SPECIAL,
            )
            answers = runner.run(engines.translator.translate(request))
            faults = [each for each in answers if isinstance(each, LangmodError)]
            if faults:
                raise faults[0]
            return [each["translations"][0]["text"] for each in answers if isinstance(each, dict)]

        yield translate


class Checkpoint:
    """A base's folder as the rivals read it."""

    def __init__(self, folder: Path, source: str, target: str) -> None:
        self.folder = folder
        self.tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(folder)
        self.source, self.target = (language_token(canonical(tag)) for tag in (source, target))

    @classmethod
    def of(cls, asked: Rivals) -> Self:
        """The base and languages that an experiment says."""
        return cls(asked.models / asked.base, asked.source, asked.target)

    def read(self, texts: Sequence[str]) -> list[list[int]]:
        """Language token, text and end."""
        first = self.tokenizer.convert_tokens_to_ids(self.source)
        found = self.tokenizer(list(texts), add_special_tokens=False)["input_ids"]
        return [[first, *ids, self.tokenizer.eos_token_id] for ids in found]

    def tokens(self, texts: Sequence[str]) -> int:
        """How many tokens texts have, special ones left out: read anew, alike for all systems."""
        return sum(len(ids) - SPECIAL for ids in self.read(texts))

    def write(self, translations: Sequence[Sequence[int]]) -> list[str]:
        """Text from ids, special ones left out."""
        special = set(self.tokenizer.all_special_ids)
        kept = [[each for each in ids if each not in special] for ids in translations]
        return list(self.tokenizer.batch_decode(kept))


@contextmanager
def ctranslate2(asked: Rivals) -> Iterator[Translate]:
    """CTranslate2 in 8 bits: a worker on all threads or each thread a worker, as is faster."""
    import ctranslate2 as library
    from ctranslate2.converters import TransformersConverter

    checkpoint = Checkpoint.of(asked)

    def build(folder: Path) -> None:
        converter = TransformersConverter(str(checkpoint.folder))
        converter.convert(str(folder), quantization="int8", force=True)

    with kept(_place(asked, "ctranslate2"), build) as folder:
        models = {
            f"{count}": library.Translator(
                str(folder), device="cpu", inter_threads=count,
                intra_threads=asked.threads // count, compute_type="int8",
            )
            for count in sorted({1, asked.threads})
        }  # fmt: skip
        best: dict[tuple[int, int], str] = {}

        def run(workers: str, texts: Sequence[str], beams: int) -> list[str]:
            tokenizer = checkpoint.tokenizer
            found = models[workers].translate_batch(
                [tokenizer.convert_ids_to_tokens(ids) for ids in checkpoint.read(texts)],
                target_prefix=[[checkpoint.target]] * len(texts),
                beam_size=beams,
                max_batch_size=-(-len(texts) // int(workers)),
                max_decoding_length=asked.most_tokens + SPECIAL,
            )
            return checkpoint.write(
                [tokenizer.convert_tokens_to_ids(each.hypotheses[0]) for each in found]
            )

        def translate(texts: Sequence[str], beams: int) -> list[str]:
            size = len(texts), beams
            if size not in best:
                best[size] = fastest({each: partial(run, each, texts, beams) for each in models})
            return run(best[size], texts, beams)

        yield translate


def _place(asked: Rivals, name: str) -> Path | None:
    """Where what a rival makes of a large base is kept."""
    return asked.cache / name / asked.base if asked.random else None


class Generates(Protocol):
    """What has Hugging Face's ``generate``."""

    def generate(self, **settings: Any) -> torch.Tensor:
        """``[B, T]`` ids."""
        ...


def generated(model: Generates, checkpoint: Checkpoint, asked: Rivals) -> Translate:
    """Translation by ``generate``."""

    def translate(texts: Sequence[str], beams: int) -> list[str]:
        inputs = checkpoint.tokenizer.pad(
            {"input_ids": checkpoint.read(texts)}, return_tensors="pt"
        )
        with torch.inference_mode():
            found = model.generate(
                input_ids=inputs["input_ids"],
                attention_mask=inputs["attention_mask"],
                forced_bos_token_id=checkpoint.tokenizer.convert_tokens_to_ids(checkpoint.target),
                num_beams=beams,
                max_new_tokens=asked.most_tokens + SPECIAL,
            )
        return checkpoint.write(found.tolist())

    return translate


@contextmanager
def optimum(asked: Rivals) -> Iterator[Translate]:
    """Optimum's ONNX Runtime model with dynamic 8-bit products, caches on."""
    from onnxruntime import SessionOptions
    from optimum.exporters.onnx import main_export
    from optimum.onnxruntime import ORTModelForSeq2SeqLM, ORTQuantizer
    from optimum.onnxruntime.configuration import AutoQuantizationConfig

    checkpoint = Checkpoint.of(asked)

    def build(small: Path) -> None:
        settings = AutoQuantizationConfig.avx512_vnni(is_static=False, per_channel=True)
        with tempfile.TemporaryDirectory(dir=small.parent) as plain:
            with without_lint():
                main_export(
                    str(checkpoint.folder), plain, task="text2text-generation-with-past",
                    do_validation=False, no_post_process=True,
                )  # fmt: skip
            for file in sorted(Path(plain).glob("*.onnx")):
                quantizer = ORTQuantizer.from_pretrained(plain, file_name=file.name)
                quantizer.quantize(save_dir=small, quantization_config=settings, file_suffix="")

    with kept(_place(asked, "optimum"), build) as small:
        options = SessionOptions()
        options.intra_op_num_threads = asked.threads
        model = ORTModelForSeq2SeqLM.from_pretrained(small, session_options=options)
        yield generated(model, checkpoint, asked)


@contextmanager
def torch_fp32(asked: Rivals) -> Iterator[Translate]:
    """Transformers in fp32: what all others are to translate like."""
    checkpoint = Checkpoint.of(asked)
    model = M2M100ForConditionalGeneration.from_pretrained(checkpoint.folder).float().eval()
    yield generated(model, checkpoint, asked)


TRANSLATORS: dict[str, Opened] = {
    "langmod": ours,
    "CTranslate2 int8": ctranslate2,
    "Optimum int8": optimum,
    "transformers fp32": torch_fp32,
}
