"""Model cards: what a base was made of, how it learned, what it scores; one PNG of its curve."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from langmod.config import write_atomic
from langmod.languages import english_name
from langmod.specs import BaseSpec, Metric

SCORES = "## Scores"


def draw_curve(curve: Sequence[Mapping[str, float]], path: Path, title: str) -> None:
    """Training loss in nats per labelled token over steps, as a PNG."""
    from matplotlib.figure import Figure

    points = [(entry["step"], entry["loss"]) for entry in curve if "loss" in entry]
    figure = Figure(figsize=(6, 3.5), layout="constrained")
    axes = figure.subplots()
    if points:
        axes.plot(*zip(*points, strict=True), linewidth=1.2)
    axes.set(xlabel="step", ylabel="loss (nats per labelled token)", title=title)
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=110)


def write_base_card(
    folder: Path, spec: BaseSpec, curve: Sequence[Mapping[str, float]], data: str
) -> None:
    """Writes ``curve.json``, ``curve.png`` and the first part of the base's README.md."""
    (folder / "curve.json").write_text(json.dumps(list(curve)) + "\n", encoding="utf-8")
    draw_curve(curve, folder / "curve.png", spec.name)
    languages = ", ".join(f"{english_name(tag)} (`{tag}`)" for tag in spec.languages)
    depth = f"{spec.layers} layers" + (
        f" + {spec.decoder_layers} decoder layers" if spec.decoder_layers else ""
    )
    steps = max((int(entry["step"]) for entry in curve if "step" in entry), default=0)
    text = f"""# {spec.name}

A {spec.kind} base of langmod ({spec.architecture}, {depth}, width {spec.width}), trained from
scratch by `langmod base` with the settings in `training.json`.

- languages: {languages}
- steps: {steps}; final training loss: {_last_loss(curve):.3f} nats per labelled token
- data: corpus `{data[:12]}`; its sources and licences are in `docs/corpus.md`
- licence: {spec.licence}
- digest: `{spec.digest[:12]}`

![training loss](curve.png)

{SCORES}

Not scored yet: `langmod score`.
"""
    (folder / "README.md").write_text(text, encoding="utf-8")


def write_card_scores(folder: Path, metrics: Sequence[Metric]) -> None:
    """Writes ``evaluation.json`` and the scores of the README.md, replacing older ones."""
    rows = [metric.model_dump(mode="json") for metric in metrics]
    write_atomic(folder / "evaluation.json", json.dumps({"metrics": rows}, indent=1) + "\n")
    card = folder / "README.md"
    text = card.read_text(encoding="utf-8") if card.is_file() else f"# {folder.name}\n\n"
    write_atomic(card, f"{text.partition(SCORES)[0]}{SCORES}\n\n{score_table(metrics)}")


def score_table(metrics: Sequence[Metric]) -> str:
    """A row for each language or direction, a column for each metric, then the signatures."""
    names = list(dict.fromkeys(metric.name for metric in metrics))
    cells = {(metric.language, metric.name): f"{metric.value:.3f}" for metric in metrics}
    places = dict.fromkeys(metric.language for metric in metrics)
    lines = [f"| | {' | '.join(names)} |", f"|---|{'--:|' * len(names)}"]
    for place in places:
        shown = [cells.get((place, name), "–") for name in names]
        lines.append(f"| {place} | {' | '.join(shown)} |")
    splits = ", ".join(dict.fromkeys(metric.split for metric in metrics))
    signatures = dict.fromkeys(f"- {metric.name}: `{metric.signature}`" for metric in metrics)
    about = f"The bare base on the {splits} split; `evaluation.json` has every number in full."
    return "\n".join([about, "", *lines, "", *signatures, ""])


def _last_loss(curve: Sequence[Mapping[str, float]]) -> float:
    return next((entry["loss"] for entry in reversed(curve) if "loss" in entry), float("nan"))
