"""docs/methods.md: how far each method is from its library, by task, role and base.

``make methods`` measures and writes the page; the tests measure again and check the page's form.
"""

import re
import tempfile
from dataclasses import dataclass
from functools import cache, partial
from itertools import combinations
from pathlib import Path

import torch

from adaptation.banks import banks_of, stack_banks
from adaptation.methods import METHODS
from adaptation.slot_sources import BankSource
from adaptation.slotted import SlottedBase
from langmod.specs import ROLES
from tests.adaptation import models
from tests.adaptation.heads import TASKS, library_answers, our_answers, states
from tests.adaptation.models import inputs_of, module_for
from tests.adaptation.references import REFERENCES

PAGE = Path(__file__).parents[1] / "docs" / "methods.md"
BASES = {name: partial(models.strong, make) for name, make in models.BASES.items()}
COLUMNS = {"XLM-R": "xlmr", "BERT": "bert", "M2M100": "m2m100"}
"""Head of a column → one of the tiny bases."""
MOST = 1e-5
"""Largest difference from the library's answer that any cell may show."""
SEEN = 1e-2
"""Base and modules answer at least this far apart, or nothing was compared."""
INTRODUCTION = """# Methods

What `make methods` measured; the tests measure it again. A cell has two numbers, of language
modules and of task modules: the largest difference (fp32, at most 1e-5) between an answer of ours
and the reference's. Ours come from one batch that mixes rows of two modules and of the bare base,
the reference's one row at a time from the checkpoint that the method wrote. Before that base and
both modules are seen to differ by more than 1e-2. Where a combination has no meaning the cell says
why.

Answers are logits of the vocabulary (`fill_mask`, `translate`), a sentence vector (`embed`), and
logits of labels, ours beside those of Hugging Face's own heads (`classify`:
`XLMRobertaClassificationHead`, or `BertPooler` and a linear layer; `tag`: a linear layer).

The bases are tiny and seeded (two layers, width 32, weights that attend sharply), of three
families: XLM-R and BERT (encoders) and M2M100 (translator). References: PEFT; `adapters`
(AdapterHub's library); a state dict that Hugging Face's own model loads. `adapters` has no M2M100:
there it is its mBART, which has the same layers, with M2M100's weights and positions.
"""


@dataclass(frozen=True)
class Cell:
    """One method in one role on one base, whatever the task."""

    method: str
    role: str
    base: str

    @property
    def kind(self):
        return kind_of(self.base)

    @property
    def unfit(self):
        return METHODS[self.method].unfit(self.kind, self.role)

    @property
    def reference(self):
        return REFERENCES[self.method][self.kind]

    @property
    def outline(self):
        """What is said besides the number."""
        return self.unfit or f"✓ {self.reference.library}"


@cache
def kind_of(base):
    return BASES[base]().kind


def cells():
    """Every one that is measured or has a reason not to be."""
    return [
        Cell(method, role, base)
        for method in sorted(METHODS)
        for role in ROLES
        for base in COLUMNS.values()
    ]


def without_reference():
    """Methods that nothing is compared with."""
    return sorted(
        {cell.method for cell in cells()
         if cell.unfit is None and cell.kind not in REFERENCES.get(cell.method, {})}
    )  # fmt: skip


@cache
def measured(cell):
    """Task → the largest difference of mixed rows of two modules from the library's single rows."""
    base, method = BASES[cell.base](), METHODS[cell.method]
    config = method.Config(**cell.reference.settings)
    modules = [module_for(base, method, config, seed) for seed in (11, 12)]
    inputs = inputs_of(base)
    bare = library_answers(base, one_by_one(BASES[cell.base]().model, inputs))
    theirs = [
        bare, *(library_answers(base, library_rows(cell, each, inputs)) for each in modules)
    ]  # fmt: skip
    wanted = [1, 0, 2, 1]
    ours = our_answers(base, mixed_rows(base, cell.role, modules, wanted))
    found = {}
    for task in ours:
        read = positions_read(base, task, inputs)
        for one, other in combinations(theirs, 2):
            apart = ((one[task] - other[task]).abs() * read).flatten(1).amax(1).min()
            assert apart > SEEN, f"{cell}, {task} would compare what does not differ: {apart:.1e}"
        expected = torch.stack([theirs[module][task][row] for row, module in enumerate(wanted)])
        found[task] = float(((ours[task] - expected).abs() * read).max())
    return found


