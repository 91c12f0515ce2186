"""``langmod compare-precisions``: what 8 bits do to real text, language by language.

Random numbers say how far graphs are from torch; how much that matters only text says. Damage hides
in the languages that a base knows least, so that each is looked at by itself.
"""

import lzma
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnxruntime as ort
import torch
from numpy.typing import NDArray
from torch import Tensor

from adaptation.architectures import EncoderArchitecture, load_base
from adaptation.banks import stack_banks
from adaptation.bases import load_spec
from adaptation.slotted import SlottedBase
from export.encoder_graphs import encoder_graphs
from export.graphs import Feed
from export.module import empty_bank
from export.parity import ParityError, run
from langmod.config import Frozen, write_atomic
from langmod.encoding import TextEncoder
from langmod.errors import ConfigError
from langmod.sessions import opened
from langmod.specs import ROLES, Precision
from langmod.store import Module, ModuleStore
from langmod.tasks.embed import prefixed

BATCH = 16
NEAREST = 0.995
"""Smallest cosine of a text's two vectors that 8 bits may show."""
Vectors = NDArray[np.float32]


class LanguageCheck(Frozen):
    """One language's texts through torch and through the graphs."""

    language: str
    texts: int
    mean_cosine: float
    """Of the texts' vectors, means over tokens."""
    worst_cosine: float
    torch_accuracy: float | None = None
    """Of the module's labels; None without one."""
    graph_accuracy: float | None = None
    same_labels: float | None = None
    """Part of the texts that both label alike."""


class Comparison(Frozen):
    """What was compared."""

    base: str
    base_digest: str
    precision: Precision
    module: str | None
    languages: tuple[LanguageCheck, ...]

    def __str__(self) -> str:
        return "\n".join(
            f"{each.language}: cosine {each.mean_cosine:.5f}, worst {each.worst_cosine:.5f}"
            + (
                ""
                if each.torch_accuracy is None or each.graph_accuracy is None
                else f"; accuracy {each.torch_accuracy:.4f} → {each.graph_accuracy:.4f}"
            )
            for each in self.languages
        )


