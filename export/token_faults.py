"""Whether a checkpoint was trained on the tokens of the base that it is published for."""

from pathlib import Path

from tokenizers import Tokenizer

from langmod.errors import BrokenModule

FILE = "tokenizer.json"
NAMED = 4
"""So many tokens a fault names; more are counted."""


def token_faults(files: Path, base: Path) -> list[str]:
    """Why a tokenizer beside a checkpoint cuts texts otherwise than the base's own.

    Raises:
        BrokenModule: it cannot be read.
    """
    if not (files / FILE).is_file():
        return []
    theirs, ours = _tokens(files / FILE), _tokens(base / FILE)
    found = []
    if surplus := theirs - ours:
        found.append(f"{_named(surplus)} that the base's has not")
    if lacking := ours - theirs:
        found.append(f"not {_named(lacking)} that the base's has")
    return [f"its {FILE} has {each}; remove the file if no text it was trained on had any"
            for each in found]  # fmt: skip


def _tokens(file: Path) -> set[tuple[int, str]]:
    try:
        vocabulary = Tokenizer.from_file(str(file)).get_vocab(with_added_tokens=True)
    # tokenizers raises nothing narrower.
    except Exception as error:
        raise BrokenModule(f"{file.parent.name}/{file.name} cannot be read: {error}") from error
    return {(number, token) for token, number in vocabulary.items()}


def _named(tokens: set[tuple[int, str]]) -> str:
    first = [f"{token!r} ({number})" for number, token in sorted(tokens)[:NAMED]]
    more = [f"{len(tokens) - NAMED} more"] if len(tokens) > NAMED else []
    noun = "a token" if len(tokens) == 1 else f"{len(tokens)} tokens"
    return f"{noun}, {', '.join(first + more)},"
