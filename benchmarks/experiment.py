"""What one experiment asks, of whom and how often: a yaml of ``benchmarks/experiments``."""

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, JsonValue, model_validator

from langmod.config import Frozen, RunConfig
from langmod.specs import Precision

Endpoint = Literal["fill_mask", "classify", "tag", "embed", "translate"]
Arm = Literal["mixed", "by_language", "bare"]
"""All languages at once; one language after the other; all at once without any module."""


class Work(Frozen):
    """Requests of one kind, the same number in each of its languages."""

    endpoint: Endpoint
    languages: tuple[str, ...]
    """Of the texts."""
    body: dict[str, JsonValue] = Field(default_factory=dict)
    """Further fields of each request; ``{language}`` in them stands for its language."""


class Experiment(RunConfig):
    """The same requests in several arms, at several concurrencies, repeated in turns."""

    name: str
    title: str
    """Over its table."""
    models: Path = Path("models")
    precision: Precision = "int8"
    threads: int = Field(default=2, ge=1)
    """Threads of one graph run."""
    work: tuple[Work, ...]
    arms: tuple[Arm, ...] = ("mixed", "by_language", "bare")
    requests: int = Field(default=48, ge=1)
    """In each language of each work."""
    texts: int = Field(default=1, ge=1)
    """In each request."""
    concurrencies: tuple[int, ...] = (1, 8, 32)
    """Requests under way at once; the next goes out when one is answered."""
    repetitions: int = Field(default=5, ge=1)
    seed: int = 1

    @model_validator(mode="after")
    def _bare_can_answer(self) -> Self:
        tasks = {work.endpoint for work in self.work} & {"classify", "tag"}
        if tasks and "bare" in self.arms:
            raise ValueError(f"a bare base has no head for {', '.join(sorted(tasks))}: drop `bare`")
        return self
