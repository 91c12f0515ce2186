"""A study's tables: the same rows as Markdown and as LaTeX, each with what its numbers are."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from training.studies.definition import Compared
from training.studies.differences import Difference
from training.studies.result import StudyResult
from training.studies.sentences import SentenceRow
from training.studies.significance import RESAMPLES

SYMBOLS = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "|": r"\textbar{}",
    "–": "--",
    "−": r"$-$",
    "≤": r"$\leq$",
    "≻": r"$\succ$",
    "ε": r"$\varepsilon$",
    "δ": r"$\delta$",
    "×": r"$\times$",
}
HEADER = (
    "arm",
    "runs",
    "mean",
    "std",
    "median",
    "difference",
    "p",
    "p (Holm)",
    "ε_min arm ≻ ref",
    "ε_min ref ≻ arm",
    "Cliff's δ",
    "Hedges' g",
    "verdict",
)


@dataclass(frozen=True)
class Table:
    """Rows under a header; the first column and the last are words."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...]

    def markdown(self) -> str:
        """Writes it in Markdown, with the notes as a list below."""
        align = [":--", *["--:"] * (len(self.header) - 2), ":--"]
        lines = [f"| {' | '.join(row)} |" for row in (self.header, *self.rows)]
        lines.insert(1, f"|{'|'.join(align)}|")
        notes = "\n".join(f"- {note}" for note in self.notes)
        return "\n\n".join([f"### {self.title}", "\n".join(lines), notes])

    def latex(self) -> str:
        """A float for the packages booktabs and graphicx; the notes are its caption."""
        lines = [" & ".join(map(escaped, row)) + r" \\" for row in (self.header, *self.rows)]
        body = "\n".join(
            [r"\toprule", lines[0], r"\midrule", *lines[1:], r"\bottomrule"],
        )
        caption = escaped(" ".join(f"{part.rstrip('.')}." for part in (self.title, *self.notes)))
        columns = f"l{'r' * (len(self.header) - 2)}l"
        return "\n".join(
            [
                r"\begin{table}",
                rf"\caption{{{caption.replace('`', '')}}}",
                rf"\resizebox{{\linewidth}}{{!}}{{\begin{{tabular}}{{{columns}}}",
                body,
                r"\end{tabular}}",
                r"\end{table}",
            ]
        )


def escaped(text: str) -> str:
    """Plain text as LaTeX has it."""
    return "".join(SYMBOLS.get(character, character) for character in text)


def metric_table(result: StudyResult, metric: Compared, differences: Sequence[Difference]) -> Table:
    """Every arm in every language of one metric; arms without a comparison show their spread."""
    rows = [
        row
        for language in result.languages(metric.name)
        for arm in result.arms
        for found in _of(differences, arm, language)
        if (row := _row(result, (metric.name, language, arm), found))
    ]
    title = f"{metric.name}, {metric.better} is better: {result.name}, {result.split} split"
    return Table(title, HEADER, tuple(rows), tuple(_notes(result, metric, differences)))


def _of(differences: Sequence[Difference], arm: str, language: str) -> list[Difference | None]:
    """Returns its comparisons; None alone where it has none and shows its spread only."""
    found: list[Difference | None] = [
        each for each in differences if (each.arm, each.language) == (arm, language)
    ]
    return found or [None]


def _row(
    result: StudyResult, place: tuple[str, str, str], found: Difference | None
) -> tuple[str, ...] | None:
    metric, language, arm = place
    values = result.values(arm, metric, language)
    if not values:
        return None
    made = [
        run for run in result.runs if run.arm == arm and run.value(metric, language) is not None
    ]
    scores = [run.value(metric, language) or 0.0 for run in made]
    spread = float(np.std(scores, ddof=1)) if len(scores) > 1 else None
    shown = (
        f"{arm} ({language})" if language else arm,
        str(len(scores)),
        score(float(np.mean(scores))),
        number(spread),
        score(float(np.median(scores))),
    )
    if found is None:
        return (*shown, *["–"] * 7, "reference" if _is_reference(result, arm) else "–")
    return (
        *shown,
        signed(found.difference),
        number(found.p),
        number(found.p_holm),
        number(found.aso),
        number(found.aso_reverse),
        signed(found.delta),
        signed(found.g),
        found.verdict,
    )


def _is_reference(result: StudyResult, arm: str) -> bool:
    return any(reference == arm for _, reference in result.comparisons)


