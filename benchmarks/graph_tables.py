"""Tables of what computes: graphs, rivals and training loops side by side."""

from collections.abc import Mapping, Sequence
from statistics import median

from benchmarks.experiment import Loop, Mix
from benchmarks.markdown import laid_out
from benchmarks.side_by_side import (
    BackTranslationPoint,
    BackTranslationResult,
    CostPoint,
    CostResult,
    EncoderPoint,
    EncoderRivalsResult,
    FillMaskPoint,
    FillMaskResult,
    RivalPoint,
    RivalsResult,
    TrainingPoint,
    TrainingResult,
)

LOOPS: dict[Loop, str] = {
    "langmod": "`training base`",
    "groups": "run_mlm, texts in groups",
    "lines": "run_mlm, a line a row",
    "padded": "run_mlm, a line a row, padded to full length",
}
MIXES: dict[Mix, str] = {
    "bare": "bare base",
    "lora": "LoRA",
    "bottleneck": "bottleneck",
    "every kind": "every method in turn",
    "every kind twice": "every method in turn, in both roles",
}


def costs(result: CostResult) -> str:
    """A row a batch, a column a mix."""
    asked = result.experiment
    caption = (
        f"**{asked.title}** — the body of an encoder of XLM-R's architecture with random weights, "
        f"{asked.layers} x {asked.width}, {asked.precision}; time beside that of the graph without "
        f"slots, median of {asked.repetitions} repetitions in turns; {asked.modules} modules with "
        f"the methods' own defaults in the slots of a role, rows take them in turn; "
        f"{asked.threads} thread{'s' * (asked.threads > 1)}."
    )
    head = ["rows x tokens", "plain graph, ms"]
    for mix in asked.mixes:
        head += [MIXES[mix], *(["aim"] if mix in asked.aims else [])]
    rows = [_cost_row(result, batch) for batch in asked.batches]
    return laid_out(result, caption, head, rows)


def _cost_row(result: CostResult, batch: tuple[int, int]) -> list[str]:
    points = [point for point in result.points if (point.rows, point.tokens) == batch]
    plain = median(each for point in points for each in point.plain)
    cells = [f"{batch[0]} x {batch[1]}", f"{plain:.1f}"]
    for point in points:
        aim = result.experiment.aims.get(point.mix)
        cells += [_cost_cell(point), *([] if aim is None else [f"≤ {aim:.2f}"])]
    return cells


def _cost_cell(point: CostPoint) -> str:
    ratios = [own / bare for own, bare in zip(point.milliseconds, point.plain, strict=True)]
    return f"{point.ratio:.2f} ({min(ratios):.2f}–{max(ratios):.2f})"


def rivals(result: RivalsResult) -> str:
    """A row a batch, for each system its figures and what ours is to it."""
    asked = result.experiment
    caption = (
        f"**{asked.title}** — texts to texts, tokens written in a second, median (lowest–highest) "
        f"of {asked.repetitions} repetitions in turns; {asked.base}, {asked.source} to "
        f"{asked.target}, at most {asked.most_tokens} tokens, bare base; {asked.systems[0]} "
        f"{asked.precision}; {asked.threads} thread{'s' * (asked.threads > 1)}. `=` counts the "
        f"rows that read as those of {asked.systems[-1]}."
    )
    if asked.random:
        caption += (
            f" Weights are random, of {asked.random.layers} + {asked.random.layers} layers x "
            f"{asked.random.width} and {asked.random.vocabulary} words, our graphs without slots; "
            f"no translation ends before it is cut, after {asked.most_tokens + 1} tokens."
        )
    first, *others = asked.systems
    head = ["rows, beams", first]
    for each in others:
        head += [each, f"{first} ÷ it", *(["aim"] if each in asked.aims else [])]
    rows = [
        [f"{rows}, {beams}", *_rival_cells(result, result.of_batch(rows, beams))]
        for rows, beams in asked.batches
    ]
    return laid_out(result, caption, head, rows)


def _rival_cells(result: RivalsResult, points: Sequence[RivalPoint]) -> list[str]:
    cells = []
    for number, point in enumerate(points):
        speeds = [run.speed for run in point.runs]
        cells.append(f"{median(speeds):.0f} ({min(speeds):.0f}–{max(speeds):.0f}); ={point.alike}")
        if number:
            cells.append(f"{result.ratio(point):.2f}")
        if point.system in result.experiment.aims:
            cells.append(_at_least(result.experiment.aims[point.system][point.beams > 1]))
    return cells


def encoders(result: EncoderRivalsResult) -> str:
    """A row a system, for each batch its time, what that is to ours, and how true it is."""
    asked = result.experiment
    caption = (
        f"**{asked.title}** — token ids to hidden states, random weights of XLM-R's architecture, "
        f"{asked.layers} x {asked.width}; {asked.modules} {asked.method} modules, rows take them "
        f"in turn; milliseconds, median (lowest–highest) of {asked.repetitions} repetitions in "
        f"turns, and times that of {asked.systems[0]}; {asked.threads} "
        f"thread{'s' * (asked.threads > 1)}. Largest difference in all batches from "
        f"{asked.references[0]} (bare systems, which run no modules: {asked.references[1]}), as a "
        "share of its largest number."
    )
    head = ["system", *(c for b, t in asked.batches for c in (f"{b} x {t}", "times ours"))]
    rows = []
    for system in asked.systems:
        points = [each for each in result.points if each.system == system]
        cells = [cell for each in points for cell in _encoder_cells(result, each)]
        rows.append([system, *cells, f"{max(each.difference for each in points):.0e}"])
    if asked.aims:
        head.append("aim")
        for row, system in zip(rows, asked.systems, strict=True):
            row.insert(-1, _aim(asked.aims, system))
    return laid_out(result, caption, [*head, "difference"], rows)


