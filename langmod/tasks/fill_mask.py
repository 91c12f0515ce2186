"""Fill-mask: the likeliest words in the place of each mask token."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel

from langmod.encoding import Encoded, TextEncoder
from langmod.errors import BadRequest, NoMaskToken
from langmod.tasks.base import DIGITS, Array, Example, HeadBatch, RunHead, Task, TaskAnswer, Text


class Candidate(BaseModel):
    """A word for a mask."""

    token: str
    score: float
    text: str
    """The text with this mask filled."""


class FilledMasks(TaskAnswer):
    """Candidates for each mask of a text, the likeliest first."""

    masks: list[list[Candidate]]


class FillMask(Task):
    """Reads the mask token as a mask; the vocabulary projection is the base's own."""

    kind: ClassVar[str] = "fill_mask"
    answers_in_words: ClassVar[bool] = True

    def encode(self, encoder: TextEncoder, text: Text, *, truncate: bool = False) -> Encoded:
        """A text with one mask token or more.

        Raises:
            NoMaskToken: no mask token in the text (or none left after cutting it).
            BadRequest: a pair of texts.
            TextTooLong: more tokens than the base reads.
        """
        if not isinstance(text, str):
            raise BadRequest("fill-mask takes single texts, got a pair")
        encoded = encoder.encode(text, truncate=truncate, masks=True)
        if not len(mask_positions(encoded, encoder)):
            raise NoMaskToken(
                f"the text has no mask: write {encoder.base.mask_token} where a word is missing",
                mask_token=encoder.base.mask_token,
            )
        return encoded

    def run(self, batch: HeadBatch, head: RunHead) -> list[Mapping[str, Array]]:
        """Scores and tokens of the likeliest words, ``[N, K]`` for the N masks of each row."""
        columns = [
            mask_positions(example.encoded, example.encoder) + tokens.start
            for example, tokens in zip(batch.examples, batch.tokens, strict=True)
        ]
        counts = [len(each) for each in columns]
        k = max(candidates_needed(example.encoder, example.top_k) for example in batch.examples)
        rows = np.repeat(np.arange(len(counts)), counts)  # [N]
        feeds = {
            **batch.lower,
            "hidden": batch.hidden,
            "rows": rows,
            "slots": batch.slots[rows],
            "columns": np.concatenate(columns),  # [N]
            "k": np.array([k], np.int64),
        }
        found, cuts = head(feeds), np.cumsum(counts)[:-1]  # [N, K] each
        each = zip(*(np.split(found[name], cuts) for name in ("scores", "tokens")), strict=True)
        return [{"scores": scores, "tokens": tokens} for scores, tokens in each]

    def decode(self, outputs: Mapping[str, npt.NDArray[Any]], example: Example) -> FilledMasks:
        """Candidates for each mask, the likeliest first.

        Args:
            outputs: ``scores`` and ``tokens``, both ``[N, K]`` for the N masks of the row.
            example: the row; its ``top_k`` candidates are answered.
        """
        places = _mask_places(example)
        masks = [
            _candidates(scores, tokens, place, example)
            for scores, tokens, place in zip(
                outputs["scores"], outputs["tokens"], places, strict=True
            )
        ]
        return FilledMasks(masks=masks)

    def score(self, predictions: Sequence[Any], references: Sequence[Any]) -> dict[str, float]:
        """How often the word is the first, or among the first five.

        Args:
            predictions: for each mask its candidates, the likeliest first.
            references: for each mask the word that stood there.
        """
        pairs = list(zip(predictions, references, strict=True))
        return {
            "accuracy": float(np.mean([answer[:1] == [word] for answer, word in pairs])),
            "accuracy_at_5": float(np.mean([word in answer[:5] for answer, word in pairs])),
        }


def mask_positions(encoded: Encoded, encoder: TextEncoder) -> npt.NDArray[np.int64]:
    """Which tokens of a row are masks."""
    return np.flatnonzero(encoded.token_ids == encoder.base.mask_id)


def candidates_needed(encoder: TextEncoder, top_k: int) -> int:
    """How many candidates to ask the graph for, so that ``top_k`` of them are words."""
    return min(top_k + len(encoder.control_ids), encoder.vocabulary)


def _mask_places(example: Example) -> list[tuple[str, str]]:
    """What stands before and after each mask in the text as it was given."""
    token = example.encoder.base.mask_token
    assert token is not None, "encode() found masks"
    parts = str(example.text).split(token)
    return [(token.join(parts[:cut]), token.join(parts[cut:])) for cut in range(1, len(parts))]


def _candidates(
    scores: npt.NDArray[Any], tokens: npt.NDArray[Any], place: tuple[str, str], example: Example
) -> list[Candidate]:
    words = [
        (int(token), float(score))
        for token, score in zip(tokens, scores, strict=True)
        if int(token) not in example.encoder.control_ids
    ]
    return [
        Candidate(
            token=example.encoder.piece(token)[0],
            score=round(score, DIGITS),
            text=_filled(token, place, example.encoder),
        )
        for token, score in words[: example.top_k]
    ]


def _filled(token: int, place: tuple[str, str], encoder: TextEncoder) -> str:
    piece, begins_word = encoder.piece(token)
    before = place[0].rstrip()
    space = " " if begins_word and before else ""
    return f"{before}{space}{piece}{place[1]}"
