"""Tensors and banks by name, type and axes, and the closed sets that all specifications share.

Symbolic axes are the letters of docs/glossary.md; an axis whose size follows what is loaded (slots,
ranks, classes, prompt length) is a string such as ``S.language`` or ``R.language.bottleneck``.
"""

from typing import Literal

from langmod.config import Frozen

Role = Literal["language", "task"]
ROLES: tuple[Role, ...] = ("language", "task")
Kind = Literal["encoder", "translator"]
Precision = Literal["fp32", "int8"]
Pooling = Literal["first", "mean", "prompt"]
Axis = int | str
FORMAT_VERSION: Literal[1] = 1
FP32_TOLERANCE = 1e-4
"""Largest difference between torch and an fp32 graph that an export may show."""
ROW_TOLERANCE = 1e-5
"""Largest difference between a row's answer alone and in a mixed batch."""


class TensorSpec(Frozen):
    """Name, element type and axes of one tensor."""

    name: str
    dtype: Literal["float32", "float16", "int64", "bool"]
    shape: tuple[Axis, ...]


class BankSpec(Frozen):
    """One bank: a module tensor stacked over the slots of a role, a graph input."""

    name: str
    """``<role>.<tensor>``; a module's slots.safetensors holds it as ``<tensor>``."""
    role: Role
    shape: tuple[Axis, ...]
    """Its axes, ``S.<role>`` for the slots among them; other strings are axes that grow with the
    modules."""
    held: Literal["slots", "memory"] = "slots"
    """Whether it lies in the slots of a bank that graphs take, or in host memory, where the service
    itself reads it row by row."""
    marks: tuple[str, ...] = ()
    """For the one bank of each role ``[S, K]`` that no module brings: the free axes of all places
    where modules have tensors, in the order of its columns. A slot has 1 where its module does."""

    @property
    def tensor(self) -> str:
        """The tensor's name inside a module."""
        return self.name.removeprefix(f"{self.role}.")

    @property
    def place(self) -> str | None:
        """The free axis of ranks or of presence, one for each place of a method, if any."""
        letters = ("R.", "E.")
        return next(
            (a for a in self.row_shape if isinstance(a, str) and a.startswith(letters)), None
        )

    @property
    def slot_axis(self) -> int:
        """Where in ``shape`` the slots lie."""
        return self.shape.index(f"S.{self.role}")

    @property
    def row_shape(self) -> tuple[Axis, ...]:
        """The shape without the slot axis: what one module brings."""
        axis = self.slot_axis
        return self.shape[:axis] + self.shape[axis + 1 :]
