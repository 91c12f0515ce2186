"""Token ids → text, for bases that write: over the vocabulary of their decoder."""

from collections.abc import Iterable
from pathlib import Path

from tokenizers import Tokenizer

from langmod.errors import ConfigError
from langmod.specs import BaseSpec


class TextDecoder:
    """The tokenizer of what a translator writes, which may be another than its sources'."""

    def __init__(self, folder: Path, base: BaseSpec) -> None:
        """Reads the tokenizer from a base's folder.

        Raises:
            ConfigError: no such file, or not a tokenizer.
        """
        path = folder / (base.target_tokenizer or "tokenizer.json")
        try:
            self._tokenizer = Tokenizer.from_file(str(path))
        # A file that is no tokenizer fails inside the library, which raises a bare Exception.
        except Exception as error:
            raise ConfigError(f"{path} is no tokenizer: {error}") from error
        added = self._tokenizer.get_added_tokens_decoder()
        named = (base.eos_id, base.decoder_start_id, *base.language_tokens.values())
        special = {number for number, token in added.items() if token.special}
        self.control_ids = frozenset(special.union(each for each in named if each is not None))
        self.vocabulary = self._tokenizer.get_vocab_size()

    def decode(self, token_ids: Iterable[int]) -> str:
        """The text of tokens; control tokens stand for nothing."""
        kept = [int(each) for each in token_ids if int(each) not in self.control_ids]
        return str(self._tokenizer.decode(kept))
