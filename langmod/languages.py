"""Language tags: people write ``khk``, ``mn_MN`` or ``mn-Cyrl``; langmod knows one form, ``mn``."""

from collections.abc import Mapping, Sequence
from functools import lru_cache

import langcodes
from langcodes.tag_parser import LanguageTagError

from langmod.errors import BadRequest, UnknownLanguage, UnknownScript

UNDETERMINED = "und"
"""BCP-47's word for a language that is not known."""
DETECT = frozenset({"", "auto", UNDETERMINED})
"""What people write for a language that is to be detected."""
PARTS: Mapping[str, frozenset[str]] = {
    "Kore": frozenset({"Hang", "Jamo"}),
    "Jpan": frozenset({"Hira", "Kana", "Hrkt"}),
    "Hans": frozenset({"Hani"}),
}
"""Scripts that are a part of another, and so mean the same in a tag."""


@lru_cache(maxsize=4096)
def canonical(tag: str) -> str:
    """A language in the one form that langmod knows it by.

    Macrolanguages are folded in (``khk`` → ``mn``), regions and variants left out (``mn_MN`` →
    ``mn``), and the script kept only where it is not the one the language is usually written in
    (``mn-Cyrl`` → ``mn``, ``mn-Mong`` and ``mn-CN`` → ``mn-Mong``).

    Raises:
        BadRequest: the tag is not a well-formed language tag.
    """
    # What follows a point or an @ is of POSIX locales: ko_KR.UTF-8, sr_RS@latin.
    name = tag.strip().partition(".")[0].partition("@")[0]
    try:
        found = langcodes.Language.get(langcodes.standardize_tag(name, macro=True))
    except LanguageTagError as error:
        raise BadRequest(f"{tag!r} is not a language tag: {error}", got=tag) from error
    if found.to_tag() == UNDETERMINED:
        return UNDETERMINED
    if found.language is None or found.language.startswith("x-"):
        raise BadRequest(f"{tag!r} is not a language tag: it names no language", got=tag)
    usual, script = usual_script(found.language), str(found.maximize().script)
    same = script == usual or script in PARTS.get(usual, ())
    return str(found.language) if same else f"{found.language}-{script}"


def requested(name: str | None) -> str | None:
    """The language a request names, in canonical form; None where it is to be detected.

    Raises:
        BadRequest: what it names is not a well-formed language tag.
    """
    return None if name is None or name.strip().lower() in DETECT else canonical(name)


def usual_script(tag: str) -> str:
    """The ISO 15924 code of the script a language is written in, unless its tag says otherwise."""
    return str(langcodes.Language.get(tag).maximize().script)


def unserved(tag: str, known: Sequence[str]) -> UnknownLanguage:
    """The fault of a canonical tag that is not among those served.

    Args:
        tag: what was asked for.
        known: the canonical tags that are served.
    """
    language, _, script = tag.partition("-")
    if script and language in known:
        scripts = (usual_script(language), script)
        return UnknownScript(tag, english_name(language), language, *map(script_name, scripts))
    return UnknownLanguage(tag, known)


def english_name(tag: str) -> str:
    """The English name of a language, for cards and messages (``mn`` → ``Mongolian``)."""
    return str(langcodes.Language.get(tag).display_name())


def script_name(script: str) -> str:
    """The English name of a script (``Cyrl`` → ``Cyrillic``)."""
    return str(langcodes.Language.make(script=script).script_name())
