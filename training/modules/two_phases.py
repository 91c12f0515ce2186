"""What one run of a language module hands to the next, as the two phases of XPT want it.

Lee et al. 2021: new words and translation layers learn around a frozen encoder, then all together.
"""

from torch import Generator, Tensor

from adaptation.architectures import Architecture
from adaptation.methods import METHODS
from adaptation.slotted import SlottedBase
from langmod.errors import ConfigError
from langmod.specs import ModuleRun
from training.modules.settings import ModuleConfig


def first_tensors(
    config: ModuleConfig, slotted: SlottedBase, generator: Generator
) -> dict[str, Tensor]:
    """What a module starts from: fresh tensors, or those of an earlier run.

    Raises:
        ConfigError: no finished run there, or one of another method.
    """
    method = METHODS[config.method]
    settings = method.Config.model_validate(config.method_config)
    if config.start_from is None:
        return method.fresh(settings, slotted.architecture, generator)
    run = ModuleRun.load(config.start_from)
    if run.method != config.method or run.train not in ("module", "both"):
        raise ConfigError(
            f"start_from: {config.start_from} is a {run.method} run that trained its {run.train}; "
            f"wanted a {config.method} module"
        )
    return method.read(config.start_from / run.name, slotted.architecture)[1]


def freeze_unread_words(config: ModuleConfig, architecture: Architecture) -> None:
    """Keeps the base's words out of what learns where the module's own take their place."""
    if config.train == "both" and METHODS[config.method].own_words:
        architecture.model.get_input_embeddings().requires_grad_(False)
        architecture.vocabulary.requires_grad_(False)