class Sides:
    """An encoder base in torch and in graphs, with a task module in slot 1 or none."""

    def __init__(self, base: Path, precision: Precision, module: str | None) -> None:
        """Opens both.

        Raises:
            ConfigError: no encoder, or a module of another kind than ``classify``.
            UnknownModule: no such module is published.
        """
        architecture = load_base(base, attention="eager")
        if not isinstance(architecture, EncoderArchitecture):
            raise ConfigError(f"{base} is a {architecture.kind}; encoders have vectors to compare")
        self.spec = load_spec(base)
        self.slotted = SlottedBase(architecture).eval().requires_grad_(False)
        self.graphs = {each.name: each for each in encoder_graphs(self.slotted)}
        self.sessions = {
            name: opened(base / "onnx" / precision / f"{name}.onnx")
            for name in ("embed", "body", "classify")
        }
        self.encoder = TextEncoder(base / "tokenizer.json", self.spec)
        self.module = None if module is None else ModuleStore(base / "modules").load(module)
        if self.module is not None and self.module.manifest.kind != "classify":
            raise ConfigError(f"{module} does not label whole texts")

    def answers(self, texts: Sequence[str], exact: bool) -> tuple[Vectors, Vectors | None]:
        """Vectors ``[N, D]`` of length 1, and logits ``[N, C]`` where there is a module."""
        vectors, logits = [], []
        for start in range(0, len(texts), BATCH):
            found = self._batch(texts[start : start + BATCH], exact)
            vectors.append(found[0])
            logits.append(found[1])
        whole = np.concatenate(vectors)
        labels = [each for each in logits if each is not None]
        return whole, np.concatenate(labels) if labels else None

    def _batch(self, texts: Sequence[str], exact: bool) -> tuple[Vectors, Vectors | None]:
        plain = [str(prefixed(text, None, self.spec)) for text in texts]
        mean, _ = self._means(plain, exact, labelled=False)
        if self.module is None:
            return mean, None
        return mean, self._means(texts, exact, labelled=True)[1]

    def _means(
        self, texts: Sequence[str], exact: bool, labelled: bool
    ) -> tuple[Vectors, Vectors | None]:
        """Through the module where labels are asked for, else the bare base."""
        ids, mask = self._padded(texts)
        slots = torch.zeros(len(texts), len(ROLES), dtype=torch.int64)
        slots[:, ROLES.index("task")] = int(labelled)
        feed = {"mask": mask, "slots": slots, "token_types": torch.zeros_like(ids)}
        places = torch.arange(ids.shape[1]).expand(ids.shape)
        feed["positions"] = (places + self.spec.first_position).contiguous()
        feed["words"] = self._run("embed", {"token_ids": ids}, exact)["words"]
        hidden = self._run("body", feed | self._banks("body", labelled), exact)["hidden"]
        pool = mask / mask.sum(1, keepdim=True)
        mean = (pool.unsqueeze(1) @ hidden).squeeze(1).numpy()
        vectors: Vectors = mean / np.linalg.norm(mean, axis=1, keepdims=True)
        if not labelled:
            return vectors, None
        assert self.module is not None, "labels are a module's"
        first = torch.zeros_like(pool)
        first[:, 0] = 1
        read = pool if self.module.manifest.pooling == "mean" else first
        feed = {"hidden": hidden, "pool": read, "slots": slots, **self._banks("classify", True)}
        logits: Vectors = self._run("classify", feed, exact)["logits"].numpy()
        return vectors, logits[:, : len(self.module.manifest.labels)]

    def _run(self, name: str, feed: Feed, exact: bool) -> Feed:
        if exact:
            with torch.no_grad():
                return self.graphs[name](feed)
        session: ort.InferenceSession = self.sessions[name]
        return {key: torch.from_numpy(value) for key, value in run(session, feed).items()}

    def _banks(self, name: str, labelled: bool) -> dict[str, Tensor]:
        banks = self.graphs[name].banks
        filled = stack_banks(banks, [("task", _tensors(self.module))]) if labelled else {}
        return {bank.name: filled.get(bank.name, empty_bank(bank)) for bank in banks}

    def _padded(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        rows = [self.encoder.encode(text, truncate=True).token_ids for text in texts]
        ids = torch.nn.utils.rnn.pad_sequence(
            [torch.from_numpy(row) for row in rows],
            batch_first=True,
            padding_value=self.spec.pad_id,
        )  # [B, T]
        lengths = torch.tensor([len(row) for row in rows])
        return ids, (torch.arange(ids.shape[1]) < lengths.unsqueeze(1)).float().long()


def _tensors(module: Module | None) -> Mapping[str, Tensor]:
    found = {} if module is None else module.tensors
    return {name: torch.from_numpy(each).float() for name, each in found.items()}


def compare_precisions(
    base: Path, precision: Precision, files: str, languages: Sequence[str], module: str | None
) -> Comparison:
    """Runs texts of each language through torch and the graphs.

    ``files`` is a path with ``{language}`` to a table of label and text, ``.xz``.

    Raises:
        ConfigError: no encoder, no such file, or a module that labels no whole texts.
        ParityError: a text whose vectors are too far apart; names the languages.
    """
    sides = Sides(base, precision, module)
    checks = [_check(sides, files, language) for language in languages]
    far = [each.language for each in checks if each.worst_cosine < NEAREST]
    if far:
        raise ParityError(
            f"vectors of {base} are further from torch than cosine {NEAREST} in: {', '.join(far)}"
        )
    return Comparison(
        base=sides.spec.name,
        base_digest=sides.spec.digest,
        precision=precision,
        module=None if sides.module is None else sides.module.manifest.name,
        languages=tuple(checks),
    )


def _check(sides: Sides, files: str, language: str) -> LanguageCheck:
    rows = sorted(_rows(Path(files.format(language=language))), key=lambda row: len(row[1]))
    texts = [text for _, text in rows]
    exact, found = (sides.answers(texts, exact) for exact in (True, False))
    cosines = (exact[0] * found[0]).sum(axis=1)
    check = LanguageCheck(
        language=language,
        texts=len(texts),
        mean_cosine=float(cosines.mean()),
        worst_cosine=float(cosines.min()),
    )
    if sides.module is None or exact[1] is None or found[1] is None:
        return check
    names = sides.module.manifest.labels
    said = [[names[at] for at in logits.argmax(1)] for logits in (exact[1], found[1])]
    right = [
        float(np.mean([a == label for a, (label, _) in zip(each, rows, strict=True)]))
        for each in said
    ]
    alike = float(np.mean([a == b for a, b in zip(*said, strict=True)]))
    return check.model_copy(
        update={"torch_accuracy": right[0], "graph_accuracy": right[1], "same_labels": alike}
    )


def _rows(path: Path) -> list[tuple[str, str]]:
    if not path.is_file():
        raise ConfigError(f"{path}: no such file")
    with lzma.open(path, "rt", encoding="utf-8") as lines:
        cells = [line.rstrip("\n").split("\t") for line in lines]
    return [(row[0], row[1]) for row in cells]


def save_comparison(comparison: Comparison, path: Path) -> None:
    """Writes what was compared as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, comparison.model_dump_json(indent=1) + "\n")
