"""Language tags: users say ``khk``, ``kor`` or ``mn``, ``ko``; langmod speaks BCP-47."""

import langcodes
from langcodes.tag_parser import LanguageTagError

from langmod.errors import BadRequest


def canonical(tag: str) -> str:
    """The shortest BCP-47 tag of a language, macrolanguages folded in (``khk`` → ``mn``).

    Raises:
        BadRequest: the tag is not a well-formed language tag.
    """
    try:
        return str(langcodes.standardize_tag(tag, macro=True))
    except LanguageTagError as error:
        raise BadRequest(f"{tag!r} is not a language tag: {error}", got=tag) from error


def english_name(tag: str) -> str:
    """The English name of a language, for cards and messages (``mn`` → ``Mongolian``)."""
    return str(langcodes.Language.get(tag).display_name())
