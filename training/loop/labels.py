"""Labels of hidden tokens as the head of a base gives its logits."""

from collections.abc import Callable
from functools import partial

from torch import Tensor

from adaptation.architectures import Architecture, EncoderArchitecture
from training.data.packing import IGNORED


def known_labels(architecture: Architecture) -> Callable[[Tensor], Tensor] | None:
    """Token ids → places among the logits, ``IGNORED`` for what the head does not know.

    None where a base's head knows all that it reads.
    """
    if not isinstance(architecture, EncoderArchitecture) or architecture.pieces is None:
        return None
    return partial(architecture.places, unknown=IGNORED)
