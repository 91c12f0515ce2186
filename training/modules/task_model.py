"""A task module in training: frozen base and language modules, a head and a method that learn."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from adaptation.architectures import EncoderArchitecture
from adaptation.banks import banks_of, stack_banks
from adaptation.rows import prompt_length
from adaptation.slot_sources import BankSource, FixedSource, RoleSources
from adaptation.slotted import SlottedBase
from langmod.tasks import HeadTask
from training.data.packing import IGNORED
from training.loop.checkpoints import CheckedTrainer, finite
from training.loop.processor import plain_attention
from training.modules.over_base import OverBase


def fresh_head(
    task: HeadTask, width: int, labels: int, generator: torch.Generator
) -> dict[str, Tensor]:
    """A new head, drawn as BERT's: weights from N(0, 0.02), biases zero."""
    tensors = {}
    for bank in task.head_banks(width):
        shape = [labels if isinstance(axis, str) else axis for axis in bank.row_shape]
        drawn = torch.empty(shape).normal_(std=0.02, generator=generator)
        tensors[bank.tensor] = torch.zeros(shape) if bank.name.endswith("bias") else drawn
    return tensors


class TaskModel(OverBase):
    """Base, language modules by slot, task method and head: what a row of the service runs."""

    def __init__(
        self,
        slotted: SlottedBase,
        task: HeadTask,
        tensors: Mapping[str, Tensor],
        languages: Sequence[Mapping[str, Tensor]] = (),
        learns: bool = False,
    ) -> None:
        """``tensors`` of method and head learn; ``languages`` fill the slots from 1 on."""
        super().__init__(slotted, tensors, learns)
        self.task = task
        banks = banks_of(slotted.architecture)
        self.language_banks = stack_banks(banks, [("language", each) for each in languages])

    @property
    def prompt(self) -> int:
        """Most positions of a row that soft prompts take."""
        return prompt_length(self.tensors()) + prompt_length(self.language_banks)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        token_type_ids: Tensor,
        pool: Tensor,
        slots: Tensor,
    ) -> Tensor:
        """Logits ``[B, C]`` or ``[B, T, C]``."""
        named = {f"task.{name}": tensor for name, tensor in self.tensors().items()}
        task_source = FixedSource(named)
        banks = {name: bank.to(slots.device) for name, bank in self.language_banks.items()}
        source = RoleSources({"language": BankSource(banks, slots), "task": task_source})
        architecture = self.slotted.architecture
        assert isinstance(architecture, EncoderArchitecture)
        with self.slotted.using(source):
            hidden = architecture.backbone(
                input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids
            ).last_hidden_state  # [B, T, D]
        head = {
            bank.name.rsplit(".", 1)[1]: named[bank.name].unsqueeze(0)
            for bank in self.task.head_banks(architecture.width)
        }
        return self.task.head(hidden.float(), pool, head)


class TaskTrainer(CheckedTrainer):
    """Cross entropy over a task's labels."""

    def compute_loss(
        self,
        model: nn.Module,
        inputs: Mapping[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | None = None,
    ) -> Tensor:
        """Mean loss in nats per label.

        Raises:
            NotFinite: the loss is NaN or infinite.
        """
        del return_outputs, num_items_in_batch
        features = {name: value for name, value in inputs.items() if name != "labels"}
        with plain_attention():
            logits = model(**features)  # [..., C]
        loss = functional.cross_entropy(
            logits.float().flatten(0, -2), inputs["labels"].flatten(), ignore_index=IGNORED
        )
        return finite(loss, self)