def _notes(result: StudyResult, metric: Compared, differences: Sequence[Difference]) -> list[str]:
    """Signatures, data, seeds, how p was found and what it can be at least, unequal arms."""
    notes = [f"Signature: `{each}`" for each in result.signatures(metric.name)]
    data = {m.data[:12] for run in result.runs for m in run.metrics if m.name == metric.name}
    notes.append(f"Scored texts: {', '.join(sorted(data))}")
    notes.append(f"Seeds: {', '.join(map(str, result.seeds))}; size: {result.size}")
    notes += _own_seeds(result)
    notes += [f"{each.run} failed: {each.problem}" for each in result.failed]
    notes += [f"{arm} took other steps: {reason}" for arm, reason in result.unequal.items()]
    if not differences:
        return notes
    references = sorted({each.reference for each in differences})
    notes.append(f"Differences are from {_references(differences, references)}")
    notes += sorted({_test_note(each) for each in differences})
    notes.append(
        f"Holm's family: {len(differences)} comparisons; ε_min: confidence 1 − {result.alpha:g} / "
        f"{len(differences)}, below 0.5 the left arm is almost stochastically better"
    )
    return notes


def _own_seeds(result: StudyResult) -> list[str]:
    """Notes the seeds of arms that were made with others than the study's."""
    found = {
        arm: [run.seed for run in result.runs if run.arm == arm and run.seed is not None]
        for arm in result.arms
    }
    return [
        f"Seeds of {arm}: {', '.join(map(str, seeds))}"
        for arm, seeds in found.items()
        if not set(seeds) <= set(result.seeds)
    ]


def _references(differences: Sequence[Difference], references: list[str]) -> str:
    if len(references) == 1:
        return references[0]
    pairs = dict.fromkeys((each.arm, each.reference) for each in differences)
    return ", ".join(f"{reference} (for {arm})" for arm, reference in pairs)


def _test_note(found: Difference) -> str:
    kind = "signs of paired differences" if found.paired else "runs between the arms"
    how = "every rearrangement" if found.exact else f"{RESAMPLES} seeded rearrangements"
    return (
        f"p: two-sided permutation of {kind}, {how}; with {found.runs} runs the smallest p that "
        f"can be reached is {number(found.smallest_p)}"
    )


def sentence_table(result: StudyResult, rows: Sequence[SentenceRow]) -> Table:
    """Translations compared sentence by sentence: of how many runs a difference is shown."""
    header = (
        "arm",
        "direction",
        "metric",
        "runs",
        "mean score",
        "mean reference",
        "least p (AR, Holm)",
        "least p (bootstrap, Holm)",
        "runs better",
        "runs worse",
    )
    groups: dict[tuple[str, str, str], list[SentenceRow]] = {}
    for row in rows:
        place = (f"{row.arm} against {row.reference}", row.direction, row.metric)
        groups.setdefault(place, []).append(row)
    shown = [
        (
            *place,
            str(len(own)),
            score(float(np.mean([row.score for row in own]))),
            score(float(np.mean([row.reference_score for row in own]))),
            number(min(row.randomisation_holm for row in own)),
            number(min(row.bootstrap_holm for row in own)),
            *(
                str(sum(_sentence_verdict(row, result.alpha) == side for row in own))
                for side in ("better", "worse")
            ),
        )
        for place, own in groups.items()
    ]
    notes = [f"Signature: `{each}`" for each in sorted({row.signature for row in rows})]
    notes.append(
        "AR: paired approximate randomisation; Holm's families: all runs and directions of a "
        "metric; better, worse: p (AR, Holm) ≤ "
        f"{result.alpha:g}. Every run is in compare.json"
    )
    notes.append("These tests are of single runs; whether an arm is better is in the tables above")
    return Table(f"Sentence by sentence: {result.name}", header, tuple(shown), tuple(notes))


def _sentence_verdict(row: SentenceRow, alpha: float) -> str:
    if row.randomisation_holm > alpha:
        return "no difference shown"
    return "better" if row.score > row.reference_score else "worse"


def cost_table(result: StudyResult) -> Table:
    """What each arm took: steps, examples, trained numbers, seconds."""
    header = ("arm", "runs", "steps", "examples", "trained numbers", "seconds a run", "note")
    rows = []
    for arm in result.arms:
        own = [run for run in result.runs if run.arm == arm]
        if own:
            parameters = own[0].parameters
            rows.append(
                (
                    arm,
                    str(len(own)),
                    str(own[0].steps),
                    str(own[0].examples),
                    "–" if parameters is None else f"{parameters:,}",
                    number(float(np.mean([run.seconds for run in own]))),
                    result.unequal.get(arm, ""),
                )
            )
    machine = result.machine
    notes = (
        f"Of all stages, scoring included, on {machine.processor}, {machine.cores} cores, "
        f"{result.accelerator or 'no accelerator'}; load {machine.load_average:g} at the end",
        f"Commit {result.commit}, torch {result.versions.get('torch', '?')}",
    )
    return Table(f"Cost: {result.name}", header, tuple(rows), notes)


def score(value: float) -> str:
    """Five significant figures."""
    return f"{value:#.5g}"


def number(value: float | None) -> str:
    """Four significant figures; a dash where there is none."""
    return "–" if value is None else f"{value:.4g}"


def signed(value: float | None) -> str:
    """Writes a number with its sign."""
    return "–" if value is None else f"{value:+.4g}".replace("-", "−")
