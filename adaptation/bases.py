"""A base checkpoint on disk: found by folder or hub id, described once, known by its digest."""

import shutil
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

from pydantic import ValidationError
from tokenizers import Tokenizer
from transformers import AutoConfig, AutoTokenizer, PretrainedConfig, PreTrainedTokenizerBase

from adaptation.architectures import EncoderArchitecture, family_of
from adaptation.architectures.halves import HalvesArchitecture
from adaptation.architectures.vocabulary_head import read_layers
from langmod.config import describe, write_atomic
from langmod.digests import files_digest
from langmod.errors import ConfigError
from langmod.languages import canonical
from langmod.specs import BaseSpec

TARGET_TOKENIZER = "target/tokenizer.json"
"""Of what a translator writes, where its decoder has another vocabulary than its encoder."""
SPEC_FILE = "base.json"
WEIGHT_PATTERNS = ("model*.safetensors", "pytorch_model*.bin")
TOKENIZER_FILES = ("tokenizer.json", "sentencepiece.bpe.model", "vocab.json", "vocab.txt")


def resolve_base(name: str) -> Path:
    """The folder of a base given as a folder or a hub id (``FacebookAI/xlm-roberta-base``).

    Raises:
        ConfigError: neither a folder nor a repository that can be reached.
    """
    return resolve(name, [*WEIGHT_PATTERNS, "*.json", "*.model", "*.txt"])


def resolve(name: str, patterns: Sequence[str]) -> Path:
    """A folder as it is given, or the files of a hub id that match some patterns.

    Raises:
        ConfigError: neither a folder nor a repository that can be reached.
    """
    folder = Path(name)
    if folder.is_dir():
        return folder
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, allow_patterns=list(patterns)))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise ConfigError(
            f"{name!r} is neither a folder nor a reachable hub id: {error}"
        ) from error


def fetch_base(name: str, into: Path) -> Path:
    """A base under the folder it is served from: a local folder stays, a hub id is copied there.

    Raises:
        ConfigError: neither a folder nor a repository that can be reached.
    """
    found = resolve_base(name)
    if found == Path(name):
        return found
    return Path(shutil.copytree(found, into, dirs_exist_ok=True))


def base_digest(folder: Path) -> str:
    """sha256 over weights, config and tokenizer: two bases are the same if this is."""
    weights = [path for pattern in WEIGHT_PATTERNS for path in folder.glob(pattern)]
    if any(path.suffix == ".safetensors" for path in weights):
        weights = [path for path in weights if path.suffix == ".safetensors"]
    return files_digest([*weights, folder / "config.json", *_tokenizer_files(folder)])


def tokenizer_digest(folder: Path) -> str:
    """sha256 over the tokenizer's own files."""
    return files_digest(_tokenizer_files(folder))


def _tokenizer_files(folder: Path) -> list[Path]:
    found = [folder / name for name in TOKENIZER_FILES if (folder / name).is_file()]
    own = found[:1] if found and found[0].name == "tokenizer.json" else found
    return [*own, *(path for path in [folder / TARGET_TOKENIZER] if path.is_file())]


def load_spec(folder: Path) -> BaseSpec:
    """Reads ``base.json`` of a base and checks that its files are still those it describes.

    Raises:
        ConfigError: not described yet, broken, or the weights changed since.
    """
    path = folder / SPEC_FILE
    if not path.is_file():
        raise ConfigError(f"{folder} has no {SPEC_FILE}: run `langmod describe` on it")
    try:
        spec = BaseSpec.model_validate_json(path.read_text(encoding="utf-8"))
    except ValidationError as error:
        raise ConfigError(f"{path}: {describe(error)}") from error
    if spec.digest != base_digest(folder):
        raise ConfigError(f"the files of {folder} changed after {SPEC_FILE} was written")
    return spec


def describe_base(
    folder: Path,
    name: str,
    languages: Sequence[str] | Mapping[str, str],
    licence: str,
    trained_tokens: int | None = None,
) -> BaseSpec:
    """Makes and writes ``base.json`` into the folder.

    ``languages`` lists the tags the base was trained on; for a translator a mapping from tag to its
    language token (``{"mn": "khk_Cyrl"}``). Keys are made canonical. ``trained_tokens`` is the
    longest row of its training, where that is less than it could read.

    Raises:
        ConfigError: a language token that the tokenizer does not have, an unknown family, or a
            tokenizer that cannot be read, has no fast form, or has tokens without word vectors.
    """
    family = family_of(folder)
    config = AutoConfig.from_pretrained(folder)
    tokenizer = _tokenizer(
        folder, config.encoder.inner() if issubclass(family, HalvesArchitecture) else config
    )
    write_fast_tokenizer(folder, tokenizer)
    shared = {
        "name": name,
        "kind": family.kind,
        "architecture": config.model_type,
        "digest": base_digest(folder),
        "tokenizer_digest": tokenizer_digest(folder),
        "licence": licence,
        "languages": tuple(canonical(tag) for tag in languages),
        "pad_id": tokenizer.pad_token_id,
    }
    if issubclass(family, EncoderArchitecture):
        own = _encoder_fields(config, tokenizer) | {"mixed_layers": read_layers(folder)}
    elif issubclass(family, HalvesArchitecture):
        own = _halves_fields(config, tokenizer, folder, languages)
    else:
        own = _translator_fields(config, tokenizer, languages)
    spec = BaseSpec.model_validate(shared | own)
    if trained_tokens is not None:
        spec = spec.model_copy(update={"max_tokens": min(spec.max_tokens, trained_tokens)})
    write_atomic(folder / SPEC_FILE, spec.model_dump_json(indent=2) + "\n")
    return spec


