"""A result as a Markdown table under its caption."""

from collections.abc import Iterable, Sequence

from benchmarks.result import Measured


def laid_out(
    result: Measured, caption: str, head: Sequence[str], rows: Iterable[Sequence[str]]
) -> str:
    """The caption says when and where; then the table."""
    now = result.circumstances
    where = (
        f"{now.machine.processor}, {now.machine.cores} cores, load {now.machine.load_average:g} "
        f"at the start; commit {', '.join(f'`{each}`' for each in (now.commit, *now.bases))}."
    )
    return f"{caption} {where}\n\n{as_table(head, rows)}"


def as_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """The first column to the left, figures to the right."""
    lines = [head, [":--", *["--:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
