"""From a checkpoint's folder to its architecture."""

from pathlib import Path

from transformers import AutoConfig, AutoModelForMaskedLM, AutoModelForSeq2SeqLM

from adaptation.architectures.architecture import Architecture
from adaptation.architectures.encoder import EncoderArchitecture
from adaptation.architectures.vocabulary_head import read_head
from langmod.errors import ConfigError


def family_of(folder: Path) -> type[Architecture]:
    """The architecture that a checkpoint's ``config.json`` names.

    Raises:
        ConfigError: the folder is no checkpoint, or of a family that langmod does not know.
    """
    # Without a config.json transformers guesses the family from the folder's name.
    if not (folder / "config.json").is_file():
        raise ConfigError(f"{folder} is no Hugging Face checkpoint: it has no config.json")
    try:
        model_type = AutoConfig.from_pretrained(folder).model_type
    except (OSError, ValueError) as error:
        raise ConfigError(f"{folder} is no Hugging Face checkpoint: {error}") from error
    family = Architecture.families.get(model_type)
    if family is None:
        allowed = ", ".join(sorted(Architecture.families))
        raise ConfigError(f"{folder} is a {model_type} model; allowed: {allowed}")
    return family


def load_base(folder: Path, attention: str = "sdpa") -> Architecture:
    """A base checkpoint in fp32 as its architecture, with the head that lies beside it.

    Weights stored in halves are widened.

    Raises:
        ConfigError: the folder is no checkpoint, or of a family that langmod does not know.
    """
    family = family_of(folder)
    loader = AutoModelForMaskedLM if family.kind == "encoder" else AutoModelForSeq2SeqLM
    model = loader.from_pretrained(folder, attn_implementation=attention).float()
    architecture = family(model)
    if isinstance(architecture, EncoderArchitecture):
        read_head(architecture, folder)
    return architecture
