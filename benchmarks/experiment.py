"""What one experiment asks, of whom and how often: a yaml of ``benchmarks/experiments``."""

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, JsonValue, model_validator

from langmod.config import Frozen, RunConfig
from langmod.specs import Precision
from service.settings import MEBIBYTE

Endpoint = Literal["fill_mask", "classify", "tag", "embed", "translate"]
Arm = Literal["mixed", "by_language", "bare"]
"""All languages at once; one language after the other; all at once without any module."""
Traffic = Literal["zipf", "uniform"]
"""The k-th module is asked for k^-exponent times as often as the first; all as often."""
Loop = Literal["langmod", "groups", "lines", "padded"]
"""Ours; run_mlm's own with texts in groups, a line a row, a line a row padded to full length."""
Size = Literal["nano", "mini", "small"]
Mix = Literal["bare", "lora", "bottleneck", "every kind", "every kind twice"]
"""Rows on the bare base; modules of one method, or of every method in turn, one a row; a module of
each role a row."""


class Work(Frozen):
    """Requests of one kind, the same number in each of its languages."""

    endpoint: Endpoint
    languages: tuple[str, ...]
    """Of the texts."""
    body: dict[str, JsonValue] = Field(default_factory=dict)
    """Further fields of each request; ``{language}`` in them stands for its language."""


class Trial(RunConfig):
    """What all experiments say."""

    name: str
    title: str
    """Over its table."""
    models: Path = Path("models")
    precision: Precision = "int8"
    threads: int = Field(default=2, ge=1)
    """Threads of one graph run."""
    seed: int = 1


class Asking(Trial):
    """Requests at several concurrencies, repeated in turns."""

    work: tuple[Work, ...]
    requests: int = Field(default=48, ge=1)
    """In each language of each work."""
    texts: int = Field(default=1, ge=1)
    """In each request."""
    concurrencies: tuple[int, ...] = (1, 8, 32)
    """Requests under way at once; the next goes out when one is answered."""
    repetitions: int = Field(default=5, ge=1)


class Experiment(Asking):
    """The same requests in several arms."""

    arms: tuple[Arm, ...] = ("mixed", "by_language", "bare")

    @model_validator(mode="after")
    def _bare_can_answer(self) -> Self:
        tasks = {work.endpoint for work in self.work} & {"classify", "tag"}
        if tasks and "bare" in self.arms:
            raise ValueError(f"a bare base has no head for {', '.join(sorted(tasks))}: drop `bare`")
        return self


class Copies(Frozen):
    """Many modules for one base: a published one with noise, each with its own."""

    base: str
    module: str
    count: int = Field(ge=2)
    ranks: tuple[int, ...] = ()
    """In turn, instead of the module's own; numbers are cut off or filled up with noise."""
    noise: float = Field(default=0.5, gt=0)
    """Standard deviation, in those of the module's tensors."""

    def name(self, number: int) -> str:
        """What a copy is called."""
        return f"{self.module}-{number}"


class ManyModules(Trial):
    """Requests that each name one of many modules, with more or fewer slots for them."""

    copies: Copies
    work: Work
    """What is asked of every module; its languages in turn."""
    slots: tuple[int, ...] = (1024, 256, 128, 64, 32, 16)
    """The first is what the others are compared with."""
    aims: dict[int, float] = Field(default_factory=dict)
    """Slots → least share of the first one's texts a second, in Zipf's traffic."""
    module_bytes: int = 512 * MEBIBYTE
    """Memory for modules beside the slots; the first has enough for all."""
    traffics: tuple[Traffic, ...] = ("zipf", "uniform")
    exponent: float = Field(default=1.1, gt=0)
    requests: int = Field(default=2000, ge=1)
    concurrency: int = Field(default=32, ge=1)
    repetitions: int = Field(default=5, ge=1)


class Churn(Trial):
    """One module after the other, each put in and out again, for as long as it takes."""

    copies: Copies
    work: Work
    slots: int = Field(default=16, ge=1)
    module_bytes: int = Field(default=4 * MEBIBYTE, ge=0)
    """So little that a module is read from the disk each time."""
    bank_bytes: int = Field(default=4 * MEBIBYTE, ge=1)
    """So little that a wide module takes the place of several others."""
    cycles: int = Field(default=10_000, ge=1)
    every: int = Field(default=1000, ge=1)
    """Cycles from one reading of the memory to the next."""
    concurrency: int = Field(default=8, ge=1)


class TrainingArm(Frozen):
    """One way to train."""

    loop: Loop
    bf16: bool = True


