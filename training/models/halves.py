"""``training join``: an encoder and a decoder that were trained apart, made one translator.

The folder is Hugging Face's ``EncoderDecoderModel``: ``AutoModelForSeq2SeqLM`` loads it once
``adaptation.architectures`` is imported. The encoder's tokenizer lies in the folder itself, the
decoder's in ``target/``.
"""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from safetensors.torch import load_file
from tokenizers import Tokenizer
from transformers import AutoModel, EncoderDecoderModel, PreTrainedModel

from adaptation.architectures.layer_reader import LayerReader, LayerReaderConfig
from adaptation.bases import resolve_base
from langmod.config import Frozen, RunConfig
from langmod.errors import ConfigError
from langmod.languages import canonical
from training.models.adopt import unpacked
from training.models.ct2_file import read_ct2
from training.models.whisper_decoder import END, START, whisper_decoder

TARGET = "target"
"""Folder of the decoder's tokenizer, in that of the translator."""
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")


class Packed(Frozen):
    """A file in a package of the package index."""

    package: str
    """``name==version``"""
    file: str


class DecoderSource(Frozen):
    """Where a Whisper decoder comes from."""

    parts: tuple[Packed, ...]
    """The parts of its CTranslate2 model, in their order."""
    tokenizer: Packed
    """The place of its ``tokenizer.json``."""
    heads: int = 8
    """Heads of each attention."""
    licence: str


class JoinConfig(RunConfig):
    """One run of ``training join``."""

    name: str
    encoder: str
    """A folder or hub id of an encoder base."""
    read_layers: tuple[int, ...]
    """The encoder's layers that cross attention reads, from 1 on."""
    decoder: DecoderSource
    out: Path


def join_halves(config: JoinConfig) -> Path:
    """Writes the translator; what lies between its halves is random, cross attention untrained.

    Raises:
        ConfigError: packages that cannot be fetched, or files that are not in them.
    """
    encoder_folder = resolve_base(config.encoder)
    with TemporaryDirectory() as room:
        files = fetched([*config.decoder.parts, config.decoder.tokenizer], Path(room))
        target = Tokenizer.from_file(str(files.pop()))
        ids = (target.token_to_id(START), target.token_to_id(END))
        decoder = whisper_decoder(read_ct2(files), config.decoder.heads, ids)
    inner = AutoModel.from_pretrained(encoder_folder, add_pooling_layer=False).float()
    settings = LayerReaderConfig(
        inner.config.to_dict(), list(config.read_layers), decoder.config.d_model
    )
    encoder = LayerReader(settings)
    encoder.encoder.load_state_dict(inner.state_dict())
    translator = EncoderDecoderModel(encoder=encoder, decoder=decoder)
    translator.config.pad_token_id = translator.config.eos_token_id = ids[1]
    translator.config.decoder_start_token_id = ids[0]
    translator.save_pretrained(config.out)
    for name in TOKENIZER_FILES:
        if (encoder_folder / name).is_file():
            shutil.copy(encoder_folder / name, config.out / name)
    (config.out / TARGET).mkdir(exist_ok=True)
    target.save(str(config.out / TARGET / "tokenizer.json"))
    return config.out


def fetched(wanted: Sequence[Packed], room: Path) -> list[Path]:
    """Each file where it was unpacked; a package is fetched once.

    Raises:
        ConfigError: a package that cannot be fetched, or a file that is not in it.
    """
    packages = {each.package for each in wanted}
    folders = {name: unpacked(name, room / str(n)) for n, name in enumerate(sorted(packages))}
    paths = [folders[each.package] / each.file for each in wanted]
    missing = [each.file for each, path in zip(wanted, paths, strict=True) if not path.is_file()]
    if missing:
        raise ConfigError(f"not in the packages: {', '.join(missing)}")
    return paths


def load_halves(folder: Path) -> tuple[EncoderDecoderModel, Tokenizer, Tokenizer]:
    """A translator in fp32 with the tokenizers of its sources and of its targets.

    Raises:
        ConfigError: the folder holds no translator of two halves.
    """
    target = folder / TARGET / "tokenizer.json"
    if not target.is_file():
        raise ConfigError(f"{folder} is no translator of two halves: it has no {TARGET}/")
    source = Tokenizer.from_file(str(folder / "tokenizer.json"))
    source.no_padding()
    source.no_truncation()
    translator = EncoderDecoderModel.from_pretrained(folder).float()
    return translator, source, Tokenizer.from_file(str(target))


def load_learned(translator: PreTrainedModel, path: Path) -> None:
    """Loads weights by name over those that a translator has.

    Raises:
        ConfigError: names that it does not have, or no such file.
    """
    if not path.is_file():
        raise ConfigError(f"start_from: no file {path}")
    surplus = translator.load_state_dict(load_file(path), strict=False).unexpected_keys
    if surplus:
        raise ConfigError(f"{path} has weights that the base has not: {', '.join(surplus[:5])}")


def target_tokens(target: Tokenizer, tags: Sequence[str]) -> Mapping[str, int]:
    """The language token of each tag, ``<|mn|>`` in Whisper's form.

    Raises:
        ConfigError: tags that have none; all are named.
    """
    found = {tag: target.token_to_id(f"<|{tag}|>") for tag in map(canonical, tags)}
    missing = [tag for tag, number in found.items() if number is None]
    if missing:
        raise ConfigError(f"the decoder has no language token for {', '.join(missing)}")
    return found
