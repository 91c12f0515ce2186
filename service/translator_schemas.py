"""What the endpoints of a translator base take and answer; the parts shared are in ``schemas``."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from langmod.synthetic_pairs import Reason
from service.schemas import Answer, Request, TextAnswer, Texts, Whole
from service.searches import SHORTEST

Beams = Annotated[Whole, Field(ge=1, le=8)]
Wish = Annotated[str, Field(min_length=1, max_length=1000)]
Mode = Literal["beam", "greedy", "sample"]


class TranslateRequest(Request):
    """Texts to be translated."""

    texts: Texts
    """One text, or a list of them; each is answered in its place."""
    source: str | None = None
    """Language of all texts; left out, ``""`` or ``auto``: each text's is detected."""
    target: str
    """Language to translate into."""
    beams: Beams = 1
    """1 is greedy search."""
    n_best: Beams = 1
    """Translations of each text, at most as many as beams."""
    max_length: Annotated[Whole, Field(ge=SHORTEST)] | None = None
    """Tokens of a sentence's translation at most, its language token and end included; what is
    longer is cut there. Left out, a translation that grows too long is made anew in halves."""
    length_ratio: Annotated[float, Field(gt=0, le=20)] | None = None
    """Instead of max_length: tokens at most as a multiple of the source's, and some more."""
    no_repeat_ngram_size: Annotated[Whole, Field(ge=0, le=20)] | None = None
    """No run of so many tokens is written twice in a sentence; 0: any may be. Left out, as the
    service is set."""
    repetition_penalty: Annotated[float, Field(ge=1, le=5)] | None = None
    """By which the log-probability of a token written before is multiplied; left out, as the
    service is set."""
    format: Literal["text", "html"] = "text"
    """``html``: what people read in markup is translated, the markup stays as it is."""
    keep: list[Wish] = Field(default_factory=list, max_length=1000)
    """Strings that stay as they are, names say; placeholders, addresses and numbers always do."""
    glossary: dict[Wish, Wish] = Field(default_factory=dict, max_length=1000)
    """Words of the source and what they are to be called."""
    pivot: str | None = None
    """Language through which a direction without a module of its own is translated, where both
    halves have one; left out, as the service is set; ``""``: through none."""


class BackTranslateRequest(Request):
    """Texts to be made training data of: translated into a pivot language and back."""

    texts: Texts
    """One text, or a list of them; each is answered in its place."""
    language: str | None = None
    """Of all texts; left out, ``""`` or ``auto``: each text's is detected."""
    pivot: str = "en"
    """Language to translate through."""
    modules: list[str] = Field(default_factory=list, max_length=4)
    """Modules by ``name`` or ``name@digest`` instead of those found; each serves its direction."""
    n: Beams = 1
    """Synthetic sources of each text."""
    mode: Mode = "beam"
    """How they are made: the likeliest of a beam search, greedily (one only), or drawn at random.
    The way back is searched with as many beams, and greedily in the other modes."""
    beams: Beams = 4
    """Of mode beam; at least n."""
    seed: Annotated[Whole, Field(ge=0)] = 0
    """Of mode sample: the same seed draws the same for the same text."""
    top_k: Annotated[Whole, Field(ge=1, le=1000)] = 10
    """Of mode sample: only so many of the likeliest tokens are drawn from."""
    temperature: Annotated[float, Field(gt=0, le=2)] = 1.0
    """Of mode sample: below 1 keeps to the likelier tokens."""
    round_trip: bool = True
    """Translate back and measure chrF against the text."""
    min_chrf: Annotated[float, Field(ge=0, le=100)] = 30.0
    """Pairs whose round trip scores below this are not to be kept."""
    max_length_ratio: Annotated[float, Field(ge=1)] = 2.5
    """Nor those of which one side has more than this many times the other's tokens."""


class Translation(BaseModel):
    """One translation and how likely its tokens are."""

    text: str
    score: float
    """Mean log-probability of its tokens, the language token counted as certain."""
    tokens: int
    """Of it, language tokens and ends of its sentences included."""
    cut: bool
    """Whether a sentence of it reached the most tokens allowed before its end."""


class TranslateAnswer(Answer):
    """The translations of a text, the best first."""

    source: str
    source_probability: float | None = None
    """Given where the source language was detected."""
    source_tokens: int
    """Of the text, language tokens and ends of its sentences included."""
    target: str
    translation: str
    """The best of them."""
    translations: list[Translation]
    sentences: int
    """Of the text, all of which are in its translations."""
    via: str | None = None
    """The language it was translated through, where the direction has no module of its own."""
    fallback: bool | None = None
    """True where no module serves the direction: the bare base did."""


class SyntheticPair(BaseModel):
    """A text as the target of a machine-made source, with what says whether to train on it."""

    source: str
    """In the pivot language."""
    target: str
    """The text as it was given."""
    score: float
    """Mean log-probability of the source's tokens."""
    round_trip: str | None = None
    """The source translated back."""
    chrf: float | None = None
    """chrF of the round trip against the text, 0 to 100."""
    length_ratio: float
    """Tokens of the longer side over those of the shorter."""
    keep: bool
    reasons: list[Reason]
    """Why not to keep it: the source is empty or a copy; one side is too long; the source is not
    in the pivot language, or the text not in its own; the source could not be translated back, or
    came back as something else."""


class BackTranslateAnswer(TextAnswer):
    """Pairs made of a text."""

    pivot: str
    signature: str | None = None
    """sacrebleu's signature of the chrF; left out where nothing was translated back."""
    pairs: list[SyntheticPair]
