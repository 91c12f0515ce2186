"""``langmod module``: a language or task module for a frozen base, saved in its library's format.

With ``train: base`` the same run is the full fine-tuning baseline, with ``train: head`` the bare
base under a fresh head.
"""

import torch
from transformers import set_seed

from adaptation.architectures import load_base
from adaptation.bases import load_spec, resolve_base
from adaptation.methods import METHODS
from adaptation.slotted import SlottedBase
from langmod.errors import ConfigError
from langmod.specs import ModuleRun
from training.modules.language_run import train_language
from training.modules.settings import ModuleConfig
from training.modules.task_run import train_task
from training.modules.two_phases import first_tensors


def train_module(config: ModuleConfig) -> ModuleRun:
    """Trains one module and writes its checkpoint, head and ``run.json`` to ``out``.

    Raises:
        ConfigError: fields that do not go together, or a base that is not described.
        DataError: text or labels that cannot be read.
    """
    set_seed(config.checked().optimisation.seed)
    folder = resolve_base(config.base)
    spec = load_spec(folder)
    reason = METHODS[config.method].unfit(spec.kind, config.role)
    if reason is not None and config.has_module:
        raise ConfigError(f"{config.name}: {reason}")
    slotted = SlottedBase(load_base(folder))
    generator = torch.Generator().manual_seed(config.optimisation.seed)
    tensors = first_tensors(config, slotted, generator) if config.has_module else {}
    if config.task is not None:
        return train_task(config, slotted, spec, tensors)
    return train_language(config, slotted, spec, folder, tensors)
