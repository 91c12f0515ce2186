"""What was found of things that ran side by side: graphs, rivals, training loops."""

from statistics import median

from benchmarks.experiment import (
    BackTranslation,
    EncoderRivals,
    FillMaskRivals,
    Mix,
    Rivals,
    SlotsCost,
    TrainingArm,
    TrainingSpeed,
)
from benchmarks.result import Measured
from langmod.config import Frozen

TRAINING_LIBRARIES = ("langmod", "torch", "transformers", "accelerate", "numpy")


class TrainingRun(Frozen):
    """One repetition of a training loop."""

    tokens_per_second: float
    """That are text: padding does not count."""
    seconds_per_step: float
    text: float
    """Share of the positions that are no padding."""


class TrainingPoint(Frozen):
    """A training loop with its repetitions."""

    arm: TrainingArm
    runs: tuple[TrainingRun, ...]


class CostPoint(Frozen):
    """A batch with a mix of modules beside the same batch in the plain graph."""

    rows: int
    tokens: int
    mix: Mix
    milliseconds: tuple[float, ...]
    """Of each repetition."""
    plain: tuple[float, ...]
    """Of the plain graph in the same repetitions."""

    @property
    def ratio(self) -> float:
        """To the plain graph's time: median over the repetitions."""
        return median(own / bare for own, bare in zip(self.milliseconds, self.plain, strict=True))


class RivalRun(Frozen):
    """One batch of one system."""

    milliseconds: float
    tokens: int
    """It wrote."""

    @property
    def speed(self) -> float:
        """Tokens a second."""
        return 1e3 * self.tokens / self.milliseconds


class RivalPoint(Frozen):
    """A system with its repetitions of one batch."""

    system: str
    rows: int
    beams: int
    runs: tuple[RivalRun, ...]
    alike: int
    """Rows that it translates as the last system does."""


class EncoderPoint(Frozen):
    """A system with its repetitions of one batch of encoder rows."""

    system: str
    rows: int
    tokens: int
    milliseconds: tuple[float, ...]
    difference: float
    """Largest from its reference, as a share of the reference's largest number."""


class FillMaskPoint(Frozen):
    """A system with its repetitions of one batch of texts with masks."""

    system: str
    rows: int
    settings: str
    """That were the fastest."""
    milliseconds: tuple[float, ...]
    alike: int
    """Rows whose first word is the reference's."""


class ChunkRun(Frozen):
    """Some sentences of a corpus, translated by one system."""

    seconds: float
    sentences: int
    tokens: int
    """It wrote."""


class BackTranslationPoint(Frozen):
    """A system with all its chunks."""

    system: str
    settings: str
    """That were the fastest."""
    runs: tuple[ChunkRun, ...]
    alike: int
    """Sentences that it translates as the reference does."""


class CostResult(Measured):
    """What slots cost."""

    experiment: SlotsCost
    points: tuple[CostPoint, ...]


class RivalsResult(Measured):
    """Systems side by side."""

    experiment: Rivals
    points: tuple[RivalPoint, ...]

    def of_batch(self, rows: int, beams: int) -> list[RivalPoint]:
        """Every system's point, in their order."""
        return [each for each in self.points if (each.rows, each.beams) == (rows, beams)]

    def ratio(self, point: RivalPoint) -> float:
        """How many times as many tokens a second the first system writes: median of repetitions.

        Those that ran one after the other are compared, as the machine was the same for both.
        """
        first = self.of_batch(point.rows, point.beams)[0]
        pairs = zip(first.runs, point.runs, strict=True)
        return median(one.speed / other.speed for one, other in pairs)


class EncoderRivalsResult(Measured):
    """Encoders side by side."""

    experiment: EncoderRivals
    points: tuple[EncoderPoint, ...]

    def of_batch(self, rows: int, tokens: int) -> list[EncoderPoint]:
        """Every system's point, in their order."""
        return [each for each in self.points if (each.rows, each.tokens) == (rows, tokens)]

    def ratio(self, point: EncoderPoint) -> float:
        """How many times the first system's time it takes: median over the repetitions."""
        first = self.of_batch(point.rows, point.tokens)[0]
        pairs = zip(first.milliseconds, point.milliseconds, strict=True)
        return median(other / one for one, other in pairs)


class FillMaskResult(Measured):
    """Fillers of masks side by side."""

    experiment: FillMaskRivals
    points: tuple[FillMaskPoint, ...]

    def of_batch(self, rows: int) -> list[FillMaskPoint]:
        """Every system's point, in their order."""
        return [each for each in self.points if each.rows == rows]

    def ratio(self, point: FillMaskPoint) -> float:
        """How many times as many rows a second the first system fills: median of repetitions."""
        pairs = zip(self.of_batch(point.rows)[0].milliseconds, point.milliseconds, strict=True)
        return median(other / one for one, other in pairs)


class BackTranslationResult(Measured):
    """Translators of a corpus side by side."""

    experiment: BackTranslation
    points: tuple[BackTranslationPoint, ...]

    def ratio(self, point: BackTranslationPoint) -> float:
        """How many times as many sentences a second the first system makes: median of chunks."""
        pairs = zip(self.points[0].runs, point.runs, strict=True)
        return median(other.seconds / one.seconds for one, other in pairs)


class TrainingResult(Measured):
    """Training loops side by side."""

    experiment: TrainingSpeed
    points: tuple[TrainingPoint, ...]

    def ratio(self, point: TrainingPoint) -> float:
        """How many times as many tokens the first loop reads: median over the repetitions.

        Those that ran one after the other are compared, as the machine was the same for both.
        """
        pairs = zip(self.points[0].runs, point.runs, strict=True)
        return median(first.tokens_per_second / each.tokens_per_second for first, each in pairs)