class TrainingSpeed(Trial):
    """The same model and texts through several training loops, a few steps at a time in turns."""

    size: Size = "mini"
    tokenizer: Path
    corpus: Path
    languages: tuple[str, ...]
    sentences: int = Field(default=2000, ge=1)
    """Of each language."""
    block_tokens: int = 128
    mask_rate: float = 0.15
    batch_size: int = 12
    arms: tuple[TrainingArm, ...] = (
        TrainingArm(loop="langmod"),
        TrainingArm(loop="groups"),
        TrainingArm(loop="groups", bf16=False),
        TrainingArm(loop="lines"),
        TrainingArm(loop="padded"),
    )
    """The first is what the others are compared with."""
    aim: float
    """How many times as many tokens it is to read."""
    warm_up: int = Field(default=2, ge=1)
    """Steps before the clock starts, in each repetition."""
    steps: int = Field(default=6, ge=1)
    repetitions: int = Field(default=5, ge=1)


class RandomBase(Trial):
    """What is measured on a base of XLM-R's architecture with random weights."""

    width: int
    layers: int = Field(ge=1)
    modules: int = Field(default=30, ge=1)
    """In the slots of a role; rows take them in turn."""


class SlotsCost(RandomBase):
    """The body of an encoder with modules in its slots beside the plain graph of the same base."""

    aims: dict[Mix, float] = Field(default_factory=dict)
    """Times the plain graph's time that a mix may take."""

    batches: tuple[tuple[int, int], ...] = ((1, 16), (8, 32), (32, 32))
    """Rows and tokens."""
    mixes: tuple[Mix, ...] = ("bare", "lora", "bottleneck", "every kind", "every kind twice")
    repetitions: int = Field(default=15, ge=1)


class RandomShape(Frozen):
    """A translator with random weights, which never ends a translation by itself."""

    width: int
    layers: int = Field(ge=1)
    """Of the encoder, and as many of the decoder."""
    heads: int
    feed_forward: int
    vocabulary: int
    """At least that of the tokenizer."""


class Rivals(Trial):
    """The same texts translated by several systems on the same weights, in turns."""

    base: str
    """In ``models``, with its checkpoint, as rivals read that."""
    random: RandomShape | None = None
    """Random weights of this shape instead; the tokenizer is the base's."""
    cache: Path = Path("runs/benchmarks")
    """Where what is built for random weights is kept."""
    source: str
    target: str
    systems: tuple[str, ...]
    """The first is what the others are compared with; all are to translate like the last."""
    aims: dict[str, tuple[float, float]] = Field(default_factory=dict)
    """System → how many times its tokens a second the first is to write, greedily and in beams."""
    batches: tuple[tuple[int, int], ...] = ((1, 1), (8, 1), (32, 1), (1, 4), (8, 4))
    """Rows and beams."""
    most_tokens: int = Field(default=40, ge=1)
    """Of a translation, language token and end left out."""
    repetitions: int = Field(default=9, ge=1)


class FillMaskRivals(Trial):
    """Texts of several languages with a mask each, filled by several systems in turns."""

    base: str
    """In ``models``, with its checkpoint, as rivals read that."""
    languages: tuple[str, ...]
    """Of the rows, in turn."""
    top_k: int = 5
    systems: tuple[str, ...]
    """The first is what the others are compared with."""
    reference: str
    """Of the systems: whose first words the others are held against."""
    aims: dict[str, float] = Field(default_factory=dict)
    """System → how many times its rows a second the first is to fill."""
    rows: tuple[int, ...] = (1, 32)
    batch_sizes: tuple[int, ...] = (1, 8, 32)
    """That are tried with systems that have to be told one."""
    repetitions: int = Field(default=15, ge=1)


class BackTranslation(Trial):
    """Sentences of a corpus translated offline by several systems, some at a time in turns."""

    base: str
    """In ``models``, with its checkpoint, as rivals read that."""
    corpus: Path
    language: str
    """Of the sentences."""
    pivot: str
    """Into which they are translated."""
    systems: tuple[str, ...]
    """The first is what the others are compared with."""
    reference: str
    """Of the systems: whose translations the others are held against."""
    aims: dict[str, float] = Field(default_factory=dict)
    """System → how many times its sentences a second the first is to translate."""
    sentences: int = Field(default=10_000, ge=1)
    chunk: int = Field(default=1000, ge=1)
    """Sentences that one system translates before the next one's turn."""
    tried: int = Field(default=250, ge=1)
    """Further sentences, that settings are tried on."""
    most_tokens: int = Field(default=64, ge=1)
    """Of a sentence and of a translation, language token and end left out."""


class EncoderRivals(RandomBase):
    """Rows of many modules of one method, encoded by several systems in turns."""

    method: Literal["lora", "bottleneck"]
    cache: Path | None = Path("runs/benchmarks")
    """Where our graphs, the same for all methods, are kept."""
    systems: tuple[str, ...]
    """The first is what the others are compared with."""
    references: tuple[str, str]
    """Whose numbers are right: of systems with modules, and of those that run the bare base."""
    aims: dict[str, float] = Field(default_factory=dict)
    """System → how many times the first system's time it is to take."""
    batches: tuple[tuple[int, int], ...] = ((1, 32), (8, 32), (32, 32))
    """Rows and tokens."""
    repetitions: int = Field(default=7, ge=1)
