"""Model cards: what a base was made of, how it learned, what it scores; one PNG of its curve."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from langmod.languages import english_name
from langmod.specs import BaseSpec


def draw_curve(curve: Sequence[Mapping[str, float]], path: Path, title: str) -> None:
    """Training loss in nats per labelled token over steps, as a PNG."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    points = [(entry["step"], entry["loss"]) for entry in curve if "loss" in entry]
    figure, axes = pyplot.subplots(figsize=(6, 3.5), layout="constrained")
    if points:
        axes.plot(*zip(*points, strict=True), linewidth=1.2)
    axes.set(xlabel="step", ylabel="loss (nats per labelled token)", title=title)
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


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
scratch by `python -m training base` with the settings in `training.json`.

- languages: {languages}
- steps: {steps}; final training loss: {_last_loss(curve):.3f} nats per labelled token
- data: corpus `{data[:12]}`; its sources and licences are in `docs/corpus.md`
- licence: {spec.licence}
- digest: `{spec.digest[:12]}`

![training loss](curve.png)

## Scores

`evaluation.json` holds them with their signatures; `docs/results.md` shows them in tables.
"""
    (folder / "README.md").write_text(text, encoding="utf-8")


def _last_loss(curve: Sequence[Mapping[str, float]]) -> float:
    return next((entry["loss"] for entry in reversed(curve) if "loss" in entry), float("nan"))
