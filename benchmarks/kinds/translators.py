"""Texts translated by our engine and by other systems, which read a base's own checkpoint.

All cut a translation at the same number of tokens, and read and write text by the base's tokenizer.
"""

import asyncio
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import cache, partial
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from pydantic import Field
from transformers import AutoTokenizer, M2M100ForConditionalGeneration, PreTrainedTokenizerBase

from adaptation.bases import language_token
from benchmarks.baselines import Baselines, Systems, alike, rates
from benchmarks.experiment import Answers, Column, Figures, Inputs, OfBase, Ratio, Times, Ways
from benchmarks.random_translator import RandomShape
from benchmarks.requests import Request, text_of
from benchmarks.systems import Json, System, gathered, in_process, part_of
from export.graph import export_graphs, without_lint
from langmod.errors import ConfigError
from langmod.languages import canonical
from training.data.corpus import read_text

SPECIAL = 2
"""Language token and end."""


@cache
def tokenizer_of(folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer of a checkpoint."""
    return AutoTokenizer.from_pretrained(folder)


class Translators(Baselines, OfBase):
    """Translate by our engine and by other systems on the same weights in turns."""

    kind = "translators"
    heads = ("rows, beams", "system")
    columns = (Column("texts/s"), Column("tokens/s"), Column("="))
    ratio = Ratio("ours ÷ it", "tokens/s")
    caption = (
        "Texts to texts; {base}, {source} to {target}, at most {most_tokens} tokens; langmod "
        "{precision}. `=` counts the rows that read as those of {references}. Of the settings "
        "tried, the fastest."
    )

    random: RandomShape | None = None
    """Random weights of this shape instead; the tokenizer is the base's."""
    source: str
    target: str
    corpus: Path | None = None
    """Its sentences are translated, other ones in each repetition, instead of our few."""
    most_tokens: int = Field(default=40, ge=1)
    """Of a translation, language token and end left out."""
    batches: tuple[tuple[int, int], ...] = ((1, 1), (8, 1), (32, 1), (1, 4), (8, 4))
    """Rows and beams."""
    batch_rows: tuple[int, ...] = ()
    """Rows of a batch that are tried with ours; none: as it is served."""
    batch_tokens: tuple[int, ...] = ()
    """Tokens of a batch that are tried with CTranslate2; none: a batch for each worker."""

    def known(self) -> Systems:
        return TRANSLATORS

    def opened(self, stack: ExitStack) -> Mapping[str, Ways]:
        if self.random is None:
            return super().opened(stack)
        models = Path(stack.enter_context(TemporaryDirectory()))
        self.random.build(models / self.base, self.models / self.base, self.seed)
        export_graphs(models / self.base, self.precision, slots=False)
        return super(Translators, self.model_copy(update={"models": models})).opened(stack)

    def settings(self) -> Iterator[tuple[str, Inputs]]:
        for rows, beams in self.batches:
            texts = [text_of(self.source, place) for place in range(rows)]
            parts = self.parts(self.corpus, rows) if self.corpus else [texts]
            yield f"{rows}, {beams}", partial(_inputs, parts, beams)

    def parts(self, corpus: Path, rows: int) -> list[list[str]]:
        """Different sentences that are translated whole, for each repetition and to try settings.

        Raises:
            ConfigError: there are not as many.
        """
        lines = sorted(set(read_text(corpus, self.source, "train")))
        random.Random(self.seed).shuffle(lines)
        wanted = rows * (self.repetitions + 1)
        # Not all are read: counting the tokens of a large corpus takes long.
        pairs = zip(lines, self.read(lines[: 2 * wanted], self.source), strict=False)
        texts = [line for line, own in pairs if len(own) <= self.most_tokens + SPECIAL][:wanted]
        if len(texts) < wanted:
            raise ConfigError(f"{corpus}: {len(texts)} sentences of {wanted} are short enough")
        return [texts[start : start + rows] for start in range(0, wanted, rows)]

    def figures(self, arm: str, answers: Answers, times: Times) -> Figures:
        """Texts and tokens a second, and rows of one repetition or all that read alike."""
        own, right = (answers[each][1:] for each in (arm, self.references[0]))
        # Random ids read as text are not the ids that were written. All are cut at the same length,
        # with a word where the end would be.
        cut = len(own[0]) * (self.most_tokens + 1) if self.random else 0
        tokens = [cut or sum(map(len, self.read(texts, self.target, 0))) for texts in own]
        pairs = list(zip(own, right, strict=True))[: None if self.corpus else 1]
        return {
            "texts/s": rates([len(texts) for texts in own], times),
            "tokens/s": rates(tokens, times),
            "=": (sum(alike(one, other) for one, other in pairs),),
        }

    def read(self, texts: Sequence[str], language: str, special: int = SPECIAL) -> list[list[int]]:
        """Language token, text and end, or the text's tokens alone."""
        tokenizer = tokenizer_of(self.models / self.base)
        ids = tokenizer(list(texts), add_special_tokens=False)["input_ids"]
        first = tokenizer.convert_tokens_to_ids(language_token(canonical(language)))
        return [[first, *each, tokenizer.eos_token_id] if special else each for each in ids]

    def write(self, translations: Sequence[Sequence[int]]) -> list[str]:
        """Text from ids, special ones left out."""
        return list(
            tokenizer_of(self.models / self.base).batch_decode(
                translations, skip_special_tokens=True
            )
        )


def _inputs(parts: Sequence[list[str]], beams: int, number: int) -> tuple[list[str], int]:
    return parts[number % len(parts)], beams


def ours(asked: Translators, stack: ExitStack, modules: bool) -> Ways:
    """The engine that serves, one or one a thread, the sentences dealt by their length."""
    models = stack.enter_context(part_of(asked.models, asked.base, modules))
    runner = stack.enter_context(asyncio.Runner())
    usual = {"source": asked.source, "target": asked.target}

    def translate(engines: Sequence[System], texts: Sequence[str], beams: int) -> list[str]:
        # A batch is of rows about as long as its first, so that the long ones go first.
        order = sorted(range(len(texts)), key=lambda place: -len(texts[place]))
        parts = [order[start :: len(engines)] for start in range(min(len(engines), len(texts)))]
        bodies: list[Json] = [
            {**usual, "beams": beams, "max_length": asked.most_tokens + SPECIAL,
             "texts": [texts[place] for place in part]}
            for part in parts
        ]  # fmt: skip
        answers = gathered(runner, engines, [Request("translate", body) for body in bodies])
        translated = [""] * len(texts)
        for place, answer in zip(chain(*parts), chain(*answers), strict=True):
            translated[place] = answer["translation"]
        return translated

    ways = {}
    for count in {1, asked.threads} if asked.batch_rows else {1}:
        threads = asked.threads // count
        own = asked.model_copy(update={"threads": threads})
        for rows in asked.batch_rows or [None]:
            size = {"batch_texts": rows} if rows else {}
            opened = [in_process(own, models, **size) for _ in range(count)]
            engines = [stack.enter_context(each) for each in opened]
            name = f"{count} x {threads} threads, batches of {rows} rows" if rows else ""
            ways[name] = partial(translate, engines)
    return ways


def ctranslate2(asked: Translators, stack: ExitStack) -> Ways:
    """CTranslate2 in 8 bits: a worker on all threads or each thread a worker."""
    import ctranslate2 as library
    from ctranslate2.converters import TransformersConverter

    checkpoint = asked.models / asked.base
    tokenizer, folder = tokenizer_of(checkpoint), stack.enter_context(TemporaryDirectory())
    TransformersConverter(str(checkpoint)).convert(folder, quantization="int8", force=True)
    target = language_token(canonical(asked.target))

    def translate(
        model: Any, count: int, tokens: int | None, texts: Sequence[str], beams: int
    ) -> list[str]:
        size = {"max_batch_size": tokens or -(-len(texts) // count)}
        results = model.translate_batch(
            [tokenizer.convert_ids_to_tokens(ids) for ids in asked.read(texts, asked.source)],
            target_prefix=[[target]] * len(texts),
            beam_size=beams,
            batch_type="tokens" if tokens else "examples",
            max_decoding_length=asked.most_tokens + SPECIAL,
            **size,
        )
        ids = [tokenizer.convert_tokens_to_ids(each.hypotheses[0]) for each in results]
        return asked.write(ids)

    ways = {}
    for count in {1, asked.threads}:
        threads = asked.threads // count
        model = library.Translator(
            folder, device="cpu", inter_threads=count, intra_threads=threads,
            compute_type="int8",
        )  # fmt: skip
        for tokens in asked.batch_tokens or [None]:
            name = f"{count} x {threads} threads" + f", batches of {tokens} tokens" * bool(tokens)
            ways[name] = partial(translate, model, count, tokens)
    return ways


def generated(model: Any, asked: Translators) -> Ways:
    """Translation by Hugging Face's ``generate``."""
    tokenizer = tokenizer_of(asked.models / asked.base)
    target = tokenizer.convert_tokens_to_ids(language_token(canonical(asked.target)))

    @torch.inference_mode()
    def translate(texts: Sequence[str], beams: int) -> list[str]:
        ids = {"input_ids": asked.read(texts, asked.source)}
        translations = model.generate(
            **tokenizer.pad(ids, return_tensors="pt"),
            forced_bos_token_id=target,
            num_beams=beams,
            max_new_tokens=asked.most_tokens + SPECIAL,
        )
        return asked.write(translations.tolist())

    return {"": translate}


def optimum(asked: Translators, stack: ExitStack) -> Ways:
    """Optimum's ONNX Runtime model with dynamic 8-bit products, caches on."""
    from onnxruntime import SessionOptions
    from optimum.exporters.onnx import main_export
    from optimum.onnxruntime import ORTModelForSeq2SeqLM, ORTQuantizer
    from optimum.onnxruntime.configuration import AutoQuantizationConfig

    plain, small = (stack.enter_context(TemporaryDirectory()) for _ in range(2))
    with without_lint():
        main_export(
            str(asked.models / asked.base), plain, task="text2text-generation-with-past",
            do_validation=False, no_post_process=True,
        )  # fmt: skip
    products = AutoQuantizationConfig.avx512_vnni(is_static=False, per_channel=True)
    for file in sorted(Path(plain).glob("*.onnx")):
        quantizer = ORTQuantizer.from_pretrained(plain, file_name=file.name)
        quantizer.quantize(save_dir=small, quantization_config=products, file_suffix="")
    options = SessionOptions()
    options.intra_op_num_threads = asked.threads
    return generated(ORTModelForSeq2SeqLM.from_pretrained(small, session_options=options), asked)


def torch_fp32(asked: Translators, stack: ExitStack) -> Ways:
    """Transformers in fp32: what all others are to translate like."""
    del stack
    model = M2M100ForConditionalGeneration.from_pretrained(asked.models / asked.base)
    return generated(model.float().eval(), asked)


TRANSLATORS: Systems = {
    "langmod": partial(ours, modules=True),
    "langmod, bare": partial(ours, modules=False),
    "CTranslate2 int8": ctranslate2,
    "Optimum int8": optimum,
    "transformers fp32": torch_fp32,
}
