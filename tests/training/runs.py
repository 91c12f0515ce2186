"""Settings of nano runs on the small corpus: seconds each, no bf16, logged at every step."""

from pathlib import Path

from training.models.base import BaseConfig
from training.modules.settings import ModuleConfig

QUICK = {
    "steps": 8,
    "batch_size": 4,
    "learning_rate": 5e-3,
    "bf16": False,
    "log_every": 1,
    "save_every": 4,
}
LANGUAGES = ("khk", "eng", "kor")


def base_config(folder: Path, corpus: Path, tokenizer: Path, kind: str, **changes) -> BaseConfig:
    values = {
        "name": f"nano-{kind}",
        "kind": kind,
        "size": "nano",
        "corpus": corpus,
        "tokenizer": tokenizer,
        "languages": LANGUAGES if kind == "encoder" else ("khk", "eng"),
        "out": folder / kind,
        "run_folder": folder / f"{kind}-run",
        "block_tokens": 48,
        "dropout": 0.0,
        "optimisation": QUICK,
    }
    return BaseConfig.model_validate(values | changes)


def module_config(folder: Path, base: Path, name: str, **changes) -> ModuleConfig:
    values = {
        "name": name,
        "base": str(base),
        "role": "language",
        "out": folder / name,
        "block_tokens": 48,
        "optimisation": QUICK,
    }
    return ModuleConfig.model_validate(values | changes)


def losses(folder: Path) -> list[float]:
    """The losses that a run logged, in order of steps, from its last checkpoint."""
    import json

    states = sorted(
        folder.glob("checkpoint-*/trainer_state.json"),
        key=lambda path: int(path.parent.name.rsplit("-", 1)[1]),
    )
    history = json.loads(states[-1].read_text())["log_history"]
    return [entry["loss"] for entry in history if "loss" in entry]