def _aim(aims: Mapping[str, float], system: str) -> str:
    return _at_least(aims[system]) if system in aims else ""


def _at_least(aim: float) -> str:
    return f"≥ {aim:g}"


def _encoder_cells(result: EncoderRivalsResult, point: EncoderPoint) -> list[str]:
    times = point.milliseconds
    return [
        f"{median(times):.0f} ({min(times):.0f}–{max(times):.0f})",
        f"{result.ratio(point):.2f}",
    ]


def fill_masks(result: FillMaskResult) -> str:
    """A row a system, for each number of rows its figures and what ours is to it."""
    asked = result.experiment
    caption = (
        f"**{asked.title}** — texts to the {asked.top_k} likeliest words of a mask, rows a second, "
        f"median (lowest–highest) of {asked.repetitions} repetitions in turns, and how many times "
        f"that {asked.systems[0]} fills; {asked.base}, {asked.systems[0]} {asked.precision} with "
        f"the module of each row's own language ({', '.join(asked.languages)} in turn), all others "
        f"the bare base; {asked.threads} thread{'s' * (asked.threads > 1)}. `=` counts the rows "
        f"whose first word is that of {asked.reference}. Of the settings tried, the fastest."
    )
    head = ["system", *(c for n in asked.rows for c in (f"{n} at once", "ours ÷ it", "settings"))]
    rows = [
        [
            system,
            *(
                cell
                for each in result.points
                if each.system == system
                for cell in _fill_cells(result, each)
            ),
            _aim(asked.aims, system),
        ]
        for system in asked.systems
    ]
    return laid_out(result, caption, [*head, "aim"], rows)


def _fill_cells(result: FillMaskResult, point: FillMaskPoint) -> list[str]:
    speeds = [1e3 * point.rows / each for each in point.milliseconds]
    figures = f"{median(speeds):.0f} ({min(speeds):.0f}–{max(speeds):.0f}); ={point.alike}"
    return [figures, f"{result.ratio(point):.2f}", point.settings]


def back_translations(result: BackTranslationResult) -> str:
    """A row a system."""
    asked = result.experiment
    runs = result.points[0].runs
    caption = (
        f"**{asked.title}** — {asked.sentences} sentences of {asked.corpus.name} from "
        f"{asked.language} to {asked.pivot}, greedily, text to text, {asked.base}, at most "
        f"{asked.most_tokens} tokens; {asked.systems[0]} {asked.precision} with the direction's "
        f"module; sentences a second, median (lowest–highest) of {len(runs)} parts of "
        f"{asked.chunk}, the systems in turns; {asked.threads} "
        f"thread{'s' * (asked.threads > 1)}. `=` counts the sentences that read as those of "
        f"{asked.reference}. Of the settings tried, on {asked.tried} other sentences, the fastest."
    )
    head = ["system", "settings", "sentences/s", "tokens/s", "=", f"{asked.systems[0]} ÷ it", "aim"]
    rows = [_back_row(result, point) for point in result.points]
    return laid_out(result, caption, head, rows)


def _back_row(result: BackTranslationResult, point: BackTranslationPoint) -> list[str]:
    speeds = [run.sentences / run.seconds for run in point.runs]
    return [
        point.system,
        point.settings,
        f"{median(speeds):.0f} ({min(speeds):.0f}–{max(speeds):.0f})",
        f"{median(run.tokens / run.seconds for run in point.runs):.0f}",
        str(point.alike),
        f"{result.ratio(point):.2f}",
        _aim(result.experiment.aims, point.system),
    ]


def training(result: TrainingResult) -> str:
    """A row a training loop."""
    asked = result.experiment
    caption = (
        f"**{asked.title}** — tokens of text read in a second (padding does not count), median "
        f"(lowest–highest) of {asked.repetitions} repetitions of {asked.steps} steps, the loops in "
        f"turns, {asked.threads} thread{'s' * (asked.threads > 1)}; {asked.size}, "
        f"{asked.batch_size} rows of at most {asked.block_tokens} tokens a step, "
        f"{asked.mask_rate:.0%} masked; the last column is the median over repetitions."
    )
    if result.circumstances.machine.load_average > result.circumstances.machine.cores / 2:
        caption += " The machine was shared with other work: compare within the table."
    head = ["loop", "products", "text in a row", "s a step", "tokens/s", "`training base` ÷ it"]
    rows = [_training_row(result, point) for point in result.points]
    return laid_out(result, caption, head, rows)


def _training_row(result: TrainingResult, point: TrainingPoint) -> list[str]:
    speeds = [run.tokens_per_second for run in point.runs]
    return [
        LOOPS[point.arm.loop],
        "bf16" if point.arm.bf16 else "fp32",
        f"{median(run.text for run in point.runs):.0%}",
        f"{median(run.seconds_per_step for run in point.runs):.2f}",
        f"{median(speeds):.0f} ({min(speeds):.0f}–{max(speeds):.0f})",
        f"{result.ratio(point):.2f}",
    ]