def mixed_rows(base, role, modules, wanted):
    """Hidden states and logits of a batch whose rows are on the modules wanted, 0 on none."""
    banks = stack_banks(banks_of(base), [(role, each) for each in modules])
    slots = torch.zeros(len(wanted), len(ROLES), dtype=torch.int64)
    slots[:, ROLES.index(role)] = torch.tensor(wanted)
    slotted = SlottedBase(base)
    inputs = inputs_of(base)
    with torch.no_grad(), slotted.using(BankSource(banks, slots)):
        return inputs, *states(slotted.model, inputs)


def positions_read(base, task, inputs):
    """1 where anybody reads an answer: what stands at an encoder's padding is none."""
    if task in {"embed", "classify"}:
        return torch.ones(1, 1)
    read = inputs["decoder_input_ids" if base.kind == "translator" else "attention_mask"]
    return (read > 0).unsqueeze(-1)


def library_rows(cell, tensors, inputs):
    """The library's states after it has read the module from disk."""
    method, reference = METHODS[cell.method], cell.reference
    config = method.Config(**reference.settings)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "module"
        method.write(folder, config, tensors, BASES[cell.base]())
        return one_by_one(reference.model(BASES[cell.base](), folder), inputs)


def one_by_one(model, inputs):
    """Inputs, hidden states (None of a translator) and logits, each row by itself."""
    rows = range(len(inputs["input_ids"]))
    with torch.no_grad():
        found = [
            states(model, {key: each[row : row + 1] for key, each in inputs.items()})
            for row in rows
        ]
    hidden, logits = zip(*found, strict=True)
    return inputs, None if hidden[0] is None else torch.cat(hidden), torch.cat(logits)


def page(written):
    """The page, with the text of each task by cell."""
    lines = ["| method | task | " + " | ".join(COLUMNS) + " |", "|---|---|" + "---|" * len(COLUMNS)]
    for method in sorted(METHODS):
        for task, kind in TASKS.items():
            texts = [_text(method, task, kind, base, written) for base in COLUMNS.values()]
            lines.append(f"| `{method}` | `{task}` | " + " | ".join(texts) + " |")
    return INTRODUCTION + "\n" + "\n".join(lines) + "\n"


def _text(method, task, kind, base, written):
    both = [Cell(method, role, base) for role in ROLES]
    if both[0].kind != kind:
        return f"a task of {kind}s"
    said = [written[each].get(task, each.outline) for each in both]
    libraries = {each.outline for each in both if each.unfit is None}
    if len(libraries) == 1 and all(each.unfit is None for each in both):
        numbers = " · ".join(each.removeprefix("✓ ").partition(" ")[0] for each in said)
        return f"✓ {numbers} {both[0].reference.library}"
    return " · ".join(dict.fromkeys(said))


def without_numbers(text):
    return re.sub(NUMBER, "N", text)


NUMBER = r"\d\S*e[+-]\d\d"


def numbers(text):
    return [float(each) for each in re.findall(NUMBER, text)]


def outlines():
    """The page's texts with a number that stands for any."""
    return {
        cell: {} if cell.unfit else {
            task: f"✓ {1e-9:.0e} {cell.reference.library}"
            for task, kind in TASKS.items() if kind == cell.kind
        }
        for cell in cells()
    }  # fmt: skip


def write():
    """Measures every cell and writes the page."""
    written = {
        cell: {} if cell.unfit else {
            task: f"✓ {most:.0e} {cell.reference.library}" for task, most in measured(cell).items()
        }
        for cell in cells()
    }  # fmt: skip
    PAGE.write_text(page(written), encoding="utf-8")


if __name__ == "__main__":
    write()
