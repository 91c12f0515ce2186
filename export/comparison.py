"""What the library that a checkpoint is of answers with it, beside what our base answers.

The graphs are compared with our own torch; this compares our torch with PEFT or `adapters`, so that
what both of ours would get wrong alike is seen. Neither library is needed to publish a module.
"""

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from adaptation.architectures import Architecture, TranslatorArchitecture
from adaptation.rows import Rows
from adaptation.slot_sources import FixedSource
from adaptation.slotted import SlottedBase
from export.libraries import LIBRARIES, Module
from export.parity import ParityError
from langmod.specs import FP32_TOLERANCE, PROMPT
from langmod.tasks import TASKS, HeadTask

TEXTS = (
    "All human beings are born free and equal in dignity and rights.",
    "Хүн бүр төрж мэндлэхдээ эрх чөлөөтэй, адилхан нэр төртэй, ижил эрхтэй байдаг.",
    "모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다.",
    "Hello!",
)
"""The first article of the Universal Declaration of Human Rights, and a short one."""
LONGEST = 32
"""Tokens of a row."""
Row = dict[str, Tensor]


@dataclass(frozen=True)
class Compared:
    """How far our answers are from the library's own, or why nobody knows."""

    library: str
    answers: str = ""
    """Which: ``logits`` or ``hidden states``; empty where nothing was compared."""
    difference: float = 0.0
    reason: str = ""
    """Why nothing was compared."""

    def __str__(self) -> str:
        """Whose answers they were compared with."""
        if not self.answers:
            return f"not compared with {self.library}: {self.reason}"
        of = f"{self.answers} of {len(TEXTS)} texts"
        return f"differs from {self.library} itself by {self.difference:.2e} ({of})"


def compare(slotted: SlottedBase, folder: Path, module: Module) -> Compared:
    """Runs a few texts through both.

    Raises:
        ParityError: the answers differ by more than the tolerance, relative to the largest.
    """
    base = slotted.architecture
    library = next((each for each in LIBRARIES if each.wrote(module.files)), None)
    if library is None:
        return Compared("a library", reason="its files are of langmod's own format")
    try:
        name = f"{library.name} {version(library.package)}"
    except PackageNotFoundError:
        return Compared(library.name, reason="it is not installed")
    lacking = library.lacks(base)
    if lacking:
        return Compared(name, reason=lacking)
    with _quietly(), torch.no_grad():
        try:
            model = library.model(folder, base, module).eval()
            rows = list(text_rows(folder, base))
            theirs = [_answers(model(**row)) for row in rows]
        # Whatever it stumbles over, an old version or a missing package, is no fault of the module.
        except (ImportError, OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
            return Compared(name, reason=f"it cannot run it ({error})")
        ours = [_ours(slotted, module, row, hidden=found[0] != "logits")
                for row, found in zip(rows, theirs, strict=True)]  # fmt: skip
    return _checked(name, theirs, ours)


def _checked(name: str, theirs: list[tuple[str, Tensor]], ours: list[Tensor]) -> Compared:
    differences, scale = [], 1.0
    for (_, expected), found in zip(theirs, ours, strict=True):
        own = expected[:, -found.shape[1] :] if found.dim() == 3 else expected
        differences.append((own - found).abs().max())
        scale = max(scale, float(own.abs().max()))
    worst = float(torch.stack(differences).max())  # nan, where any is
    if not worst <= FP32_TOLERANCE * scale:
        raise ParityError(
            f"the module differs from {name} itself by {worst:.2e}; "
            f"allowed {FP32_TOLERANCE * scale:.0e}"
        )
    return Compared(name, theirs[0][0], worst)


def text_rows(folder: Path, base: Architecture) -> Iterator[Row]:
    """Each text by itself, as the base's own tokenizer cuts it."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    for text in TEXTS:
        ids = torch.tensor([tokenizer(text, truncation=True, max_length=LONGEST)["input_ids"]])
        row = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        if isinstance(base, TranslatorArchitecture):
            start = torch.tensor([[base.model.config.decoder_start_token_id]])
            # Its decoder may know other tokens: any are as good.
            written = ids[:, :-1] % base.decoder_config.vocab_size
            row["decoder_input_ids"] = torch.cat([start, written], 1)
        yield row


def _answers(found: Any) -> tuple[str, Tensor]:
    logits = getattr(found, "logits", None)
    return ("hidden states", found.last_hidden_state) if logits is None else ("logits", logits)


def _ours(slotted: SlottedBase, module: Module, row: Row, hidden: bool) -> Tensor:
    """Logits of words or labels, or hidden states, with the module in every place."""
    source = {f"{module.role}.{name}": each for name, each in module.tensors.items()}
    if module.head is None:
        with slotted.using(FixedSource(source)):
            if hidden:
                return slotted.model.base_model(**row).last_hidden_state
            return slotted.model(**row).logits
    vectors = _vectors(slotted, source, row)  # [1, P + T, D]
    task = TASKS[module.head]
    assert isinstance(task, HeadTask), "what has a head"
    tokens = vectors if module.pooling == "prompt" else vectors[:, -row["input_ids"].shape[1] :]
    base = slotted.architecture
    pool = torch.zeros(tokens.shape[:2])
    pool[:, 0] = 1
    names = {bank.tensor: bank.tensor.rsplit(".", 1)[1] for bank in task.head_banks(base.width)}
    own = {short: module.tensors[name].unsqueeze(0) for name, short in names.items()}
    return task.head(tokens, pool, own)


def _vectors(slotted: SlottedBase, source: Mapping[str, Tensor], row: Row) -> Tensor:
    """What an encoder's layers give, a prompt's own vectors in front."""
    backbone: Any = slotted.model.base_model
    words = slotted.architecture.words(row["input_ids"])
    with slotted.using(FixedSource(source)):
        rows = slotted.enter(Rows(row["input_ids"], words, row["attention_mask"]))
    inside = {name: each for name, each in source.items() if not name.endswith(PROMPT)}
    with slotted.using(FixedSource(inside)):
        found = backbone(inputs_embeds=rows.words, attention_mask=rows.mask)
    return found.last_hidden_state


@contextmanager
def _quietly() -> Iterator[None]:
    """Without what libraries say of heads that they draw before they read them."""
    from transformers.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(before)
