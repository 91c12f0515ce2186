"""What a run of a module leaves behind: description, checkpoint, head, a base that learned too."""

from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import AutoTokenizer

from adaptation.bases import describe_base
from adaptation.methods import METHODS
from adaptation.slotted import SlottedBase
from langmod.encoding import TextEncoder
from langmod.specs import BASE_FOLDER, HEAD_FILE, SETTINGS_FILE, BaseSpec, ModuleRun
from training.data.corpus import corpus_digest
from training.models.base import save_halves
from training.modules.settings import ModuleConfig


def describe_run(
    config: ModuleConfig,
    spec: BaseSpec,
    model: nn.Module,
    curve: list[dict[str, float]],
) -> ModuleRun:
    """What ``run.json`` says of every run alike."""
    learning = sum(p.numel() for p in model.parameters() if p.requires_grad)
    losses = [entry["loss"] for entry in curve if "loss" in entry]
    return ModuleRun(
        name=config.name,
        role=config.role,
        method=config.method,
        train=config.train,
        base=spec.name,
        base_digest=spec.digest,
        languages=(),
        data=corpus_digest(config.corpus) if config.corpus else "see docs/corpus.md",
        licence=config.licence,
        steps=config.optimisation.steps,
        trained_parameters=learning,
        final_loss=losses[-1] if losses else float("nan"),
    )


def save_run(
    config: ModuleConfig, run: ModuleRun, slotted: SlottedBase, tensors: Mapping[str, Tensor]
) -> None:
    """Writes the method's checkpoint, the head's tensors and ``run.json``."""
    config.out.mkdir(parents=True, exist_ok=True)
    config.save(config.out / SETTINGS_FILE)
    plain = {name: tensor.detach().float().contiguous() for name, tensor in tensors.items()}
    own = {name: tensor for name, tensor in plain.items() if name.startswith(f"{config.method}.")}
    head = {name: tensor for name, tensor in plain.items() if name not in own}
    if own:
        method = METHODS[config.method]
        settings = method.Config.model_validate(config.method_config)
        method.write(config.out / config.name, settings, own, slotted.architecture)
    if head:
        save_file(head, config.out / HEAD_FILE)
    run.save(config.out)


def keep_base(config: ModuleConfig, slotted: SlottedBase, spec: BaseSpec, folder: Path) -> None:
    """Writes a fine-tuned base as a base of its own, beside its run."""
    kept = config.out / BASE_FOLDER
    save_halves(slotted.architecture, kept)
    AutoTokenizer.from_pretrained(folder).save_pretrained(kept)
    describe_base(kept, config.name, spec.languages, config.licence, spec.max_tokens)


def own_encoder(config: ModuleConfig, spec: BaseSpec) -> TextEncoder | None:
    """What reads text for a run that brought a vocabulary."""
    found = METHODS[config.method].vocabulary(config.out / config.name)
    return None if found is None else TextEncoder(found[1], spec, found[0])
