"""The service's settings: the only place that reads the environment (``LANGMOD_*``)."""

import os
from functools import cached_property
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from langmod.specs import Precision
from service.scheduler import Limits
from service.slots import Budget

Provider = Literal["cpu", "cuda"]
MEBIBYTE = 2**20


class Settings(BaseSettings):
    """Every knob of the service, each as ``LANGMOD_<NAME>``."""

    model_config = SettingsConfigDict(
        env_prefix="LANGMOD_", frozen=True, use_attribute_docstrings=True
    )

    models: Path = Path(__file__).resolve().parents[1] / "models"
    """Folder of bases: each with its tokenizer, ``onnx/<precision>`` and ``modules``."""
    encoder: str | None = None
    """Base that serves fill_mask, classify, tag and embed; else the only encoder found."""
    translator: str | None = None
    """Base that serves translate and back_translate; else the only translator found."""
    store: str | None = None
    """Where modules lie when not in ``modules`` of their base: a folder, a URL of fsspec or
    ``bentoml://{base}``; ``{base}`` stands for the base's name."""
    cache: Path = Path("~/.cache/langmod")
    """Folder that keeps verified files of a store that is no folder, and graphs as ONNX Runtime
    optimised them for this processor; it may be deleted."""
    poll_seconds: float = Field(default=5, ge=0)
    """How often such a store is looked at for changes; 0: on each request."""
    precision: Precision = "int8"
    provider: Provider = "cpu"
    threads: int = Field(default_factory=lambda: len(os.sched_getaffinity(0)), ge=1)
    """Threads of one graph run."""
    slots: int = Field(default=64, ge=1)
    """Modules of one role that lie ready in a base's banks."""
    bank_bytes: int = Field(default=1024 * MEBIBYTE, ge=1)
    """Memory of the banks of one role of a base; all are padded to the widest module there."""
    module_bytes: int = Field(default=512 * MEBIBYTE, ge=0)
    """Memory for loaded modules beside the banks, per base."""
    refuse_seconds: float = Field(default=5, ge=0)
    """How long a module that could not be loaded is refused without reading it again."""
    queued_texts: int = Field(default=2048, ge=1)
    """Texts that may wait for one base; requests beyond are answered 429."""
    batch_texts: int = Field(default=64, ge=1)
    batch_tokens: int = Field(default=4096, ge=1)
    """Tokens of one batch after padding."""
    detection_threshold: float = Field(default=0.5, ge=0, le=1)
    """Probability from which on a language that was detected is believed; below, 422."""
    max_texts: int = Field(default=256, ge=1)
    """Texts of one request."""
    max_bytes: int = Field(default=8 * MEBIBYTE, ge=1)
    """Bytes of one request's body."""
    pivot: str = "en"
    """Language through which a direction without a module of its own is translated, where both
    halves have one."""
    length_ratio: float = Field(default=2, gt=0)
    """A translation left to itself has at most so many times its source's tokens, and"""
    length_margin: int = Field(default=10, ge=2)
    """so many more."""
    no_repeat_ngram: int = Field(default=0, ge=0)
    """No run of so many tokens is written twice in one sentence, unless a request says otherwise;
    0: any may be."""
    repetition_penalty: float = Field(default=1.0, ge=1)
    """By which the log-probability of a token written before is multiplied, unless a request says
    otherwise."""
    timeout: float = Field(default=300, gt=0)
    """Seconds a request may take, waiting included."""

    @field_validator("store")
    @classmethod
    def _one_for_each_base(cls, store: str | None) -> str | None:
        if store is not None and "{base}" not in store:
            raise ValueError("must hold {base}, so that no base is offered another's modules")
        return store

    @cached_property
    def limits(self) -> Limits:
        """The bounds of each base's scheduler."""
        return Limits(self.queued_texts, self.batch_texts, self.batch_tokens)

    @cached_property
    def budget(self) -> Budget:
        """The bounds of each role's banks."""
        return Budget(self.slots, self.bank_bytes)
