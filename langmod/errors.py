"""The one exception tree; every stage raises from it and the service maps it to HTTP.

LangmodError                    500  anything we raise on purpose
├── BadRequest                  400  the caller can mend it by changing the request
│   ├── TextTooLong             400  a text has more tokens than the base reads
│   ├── NoMaskToken             400  fill-mask without a mask
│   └── UnsureLanguage          422  no language was named, and the text does not say enough
├── NotFound                    404  a name that nobody published; lists the near names
│   ├── UnknownLanguage
│   │   └── UnknownScript   404  a language in a script that is not served
│   ├── UnknownTask
│   └── UnknownModule
├── ModuleMismatch              409  a module that does not fit this base; lists every fault
├── BrokenModule                422  a module whose files are damaged or forged
├── Overloaded                  429  the queue is full; try again after ``retry_after`` seconds
├── Unavailable                 503  the service is stopping or its provider is not active
├── DataError                   400  a line of input data; names file and line
└── ConfigError                 400  a yaml or an option; names the field
"""

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import ClassVar


class LangmodError(Exception):
    """Base of every error raised on purpose: a stable ``code``, an HTTP ``status``, ``details``."""

    code: ClassVar[str] = "internal"
    status: ClassVar[int] = 500

    def __init__(self, message: str, **details: object) -> None:
        super().__init__(message)
        self.message = message
        self.details: Mapping[str, object] = details

    def envelope(self) -> dict[str, object]:
        """The body every endpoint answers with: ``{"code", "message", "details"}``."""
        return {"code": self.code, "message": self.message, "details": dict(self.details)}


class BadRequest(LangmodError):
    """The request itself is at fault."""

    code = "bad_request"
    status = 400


class TextTooLong(BadRequest):
    """A text has more tokens than the base reads."""

    code = "text_too_long"


class NoMaskToken(BadRequest):
    """A fill-mask text without the mask token."""

    code = "no_mask_token"


class UnsureLanguage(BadRequest):
    """The language of a text was to be detected, and cannot be told surely enough."""

    code = "unsure_language"
    status = 422


class NotFound(LangmodError):
    """A name that nobody published; ``details["near"]`` lists the closest ones that exist."""

    code = "not_found"
    status = 404
    noun: ClassVar[str] = "name"

    def __init__(self, name: str, known: Sequence[str]) -> None:
        near = get_close_matches(name, known, n=5, cutoff=0.4)
        hint = f"near names: {', '.join(near)}" if near else f"known: {', '.join(known) or 'none'}"
        super().__init__(f"no {self.noun} {name!r}; {hint}", got=name, near=near)


class UnknownLanguage(NotFound):
    """No module (nor the base itself) serves this language."""

    code = "unknown_language"
    noun = "language"


class UnknownScript(UnknownLanguage):
    """The language is served, but not in the script that was asked for."""

    code = "unknown_script"

    def __init__(self, tag: str, name: str, served: str, usual: str, script: str) -> None:
        message = (
            f"{tag!r}: {name} is read and written here in {usual} script (as {served!r}), "
            f"not in {script}"
        )
        LangmodError.__init__(self, message, got=tag, near=[served])


class UnknownTask(NotFound):
    """No module serves this task in this language."""

    code = "unknown_task"
    noun = "task"


class UnknownModule(NotFound):
    """No module of this name is published."""

    code = "unknown_module"
    noun = "module"


class ModuleMismatch(LangmodError):
    """A module that does not fit the base; ``details["faults"]`` lists every reason."""

    code = "module_mismatch"
    status = 409

    def __init__(self, name: str, faults: Sequence[str]) -> None:
        listed = "; ".join(faults)
        super().__init__(f"module {name!r} does not fit: {listed}", faults=list(faults))


class BrokenModule(LangmodError):
    """A module whose files are missing, damaged or not what their digest says."""

    code = "broken_module"
    status = 422


class Overloaded(LangmodError):
    """The queue is full."""

    code = "overloaded"
    status = 429

    def __init__(self, message: str, retry_after: int) -> None:
        super().__init__(message, retry_after=retry_after)
        self.retry_after = retry_after


class Unavailable(LangmodError):
    """The service is stopping, or what it needs is not active."""

    code = "unavailable"
    status = 503


class DataError(LangmodError):
    """A broken piece of input data; the message opens with ``file:line``."""

    code = "data"
    status = 400

    def __init__(self, path: Path, line: int | None, problem: str) -> None:
        place = f"{path}:{line}" if line is not None else str(path)
        super().__init__(f"{place}: {problem}", file=str(path), line=line)


class ConfigError(LangmodError):
    """A yaml file or an option that cannot be used; names the field."""

    code = "config"
    status = 400
