"""XPT, cross-lingual post-training (Lee et al. 2021, Applied Sciences 11(5):1974), its first phase.

A language gets a vocabulary of its own around a frozen encoder: word vectors, which are the output
table too, and two implicit translation layers (``own_vocabulary``). The second phase of the paper
unfreezes the encoder, which makes another base and no module.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Literal

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Generator, Tensor

from adaptation import word_vectors
from adaptation.architectures import Architecture, EncoderArchitecture
from adaptation.hooks import Hooks
from adaptation.methods.method import Method, MethodConfig
from adaptation.own_vocabulary import (
    BIAS,
    ENTRY,
    EXIT,
    WORDS,
    OwnVocabulary,
    fresh_layer,
    sizes_at_entry,
    sizes_at_exit,
)
from langmod.errors import BrokenModule, ModuleMismatch
from langmod.specs import Axis, BankSpec, Kind, Role, Vocabulary

CONFIG, TENSORS, TOKENIZER = "xpt_config.json", "xpt.safetensors", "tokenizer.json"


class XptConfig(MethodConfig):
    """Where the words of a module come from."""

    tokenizer: str | None = None
    """A folder of ``training tokenizer``; None: the base's tokens with vectors of their own."""
    start: Literal["random", "overlap"] = "random"
    """Where the word vectors start: at the paper's, or the base's for tokens that both spell
    alike."""


