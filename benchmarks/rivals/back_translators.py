"""Who translates many sentences offline: a corpus to the sources of synthetic pairs, greedily."""

import asyncio
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from itertools import chain
from pathlib import Path

from benchmarks.experiment import BackTranslation
from benchmarks.rivals.translators import SPECIAL, Checkpoint
from benchmarks.systems import only, open_engines, without_modules
from langmod.errors import LangmodError
from service.engine import Outcome
from service.engines import Engines
from service.translator_schemas import TranslateRequest

Translate = Callable[[Sequence[str]], list[str]]
Ways = Mapping[str, Translate]
"""Settings → the system with these."""
Opened = Callable[[BackTranslation], AbstractContextManager[Ways]]
ROWS = (64, 256)
"""Of a batch of ours."""
TOKENS = (1024, 2048, 4096)
"""Of a batch of CTranslate2's."""


def workers(threads: int) -> Iterator[tuple[int, int]]:
    """How many translate side by side, and the threads of each."""
    yield 1, threads
    if threads > 1:
        yield threads, 1


@contextmanager
def ours(asked: BackTranslation) -> Iterator[Ways]:
    """The engine that serves, one or one a thread, the sentences dealt by their length."""
    with ExitStack() as stack:
        runner = stack.enter_context(asyncio.Runner())
        models = stack.enter_context(only(asked.models, asked.base))
        ways: dict[str, Translate] = {}
        for count, threads in workers(asked.threads):
            own = asked.model_copy(update={"threads": threads})
            for rows in ROWS:
                engines = [
                    stack.enter_context(open_engines(own, models, batch_texts=rows))
                    for _ in range(count)
                ]
                name = f"{count} x {threads} threads, batches of {rows} rows"
                ways[name] = _side_by_side(engines, runner, asked)
        yield ways


def _side_by_side(
    engines: Sequence[Engines], runner: asyncio.Runner, asked: BackTranslation
) -> Translate:
    async def ask(parts: Sequence[Sequence[str]]) -> list[list[Outcome]]:
        requests = [
            TranslateRequest(
                texts=list(part), source=asked.language, target=asked.pivot,
                max_length=asked.most_tokens + SPECIAL,
            )
            for part in parts
        ]  # fmt: skip
        pairs = zip(engines, requests, strict=False)
        return await asyncio.gather(*(each.translator.translate(own) for each, own in pairs))

    def translate(texts: Sequence[str]) -> list[str]:
        # A batch is of rows about as long as its first, so that the long ones go first.
        order = sorted(range(len(texts)), key=lambda place: -len(texts[place]))
        parts = [order[start :: len(engines)] for start in range(min(len(engines), len(texts)))]
        answers = runner.run(ask([[texts[place] for place in part] for part in parts]))
        found = [""] * len(texts)
        for place, outcome in zip(chain(*parts), chain(*answers), strict=True):
            if isinstance(outcome, LangmodError):
                raise outcome
            found[place] = outcome["translation"]
        return found

    return translate


@contextmanager
def bare(asked: BackTranslation) -> Iterator[Ways]:
    """Ours without the direction's module: what the other runs."""
    with (
        without_modules(asked.models) as models,
        ours(asked.model_copy(update={"models": models})) as ways,
    ):
        yield ways


@contextmanager
def ctranslate2(asked: BackTranslation) -> Iterator[Ways]:
    """CTranslate2 in 8 bits, which sorts sentences by length and cuts batches by tokens itself."""
    import ctranslate2 as library
    from ctranslate2.converters import TransformersConverter

    checkpoint = Checkpoint(asked.models / asked.base, asked.language, asked.pivot)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "model"
        TransformersConverter(str(checkpoint.folder)).convert(str(folder), quantization="int8")
        models = {
            (count, threads): library.Translator(
                str(folder), device="cpu", inter_threads=count, intra_threads=threads,
                compute_type="int8",
            )
            for count, threads in workers(asked.threads)
        }  # fmt: skip

    def translate(model: library.Translator, tokens: int, texts: Sequence[str]) -> list[str]:
        tokenizer = checkpoint.tokenizer
        found = model.translate_batch(
            [tokenizer.convert_ids_to_tokens(ids) for ids in checkpoint.read(texts)],
            target_prefix=[[checkpoint.target]] * len(texts),
            beam_size=1,
            max_batch_size=tokens,
            batch_type="tokens",
            max_decoding_length=asked.most_tokens + SPECIAL,
        )
        return checkpoint.write(
            [tokenizer.convert_tokens_to_ids(each.hypotheses[0]) for each in found]
        )

    yield {
        f"{count} x {threads} threads, batches of {tokens} tokens": partial(
            translate, model, tokens
        )
        for (count, threads), model in models.items()
        for tokens in TOKENS
    }


BACK_TRANSLATORS: dict[str, Opened] = {
    "langmod": ours,
    "langmod, bare": bare,
    "CTranslate2 int8": ctranslate2,
}
