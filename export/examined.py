"""What ``langmod publish`` tells of a checkpoint: what it found, and where it put it."""

from dataclasses import dataclass
from pathlib import Path

from export.checkpoint import Checkpoint, Faults
from export.comparison import Compared
from langmod.specs import ModuleManifest
from langmod.store import ModuleStore


@dataclass(frozen=True)
class Published:
    """Where a module went, and how near its graphs are to torch."""

    name: str
    digest: str
    max_difference: float
    compared: Compared
    warning: str = ""
    """What nobody can check."""

    def __str__(self) -> str:
        """What is told of it."""
        graphs = f"its graphs differ from torch by {self.max_difference:.2e}"
        told = [str(self.compared), graphs, *filter(None, [self.warning])]
        return f"{self.name}@{self.digest}: {'; '.join(told)}"


@dataclass(frozen=True, eq=False)
class Examined:
    """A checkpoint that was looked at whole, against its base and the graphs it will run."""

    source: Path
    store: ModuleStore | None
    """Where it would go; None where that cannot be opened."""
    checkpoint: Checkpoint
    manifest: ModuleManifest | None
    """None where it cannot be written for the faults."""
    max_difference: float
    """Between torch and the graphs; nan where the faults left nothing to run."""
    compared: Compared | None
    """Torch with the library that the checkpoint is of; None where nothing ran."""
    faults: Faults

    @property
    def name(self) -> str:
        """The module's name, or that of its folder while it has none."""
        return self.checkpoint.description.name or self.source.name

    @property
    def warning(self) -> str:
        """That the checkpoint calls its base by another name than this one; empty if not."""
        theirs = self.checkpoint.trained_on
        ours = self.manifest.base if self.manifest else ""
        if not theirs or Path(theirs).name.lower() == ours.lower():
            return ""
        return f"it says it was trained on {theirs!r}, and nothing tells that {ours} is the same"

    def report(self) -> list[str]:
        """What is wrong with it, or what would be published; a line each."""
        if self.faults or self.manifest is None:
            listed = [f"- {each}" for each in self.faults.listed()]
            return [f"{self.source} cannot be published:", *listed]
        about, tensors = self.manifest, self.checkpoint.tensors.values()
        direction = f"{about.source}→{about.target}" if about.source else None
        serves = about.task or direction or ", ".join(about.languages)
        return [
            f"{self.source} fits {about.base}; nothing was published:",
            f"- {about.name}: {about.method}, role {about.role}, serves {serves}",
            f"- {sum(each.numel() for each in tensors)} numbers in {len(tensors)} tensors, "
            f"licence {about.licence}",
            f"- {self.compared}",
            f"- its graphs differ from torch by {self.max_difference:.2e}",
            *([f"- {self.warning}"] if self.warning else []),
        ]