class Xpt(Method):
    """XPT as language module of encoders; nothing of it lies in banks."""

    name: ClassVar[str] = "xpt"
    Config = XptConfig
    starts_at_base: ClassVar[bool] = False
    own_words: ClassVar[bool] = True

    def unfit(self, kind: Kind, role: Role) -> str | None:
        """Only a language has words of its own, and only an encoder reads without writing."""
        if role == "task":
            return "xpt: a vocabulary is a language's; a task module reads that of its row"
        if kind == "translator":
            return "xpt: a translator's decoder reads and writes the base's vocabulary"
        return None

    def banks(self, architecture: Architecture, role: Role) -> tuple[BankSpec, ...]:
        """Word vectors ``[V, D]``, output bias ``[V]`` and two layers, all held in memory."""
        return tuple(
            BankSpec(name=f"{role}.{name}", role=role, shape=(f"S.{role}", *shape), held="memory")
            for name, shape in self._shapes(architecture, role).items()
        )

    def attach(self, hooks: Hooks, role: Role) -> None:
        """Puts a module's words and layers around its rows, and has its own words answer."""
        if isinstance(hooks.architecture, EncoderArchitecture) and role == "language":
            own = OwnVocabulary(hooks.architecture, f"{role}.{self.name}.")
            hooks.around_rows(own)
            hooks.on_logits(own.decode)

    def fresh(
        self, config: MethodConfig, architecture: Architecture, generator: Generator
    ) -> dict[str, Tensor]:
        """Word vectors as ``start`` says, and layers that hand on nearly what they take.

        Raises:
            ConfigError: no tokenizer where the settings say.
        """
        settings, base = XptConfig.model_validate(config), _encoder(architecture)
        folder = word_vectors.tokenizer_folder(settings.tokenizer, base)
        own = word_vectors.spelling_in(folder, base)
        theirs = word_vectors.spelling_in(word_vectors.tokenizer_folder(None, base), base)
        table = base.model.get_input_embeddings().weight.detach().float()
        bias: Tensor = base.vocabulary.get_parameter("bias").detach().float()
        transfer = word_vectors.Transfer(own, theirs, table, bias)
        words, biases = word_vectors.STARTS[settings.start](transfer, generator)
        layers = {
            **fresh_layer(base, ENTRY, sizes_at_entry(base), generator),
            **fresh_layer(base, EXIT, sizes_at_exit(base), generator),
        }
        named = {WORDS: words, BIAS: biases, **layers}
        return {f"{self.name}.{name}": tensor for name, tensor in named.items()}

    def tokenizer(self, config: MethodConfig) -> Path | None:
        """The folder that the settings name."""
        chosen = XptConfig.model_validate(config).tokenizer
        return None if chosen is None else Path(chosen)

    def write(
        self, folder: Path, config: MethodConfig, tensors: Mapping[str, Tensor], base: Architecture
    ) -> None:
        """``xpt_config.json``, ``xpt.safetensors`` and the ``tokenizer.json``."""
        settings = XptConfig.model_validate(config)
        source = word_vectors.tokenizer_folder(settings.tokenizer, base)
        about = None if source is None else word_vectors.described(source)
        folder.mkdir(parents=True, exist_ok=True)
        if source is not None:
            (folder / TOKENIZER).write_bytes((source / TOKENIZER).read_bytes())
        state = {name.removeprefix(f"{self.name}."): each for name, each in tensors.items()}
        save_file(state, folder / TENSORS, metadata={"format": "pt"})
        said = {"start": settings.start, "vocabulary": about and about.model_dump(mode="json")}
        (folder / CONFIG).write_text(json.dumps(said, indent=2) + "\n", encoding="utf-8")

    def read(self, folder: Path, base: Architecture) -> tuple[MethodConfig, dict[str, Tensor]]:
        """Reads what ``write`` wrote, but for the vocabulary."""
        said = _said(folder)
        try:
            state = load_file(folder / TENSORS)
            config = XptConfig.model_validate({"start": said.get("start")})
        except (OSError, ValueError, SafetensorError) as error:
            raise BrokenModule(f"{folder.name} is no XPT checkpoint: {error}") from error
        tensors = {f"{self.name}.{name}": each.float() for name, each in state.items()}
        faults = _faults(tensors, self._shapes(base, "language"))
        if faults:
            raise ModuleMismatch(folder.name, faults)
        return config, tensors

    def vocabulary(self, folder: Path) -> tuple[Vocabulary, bytes]:
        """The tokens of a checkpoint."""
        try:
            about = Vocabulary.model_validate(_said(folder).get("vocabulary"))
            return about, (folder / TOKENIZER).read_bytes()
        except (OSError, ValueError) as error:
            raise BrokenModule(
                f"{folder.name} brings no vocabulary ({TOKENIZER}, {CONFIG}): {error}"
            ) from error

    def recognises(self, folder: Path) -> bool:
        """Our own."""
        return (folder / CONFIG).is_file()

    def _shapes(self, base: Architecture, role: Role) -> dict[str, tuple[Axis, ...]]:
        """Tensor → shape; none where the method has no meaning."""
        if self.unfit(base.kind, role) is not None:
            return {}
        symbol = f"V.{role}.{self.name}"
        shapes: dict[str, tuple[Axis, ...]] = {WORDS: (symbol, base.width), BIAS: (symbol,)}
        for path, parameter in _encoder(base).blank_layer().named_parameters():
            shapes |= {f"{which}{path}": tuple(parameter.shape) for which in (ENTRY, EXIT)}
        return {f"{self.name}.{name}": shape for name, shape in shapes.items()}


def _encoder(base: Architecture) -> EncoderArchitecture:
    if not isinstance(base, EncoderArchitecture):
        raise TypeError(f"{type(base).__name__} is no encoder")
    return base


def _said(folder: Path) -> dict[str, object]:
    try:
        found = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        if not isinstance(found, dict):
            raise TypeError(f"{CONFIG} holds a {type(found).__name__}")
    except (OSError, ValueError, TypeError) as error:
        raise BrokenModule(f"{folder.name} is no XPT checkpoint: {error}") from error
    return found


def _faults(tensors: Mapping[str, Tensor], shapes: Mapping[str, tuple[Axis, ...]]) -> list[str]:
    """What a checkpoint has other than a base's layers; its number of tokens is free."""
    found = [f"{name} is missing" for name in sorted(shapes.keys() - tensors.keys())]
    found += [f"{name} is no part of it" for name in sorted(tensors.keys() - shapes.keys())]
    for name in sorted(shapes.keys() & tensors.keys()):
        wanted, got = shapes[name], tensors[name].shape
        known = [size for size in wanted if isinstance(size, int)]
        if len(got) != len(wanted) or list(got)[len(wanted) - len(known) :] != known:
            found.append(f"{name} has shape {list(got)}, the base's {list(wanted)}")
    return found
