"""docs/methods.md: how far each method is from its library, by role and base.

``make methods`` measures and writes the page; the tests measure again and check the page's form.
"""

import re
import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from langmod.methods import METHODS
from langmod.slotted import BankSource, SlottedBase, banks_of, stack_banks
from langmod.specs import ROLES
from tests.langmod import models
from tests.langmod.models import inputs_of, module_for
from tests.langmod.references import REFERENCES

PAGE = Path(__file__).parents[1] / "docs" / "methods.md"
BASES = {name: partial(models.strong, make) for name, make in models.BASES.items()}
COLUMNS = {"XLM-R": "xlmr", "BERT": "bert", "M2M100": "m2m100"}
"""Head of a column → one of the tiny bases."""
MOST = 1e-5
"""Largest difference of a logit from the library's that any cell may show."""
SEEN = 1e-2
"""Base and modules answer at least this far apart, or nothing was compared."""
INTRODUCTION = """# Methods

What `make methods` measured; the tests measure it again. A cell is the largest difference (fp32,
at most 1e-5) between a logit of ours and the reference's. Ours come from one batch that mixes
rows of two modules and of the bare base, the reference's one row at a time from the checkpoint
that the method wrote. Before that base and both modules are seen to differ by more than 1e-2.

The bases are tiny and seeded (two layers, width 32, weights that attend sharply), of three
families: XLM-R and BERT (encoders) and M2M100 (translator). References: PEFT; `adapters`
(AdapterHub's library); a state dict that Hugging Face's own model loads. `adapters` has no M2M100:
there it is its mBART, which has the same layers, with M2M100's weights and positions. Where a role
has no meaning the cell says why.
"""


@dataclass(frozen=True)
class Cell:
    """One method in one role on one base."""

    method: str
    role: str
    base: str

    @property
    def kind(self):
        return BASES[self.base]().kind

    @property
    def unfit(self):
        return METHODS[self.method].unfit(self.kind, self.role)

    @property
    def reference(self):
        return REFERENCES[self.method][self.kind]

    @property
    def outline(self):
        """What the cell says besides its number."""
        return self.unfit or f"✓ {self.reference.library}"


def cells():
    """Every cell of the table, row by row."""
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


def measured(cell):
    """The largest difference of mixed rows of two modules from the library's single rows."""
    base, method = BASES[cell.base](), METHODS[cell.method]
    config = method.Config(**cell.reference.settings)
    modules = [module_for(base, method, config, seed) for seed in (11, 12)]
    inputs = inputs_of(base)
    expected = [bare_rows(cell, inputs), *(library_rows(cell, each, inputs) for each in modules)]
    read = logits_read(base, inputs)
    for one, other in ((0, 1), (0, 2), (1, 2)):
        apart = ((expected[one] - expected[other]).abs() * read).amax((1, 2)).min()
        assert apart > SEEN, f"{cell} would compare what does not differ: {apart:.1e}"
    wanted = [1, 0, 2, 1]
    banks = stack_banks(banks_of(base), [(cell.role, each) for each in modules])
    slots = torch.zeros(len(wanted), len(ROLES), dtype=torch.int64)
    slots[:, ROLES.index(cell.role)] = torch.tensor(wanted)
    slotted = SlottedBase(base)
    with torch.no_grad(), slotted.using(BankSource(banks, slots)):
        mixed = slotted.model(**inputs).logits
    theirs = torch.stack([expected[module][row] for row, module in enumerate(wanted)])
    return float(((mixed - theirs).abs() * read).max())


def logits_read(base, inputs):
    """1 where anybody reads a logit, ``[B, T, 1]``: what stands at an encoder's padding is none."""
    read = inputs["decoder_input_ids" if base.kind == "translator" else "attention_mask"]
    return (read > 0).unsqueeze(-1)


def bare_rows(cell, inputs):
    return one_by_one(BASES[cell.base]().model, inputs)


def library_rows(cell, tensors, inputs):
    """The library's answers after it has read the module from disk."""
    method, reference = METHODS[cell.method], cell.reference
    config = method.Config(**reference.settings)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "module"
        method.write(folder, config, tensors, BASES[cell.base]())
        return one_by_one(reference.model(BASES[cell.base](), folder), inputs)


def one_by_one(model, inputs):
    rows = range(len(inputs["input_ids"]))
    with torch.no_grad():
        return torch.cat(
            [model(**{key: each[row : row + 1] for key, each in inputs.items()}).logits
             for row in rows]
        )  # fmt: skip


def page(written):
    """The page, with a cell's text by cell."""
    lines = ["| method | role | " + " | ".join(COLUMNS) + " |", "|---|---|" + "---|" * len(COLUMNS)]
    for method in sorted(METHODS):
        for role in ROLES:
            texts = [written[Cell(method, role, base)] for base in COLUMNS.values()]
            lines.append(f"| `{method}` | {role} | " + " | ".join(texts) + " |")
    return INTRODUCTION + "\n" + "\n".join(lines) + "\n"


def without_numbers(text):
    return re.sub(r"✓ \d\S*e[+-]\d\d ", "✓ ", text)


def numbers(text):
    return [float(each) for each in re.findall(r"✓ (\d\S*e[+-]\d\d) ", text)]


def write():
    """Measures every cell and writes the page."""
    written = {}
    for cell in cells():
        text = cell.outline
        if cell.unfit is None:
            text = text.replace("✓", f"✓ {measured(cell):.0e}")
        written[cell] = text
    PAGE.write_text(page(written), encoding="utf-8")


if __name__ == "__main__":
    write()
