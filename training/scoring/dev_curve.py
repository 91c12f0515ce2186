"""The dev curve of a translator while it trains: chrF++ by direction, as JSON and PNG.

Scored greedily on a fixed sample of FLORES dev sentences, at set times; never on test text.
"""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import sacrebleu
import torch
from pydantic import Field
from tokenizers import Tokenizer
from transformers import (
    EncoderDecoderModel,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from langmod.config import Frozen, write_atomic
from langmod.languages import canonical
from training.data.corpus import pair_file, read_lines
from training.data.pair_batches import padded

CURVE_FILE = "dev.json"
BATCH = 40


class DevSettings(Frozen):
    """What is scored, and how often."""

    corpus: Path
    directions: tuple[str, ...]
    """Source and target with a hyphen: ``mn-en``."""
    sentences: int = Field(default=40, ge=1)
    """Sentences of each direction."""
    origin: str = "flores"
    minutes: float = 30.0
    """Between two scorings."""
    longest: int = 72
    """Tokens of a translation at most."""


class Progress(Protocol):
    """How far a run is."""

    tokens: float
    hours: float


class DevCurve(TrainerCallback):
    """Scores the translator every so many minutes and redraws its curve."""

    def __init__(
        self,
        settings: DevSettings,
        folder: Path,
        parts: tuple[EncoderDecoderModel, Tokenizer, Tokenizer],
        tokens: Mapping[str, int],
        progress: Progress,
    ) -> None:
        """``parts``: translator, source and target tokenizer; ``tokens``: those of languages."""
        self.settings, self.folder, self.tokens, self.progress = settings, folder, tokens, progress
        self.translator, self.source, self.target = parts
        self.measured = time.monotonic()
        self.pairs = {name: read_dev(settings, name) for name in settings.directions}

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Scores once the time has come."""
        if time.monotonic() - self.measured >= self.settings.minutes * 60:
            self.measure(state)

    def measure(self, state: TrainerState) -> dict[str, float]:
        """Scores every direction, adds a point to the curve and draws it."""
        was_training = self.translator.training
        self.translator.eval()
        scores = {name: self._score(name) for name in self.settings.directions}
        self.translator.train(was_training)
        point = {
            "step": state.global_step,
            "tokens": self.progress.tokens,
            "hours": round(self.progress.hours, 3),
            "chrf++": scores,
            "mean": round(sum(scores.values()) / len(scores), 2),
        }
        curve = [each for each in read_curve(self.folder) if each["step"] < state.global_step]
        curve.append(point)
        write_atomic(self.folder / CURVE_FILE, json.dumps(curve, indent=1) + "\n")
        draw(curve, self.folder / "dev.png")
        self.measured = time.monotonic()
        return scores

    def _score(self, direction: str) -> float:
        pairs = self.pairs[direction]
        language = self.tokens[canonical(direction.partition("-")[2])]
        found = [
            text
            for start in range(0, len(pairs), BATCH)
            for text in self.translated(
                [pair[0] for pair in pairs[start : start + BATCH]], language
            )
        ]
        metric = sacrebleu.CHRF(word_order=2)
        return round(metric.corpus_score(found, [[pair[1] for pair in pairs]]).score, 2)

    def translated(self, texts: list[str], language: int) -> list[str]:
        """Greedy translations of a batch of texts, no three pieces twice."""
        config, pad = self.translator.config, self.source.token_to_id("<pad>")
        rows = [each.ids for each in self.source.encode_batch(texts)]
        ids = padded(rows, pad)  # [B, S]
        start = torch.tensor([[config.decoder_start_token_id, language]])
        halves = any(each.dtype == torch.bfloat16 for each in self.translator.parameters())
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=halves):
            found = self.translator.generate(
                input_ids=ids,
                attention_mask=(ids != pad).long(),
                decoder_input_ids=start.expand(len(texts), -1),
                max_new_tokens=self.settings.longest,
                no_repeat_ngram_size=3,
                num_beams=1,
                do_sample=False,
            )
        said = [[t for t in row if t != config.eos_token_id] for row in found[:, 2:].tolist()]
        return [self.target.decode(row, skip_special_tokens=True).strip() for row in said]


def read_dev(settings: DevSettings, direction: str) -> list[tuple[str, str]]:
    """The first dev pairs of an origin, source first."""
    source, target = map(canonical, direction.split("-"))
    straight = settings.corpus / pair_file(f"{source}-{target}", "dev")
    turned = settings.corpus / pair_file(f"{target}-{source}", "dev")
    path = straight if straight.is_file() else turned
    cells = [line.split("\t") for line in read_lines(path)]
    rows = [(a, b) for a, b, origin in cells if origin == settings.origin][: settings.sentences]
    return rows if path == straight else [(b, a) for a, b in rows]


def read_curve(folder: Path) -> list[dict[str, Any]]:
    """The points of a run's dev curve; none before the first scoring."""
    path = folder / CURVE_FILE
    found: list[dict[str, Any]] = json.loads(path.read_text("utf-8")) if path.is_file() else []
    return found


def draw(curve: list[dict[str, Any]], path: Path) -> None:
    """chrF++ of each direction over millions of target tokens, as a PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.5, 4), layout="constrained")
    axes = figure.subplots()
    tokens = [point["tokens"] / 1e6 for point in curve]
    for direction in curve[-1]["chrf++"]:
        axes.plot(tokens, [point["chrf++"].get(direction) for point in curve], label=direction)
    axes.plot(tokens, [point["mean"] for point in curve], "k--", label="mean")
    axes.set(xlabel="target tokens (millions)", ylabel="chrF++ on FLORES dev")
    axes.legend(fontsize="small", ncols=2)
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=110)
