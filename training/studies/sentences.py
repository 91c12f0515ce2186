"""A study's translations compared sentence by sentence, seed by seed, where they still lie."""

from langmod.config import Frozen
from training.evaluation.translations import Translations, read_translations
from training.studies.definition import folder_name
from training.studies.result import StudyResult
from training.studies.sentence_tests import SentenceTest, sentence_tests
from training.studies.significance import holm


class SentenceRow(Frozen):
    """One run against its reference's run of the same seed, in one metric on one test set."""

    arm: str
    reference: str
    seed: int
    direction: str
    metric: str
    """``bleu`` or ``chrf++``, and the origin of the sentences."""
    score: float
    reference_score: float
    randomisation: float
    """p of paired approximate randomisation."""
    randomisation_holm: float
    """Corrected over all rows of a metric."""
    bootstrap: float
    """p of the paired bootstrap."""
    bootstrap_holm: float
    signature: str


def compare_sentences(result: StudyResult, trials: int) -> list[SentenceRow]:
    """Every comparison of translations that lie in the study's folder; none: no translations."""
    found: list[tuple[tuple[str, str, int], Translations, SentenceTest]] = []
    for arm, reference in result.comparisons:
        for seed in result.seeds:
            case = (arm, reference, seed)
            for ours, theirs in _common(result, case):
                found += [(case, ours, test) for test in sentence_tests(ours, theirs, trials)]
    rows = []
    for metric in dict.fromkeys(test.metric for _, _, test in found):
        family = [each for each in found if each[2].metric == metric]
        corrected = zip(
            holm([test.randomisation for _, _, test in family]),
            holm([test.bootstrap for _, _, test in family]),
            strict=True,
        )
        rows += [_row(*each, both) for each, both in zip(family, corrected, strict=True)]
    return rows


def _common(
    result: StudyResult, case: tuple[str, str, int]
) -> list[tuple[Translations, Translations]]:
    """Translations of the same sentences by both runs."""
    arm, reference, seed = case
    ours, theirs = (_of_run(result, each, seed) for each in (arm, reference))
    return [(ours[key], theirs[key]) for key in ours if key in theirs]


def _of_run(result: StudyResult, arm: str, seed: int) -> dict[tuple[str, str, str], Translations]:
    folders = [result.folder / folder_name(arm, each) for each in (seed, None)]
    folder = next((each for each in folders if each.is_dir()), None)
    found = read_translations(folder) if folder else []
    return {(each.direction, each.origin, each.data): each for each in found}


def _row(
    case: tuple[str, str, int],
    ours: Translations,
    test: SentenceTest,
    corrected: tuple[float, float],
) -> SentenceRow:
    arm, reference, seed = case
    return SentenceRow(
        arm=arm,
        reference=reference,
        seed=seed,
        direction=ours.direction,
        metric=f"{test.metric} {ours.origin}",
        score=test.score,
        reference_score=test.reference,
        randomisation=test.randomisation,
        randomisation_holm=corrected[0],
        bootstrap=test.bootstrap,
        bootstrap_holm=corrected[1],
        signature=test.signature,
    )