def _tokenizer(folder: Path, config: PretrainedConfig) -> PreTrainedTokenizerBase:
    if not any((folder / name).is_file() for name in TOKENIZER_FILES):
        raise ConfigError(
            f"{folder} has no tokenizer; allowed: one of {', '.join(TOKENIZER_FILES)}"
        )
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder)
    # The tokenizers package raises nothing narrower for files of newer versions and damaged ones.
    except Exception as error:
        ours = version("tokenizers")
        raise ConfigError(
            f"the tokenizer of {folder} cannot be read by tokenizers {ours}: {error}"
        ) from error
    reader = config.encoder.inner() if config.model_type == "encoder-decoder" else config
    vectors = int(reader.vocab_size)
    beyond = [(number, token) for token, number in tokenizer.get_vocab().items()
              if number >= vectors]  # fmt: skip
    if beyond:
        number, token = min(beyond)
        raise ConfigError(
            f"the tokenizer of {folder} has {len(beyond)} tokens without word vectors, the first "
            f"{token!r} ({number}); the model has {vectors}"
        )
    return tokenizer


def write_fast_tokenizer(folder: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    """Writes ``tokenizer.json`` where a checkpoint lacks it: the service reads nothing else.

    Raises:
        ConfigError: the tokenizer exists only in Python.
    """
    if (folder / "tokenizer.json").is_file():
        return
    if not tokenizer.is_fast:
        raise ConfigError(f"{type(tokenizer).__name__} has no fast form, so it cannot be served")
    tokenizer.backend_tokenizer.save(str(folder / "tokenizer.json"))


def _end_id(tokenizer: PreTrainedTokenizerBase) -> int:
    end = tokenizer.eos_token_id
    return int(tokenizer.sep_token_id if end is None else end)


def _encoder_fields(
    config: PretrainedConfig, tokenizer: PreTrainedTokenizerBase
) -> dict[str, object]:
    first = 0 if config.model_type == "bert" else config.pad_token_id + 1
    return {
        "width": config.hidden_size,
        "layers": config.num_hidden_layers,
        "eos_id": _end_id(tokenizer),
        "max_tokens": config.max_position_embeddings - first,
        "mask_token": tokenizer.mask_token,
        "mask_id": tokenizer.mask_token_id,
        "first_position": first,
        "token_types": config.type_vocab_size,
    }


def _translator_fields(
    config: PretrainedConfig,
    tokenizer: PreTrainedTokenizerBase,
    languages: Sequence[str] | Mapping[str, str],
) -> dict[str, object]:
    named = (
        languages
        if isinstance(languages, Mapping)
        else {tag: language_token(tag) for tag in languages}
    )
    ids = {canonical(tag): tokenizer.convert_tokens_to_ids(token) for tag, token in named.items()}
    missing = [tag for tag, number in ids.items() if number in (None, tokenizer.unk_token_id)]
    if missing:
        raise ConfigError(f"the tokenizer has no language token for: {', '.join(missing)}")
    return {
        "width": config.hidden_size,
        "layers": config.num_hidden_layers,
        "eos_id": _end_id(tokenizer),
        "max_tokens": config.max_position_embeddings,
        "decoder_layers": config.decoder_layers,
        "language_tokens": ids,
        "decoder_start_id": config.decoder_start_token_id,
    }


def _halves_fields(
    config: PretrainedConfig,
    tokenizer: PreTrainedTokenizerBase,
    folder: Path,
    languages: Sequence[str] | Mapping[str, str],
) -> dict[str, object]:
    """Of a translator of two halves; it writes the languages that its decoder has a token for."""
    inner, decoder = config.encoder.inner(), config.decoder
    target = Tokenizer.from_file(str(folder / TARGET_TOKENIZER))
    named = (
        languages
        if isinstance(languages, Mapping)
        else {tag: f"<|{canonical(tag)}|>" for tag in languages}
    )
    ids = {canonical(tag): target.token_to_id(token) for tag, token in named.items()}
    return {
        "width": inner.hidden_size,
        "layers": inner.num_hidden_layers,
        "max_tokens": _encoder_fields(inner, tokenizer)["max_tokens"],
        "token_types": inner.type_vocab_size,
        "first_position": _encoder_fields(inner, tokenizer)["first_position"],
        "eos_id": config.eos_token_id,
        "decoder_layers": decoder.decoder_layers,
        "decoder_start_id": config.decoder_start_token_id,
        "language_tokens": {tag: number for tag, number in ids.items() if number is not None},
        "target_tokenizer": TARGET_TOKENIZER,
        "longest_target": decoder.max_position_embeddings,
    }


def language_token(tag: str) -> str:
    """The language token of our own translators (M2M100's form): ``mn`` → ``__mn__``."""
    return f"__{canonical(tag)}__"
