"""What each endpoint takes and answers; BentoML's OpenAPI page is made from these."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Generic, Literal, Self, TypeVar

from bentoml import IODescriptor
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    PrivateAttr,
    ValidationError,
)
from starlette.requests import Request as HttpRequest

from langmod.errors import BadRequest, LangmodError
from langmod.tasks import TaskAnswer
from langmod.tasks.classify import Classified
from langmod.tasks.embed import Embedded
from langmod.tasks.fill_mask import FilledMasks
from langmod.tasks.tag import Tagged

LISTED_FAULTS = 8
"""Faults of one request that are spelt out."""


def _whole(value: object) -> object:
    """5.0 is 5 in JSON, whose numbers are of one kind."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _listed(value: object) -> object:
    """One text is a list of one."""
    return [value] if isinstance(value, str) else value


Whole = Annotated[int, BeforeValidator(_whole)]
TopK = Annotated[Whole, Field(ge=1, le=100)]
Texts = Annotated[
    list[str],
    Field(min_length=1),
    BeforeValidator(
        _listed, json_schema_input_type=str | Annotated[list[str], Field(min_length=1)]
    ),
]
# In strict mode a validator of ours would make pairs tuples, which JSON does not have.
Pair = Annotated[tuple[str, str], Field(strict=False)]
TextsOrPairs = Annotated[
    list[str | Pair],
    Field(min_length=1),
    BeforeValidator(
        _listed,
        json_schema_input_type=str | Annotated[list[str | Pair], Field(min_length=1)],
    ),
]


class Request(IODescriptor):
    """A request's body; unknown fields and wrong types are refused."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True
    )

    modules: list[str] = Field(default_factory=list, max_length=2)
    """Modules by ``name`` or ``name@digest``, at most one of each role, instead of those found."""

    @classmethod
    async def from_http_request(cls, request: HttpRequest, serde: object) -> Any:
        """The request, or the fault of one that does not validate.

        BentoML would answer a raised ``ValidationError`` in a form of its own; the endpoint gets
        the fault instead and answers it as every other.
        """
        try:
            return cls.model_validate_json(await request.body() or b"{}")
        except ValidationError as error:
            return refusal(error)


class TextsRequest(Request):
    """Texts of one language."""

    texts: Texts
    """One text, or a list of them; each is answered in its place."""
    language: str | None = None
    """Of all texts (``mn``, ``khk``, ``mn-Cyrl-MN``, ``ko_KR``…); left out, ``""`` or ``auto``:
    each text's is detected."""


class FillMaskRequest(TextsRequest):
    """Texts with the mask token where words are missing."""

    top_k: TopK = 5
    """Candidates for each mask."""


class ClassifyRequest(Request):
    """Texts, or pairs of texts, to be labelled as wholes."""

    texts: TextsOrPairs
    """One text, or a list of texts or of pairs ``[first, second]`` for tasks about pairs."""
    language: str | None = None
    """Of all texts; left out, ``""`` or ``auto``: each text's is detected."""
    task: str | None = None
    """As GET /tasks lists it; may be left out where ``modules`` names a task's module."""


class TagRequest(TextsRequest):
    """Texts whose spans are to be labelled."""

    task: str | None = None
    """As GET /tasks lists it; may be left out where ``modules`` names a task's module."""


class EmbedRequest(TextsRequest):
    """Texts to be turned into vectors."""

    kind: Literal["query", "passage"] | None = None
    """What the texts are for, where the base tells these apart: ``query`` (if left out; for both
    sides of comparisons) or ``passage`` (to be found by queries)."""


class Answer(TaskAnswer):
    """What every answer to one text says about itself."""

    modules: list[str]
    """``name@digest`` of the modules that served it; empty for the bare base."""


class TextAnswer(Answer):
    """An answer about a text in one language."""

    language: str
    language_probability: float | None = None
    """Given where the language was detected."""


class FillMaskAnswer(FilledMasks, TextAnswer):
    """Candidates for each mask of a text, the likeliest first."""


class ClassifyAnswer(Classified, TextAnswer):
    """The label of a text, and all labels, the likeliest first."""


class TagAnswer(Tagged, TextAnswer):
    """The labelled spans of a text, in order."""


class EmbedAnswer(Embedded, TextAnswer):
    """A text's vector, of length 1."""


class Fault(BaseModel):
    """Why something was not answered."""

    code: str
    """Stable, for programs."""
    message: str
    """What was got, what is allowed, what to do."""
    details: Mapping[str, JsonValue]


class FaultAnswer(BaseModel):
    """In the place of an answer: the fault of that text alone."""

    model_config = ConfigDict(extra="forbid")

    error: Fault


class FaultBody(BaseModel):
    """The body of every response with a status of 400 and above."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    error: Fault
    results: list[FaultAnswer] | None = None
    """Where each text has a fault of its own."""


T = TypeVar("T", bound=Answer)


class Answers(BaseModel, Generic[T]):
    """One entry for each text, in order."""

    error: Fault | None = None
    """Where no text at all could be answered: the first fault, whose status is the response's."""
    results: list[T | FaultAnswer]
    _status: int = PrivateAttr(default=200)

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self._status

    @classmethod
    def of(cls, outcomes: Sequence[Mapping[str, Any] | LangmodError]) -> Self:
        """Answers and faults in the form they are sent in."""
        faults = [each for each in outcomes if isinstance(each, LangmodError)]
        entries = [
            {"error": each.envelope()} if isinstance(each, LangmodError) else each
            for each in outcomes
        ]
        answers = cls.model_validate({"results": entries})
        if len(faults) == len(outcomes):
            answers.error = Fault.model_validate(faults[0].envelope())
            answers._status = faults[0].status  # noqa: SLF001  (its own class)
        return answers


def refusal(error: ValidationError) -> BadRequest:
    """Every fault of a body: the field, what is wrong with it, what was got."""
    faults = [
        f"{'.'.join(str(part) for part in fault['loc']) or 'body'}: {fault['msg']}"
        + ("" if fault["type"] == "missing" else f" (got {_short(fault['input'])})")
        for fault in error.errors(include_url=False)
    ]
    more = len(faults) - LISTED_FAULTS
    listed = faults[:LISTED_FAULTS] + ([f"and {more} more"] if more > 0 else [])
    return BadRequest("; ".join(listed), faults=listed)


def _short(value: object) -> str:
    text = value.decode(errors="replace") if isinstance(value, bytes) else repr(value)
    return text if len(text) <= 60 else f"{text[:60]}…"
