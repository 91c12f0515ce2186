"""Which script a text is written in: it says more of its language than any other trait."""

from collections import Counter
from collections.abc import Mapping

import regex

SCRIPTS = (
    "Latn", "Cyrl", "Hang", "Hani", "Hira", "Kana", "Arab", "Deva", "Tibt", "Mong", "Thai", "Grek",
    "Hebr", "Armn", "Geor", "Ethi", "Beng", "Guru", "Gujr", "Orya", "Taml", "Telu", "Knda", "Mlym",
    "Sinh", "Khmr", "Laoo", "Mymr", "Thaa", "Syrc", "Tfng", "Nkoo", "Adlm", "Vaii", "Cans", "Cher",
    "Olck", "Yiii", "Bopo", "Java", "Bali", "Bugi", "Sund", "Lisu", "Mtei", "Phag", "Copt", "Goth",
)  # fmt: skip
"""ISO 15924 codes of those that are looked for."""
WHOLE: Mapping[str, str] = {"Hang": "Kore", "Hani": "Hans", "Hira": "Jpan", "Kana": "Jpan"}
"""The script in CLDR's sense that letters belong to; Han letters beside kana are Japanese."""
FEW = 0.3
"""Of all letters: names, brands and code are Latin in texts of any script."""
KANA = 0.1
"""Of Han letters and kana together: so many kana make a text Japanese."""
REST = "Zzzz"
"""ISO 15924's code of letters in a script that is none of these."""
LETTERS = regex.compile(
    "(?V1)"
    + "|".join(rf"(?P<{code}>\p{{Script={code}}}+)" for code in SCRIPTS)
    + rf"|(?P<{REST}>[\p{{L}}--[\p{{Script=Zyyy}}\p{{Script=Zinh}}]]+)"
)


def main_script(text: str) -> str | None:
    """The ISO 15924 code of the script of a text, as CLDR has it for languages (``Kore``).

    A text with at least three letters of ten in another script than Latin is in that one.

    Returns:
        None for a text without letters.
    """
    counts: Counter[str] = Counter()
    for run in LETTERS.finditer(text):
        counts[str(run.lastgroup)] += len(run.group())
    if not counts:
        return None
    kana = counts["Hira"] + counts["Kana"]
    if kana > KANA * (kana + counts["Hani"]):
        counts["Hira"], counts["Hani"] = kana + counts["Hani"], 0
    other, letters = max(
        ((code, count) for code, count in counts.items() if code != "Latn"),
        key=lambda pair: pair[1],
        default=("Latn", 0),
    )
    return WHOLE.get(other, other) if letters >= FEW * counts.total() else "Latn"
