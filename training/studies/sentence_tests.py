"""Two systems on the same sentences: paired bootstrap and approximate randomisation by sacrebleu.

Koehn 2004 and Riezler and Maxwell 2005, on the statistics that sacrebleu keeps for each sentence.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import sacrebleu
from sacrebleu.significance import PairedTest, Result

from langmod.errors import ConfigError
from training.evaluation.translations import Translations


@dataclass(frozen=True)
class SentenceTest:
    """One metric of two systems on one test set."""

    metric: str
    score: float
    reference: float
    """The reference system's."""
    randomisation: float
    """p of paired approximate randomisation."""
    bootstrap: float
    """p of the paired bootstrap."""
    signature: str


def sentence_tests(ours: Translations, theirs: Translations, trials: int) -> list[SentenceTest]:
    """Tests chrF++ and BLEU of translations of the same sentences.

    Raises:
        ConfigError: they are of different sentences.
    """
    if ours.data != theirs.data:
        raise ConfigError(f"{ours.direction} {ours.origin}: not the same sentences")
    # Imported when there is something to test: most studies need no torch here.
    from training.scoring.translation_score import CHARACTER_LANGUAGES

    target = ours.direction.partition("-")[2].partition("-")[0]
    tokenize = "char" if target in CHARACTER_LANGUAGES else "13a"
    metrics = {
        "chrf++": sacrebleu.CHRF(word_order=2, references=[ours.references]),
        "bleu": sacrebleu.BLEU(tokenize=tokenize, references=[ours.references]),
    }
    systems = [("reference", theirs.hypotheses), ("ours", ours.hypotheses)]
    found = {
        kind: PairedTest(systems, metrics, None, test_type=kind, n_samples=trials)()
        for kind in ("ar", "bs")
    }
    signatures, scores = found["ar"]
    _, again = found["bs"]
    return [
        SentenceTest(
            metric=name,
            score=float(scores[label][1].score),
            reference=float(scores[label][0].score),
            randomisation=_p_value(scores[label]),
            bootstrap=_p_value(again[label]),
            signature=str(signatures[label]),
        )
        for name, label in zip(metrics, signatures, strict=True)
    ]


def _p_value(scores: Sequence[Result]) -> float:
    """1 for equal scores: sacrebleu counts only trials above the difference, none of which is."""
    reference, ours = scores
    return 1.0 if reference.score == ours.score else float(ours.p_value)
