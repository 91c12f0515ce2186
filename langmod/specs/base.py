"""``base.json``: what is known of a base checkpoint."""

from collections.abc import Mapping

from pydantic import Field

from langmod.config import Frozen
from langmod.specs.tensors import Kind


class BaseSpec(Frozen):
    """What the service must know of a base checkpoint to prepare its inputs."""

    name: str
    kind: Kind
    architecture: str
    """``model_type`` of the Hugging Face config."""
    digest: str
    """sha256 over weights, config and tokenizer."""
    tokenizer_digest: str
    licence: str
    languages: tuple[str, ...]
    """BCP-47 tags it was trained on: served on slot 0 where no module is published."""
    width: int
    layers: int
    """Layers of the encoder."""
    decoder_layers: int = 0
    max_tokens: int
    """Longest row it reads, special tokens included."""
    pad_id: int
    eos_id: int
    """What ends a row; of a translator, what it writes at the end."""
    mask_token: str | None = None
    mask_id: int | None = None
    first_position: int = 0
    """Position id of a row's first token (XLM-R: padding index + 1)."""
    mixed_layers: tuple[int, ...] = ()
    """Layers, counted from 1, that the head for words reads together; the body gives each of them
    as ``hidden.<layer>``. None: it reads the last alone."""
    prefixes: Mapping[str, str] = Field(default_factory=dict)
    """Sentence encoder: what a text is for (``query``, ``passage``) → what it was trained to read
    in front of such a text, where vectors are asked for."""
    token_types: int = 1
    """Size of the token type vocabulary; above 1 the body takes ``token_types``."""
    language_tokens: Mapping[str, int] = Field(default_factory=dict)
    """Translator: BCP-47 tag of each language it writes → id of its language token."""
    decoder_start_id: int | None = None
    target_tokenizer: str | None = None
    """Translator: where, in the base's folder, the tokenizer of what it writes lies, if that is
    another than of what it reads. Ids of the end, the start and languages are then of it, and a
    source has no language token."""
    longest_target: int | None = None
    """Translator: tokens that it writes at most, if other than it reads."""

    @property
    def most_written(self) -> int:
        """Tokens of a translation at most, the language token and the end included."""
        return self.longest_target or self.max_tokens
