"""An encoder's head for masked words where it reads several layers, kept beside the checkpoint.

A sentence encoder's last layer has forgotten which words it read. So its head reads a linear map of
several layers, and may know fewer pieces than the base reads. The file is no part of the base's
digest: modules change what the head reads, and fit whichever head is there.
"""

from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from adaptation.architectures.encoder import EncoderArchitecture
from adaptation.architectures.layer_mix import LayerMix

HEAD_FILE = "fill_mask.safetensors"
LAYERS, PIECES = "layers", "pieces"
"""Tensors of the file beside the head's own: numbers of layers, and ids of pieces."""


def mix_layers(architecture: EncoderArchitecture, layers: tuple[int, ...]) -> None:
    """Has the head read some layers, counted from 1; the last of them is the base's own last."""
    mix = LayerMix(architecture.width, layers)
    mix.catch(architecture.towers()[0].layers, architecture.vocabulary_head())
    architecture.mix = mix


def limit_vocabulary(architecture: EncoderArchitecture, pieces: Tensor) -> None:
    """Leaves the head the rows of some pieces ``[V']``: what it gives are places among them.

    The base reads all of its pieces as before.
    """
    whole: Any = architecture.vocabulary
    limited = nn.Linear(architecture.width, len(pieces), dtype=whole.weight.dtype)
    limited.weight = nn.Parameter(whole.weight.detach()[pieces], requires_grad=False)
    limited.bias = nn.Parameter(whole.bias.detach()[pieces])
    architecture.model.set_output_embeddings(limited)
    head: Any = architecture.vocabulary_head()
    if hasattr(head, "bias"):  # XLM-R's own, which its linear shares
        head.bias = limited.bias
    architecture.pieces = pieces


def read_layers(folder: Path) -> tuple[int, ...]:
    """The layers that a base's head reads; none where it has no file of its own."""
    path = folder / HEAD_FILE
    if not path.is_file():
        return ()
    with safe_open(path, "pt") as file:
        return tuple(file.get_tensor(LAYERS).tolist())


def read_head(architecture: EncoderArchitecture, folder: Path) -> None:
    """Gives a base the head that lies beside it, if one does."""
    if not (folder / HEAD_FILE).is_file():
        return
    tensors = load_file(folder / HEAD_FILE)
    limit_vocabulary(architecture, tensors.pop(PIECES).long())
    mix_layers(architecture, tuple(tensors.pop(LAYERS).tolist()))
    with torch.no_grad():
        for name, parameter in own_parameters(architecture).items():
            parameter.copy_(tensors[name])


def write_head(architecture: EncoderArchitecture, folder: Path) -> None:
    """Writes a base's head beside it, in halves."""
    assert architecture.mix is not None, "only such heads have a file"
    assert architecture.pieces is not None, "they come together"
    own = own_parameters(architecture)
    tensors = {name: each.detach().half().contiguous() for name, each in own.items()}
    tensors[LAYERS] = torch.tensor(architecture.mix.layers, dtype=torch.int32)
    tensors[PIECES] = architecture.pieces.int()
    save_file(tensors, folder / HEAD_FILE)


def own_parameters(architecture: EncoderArchitecture) -> dict[str, nn.Parameter]:
    """What the head has of its own: all but the word table that it shares."""
    shared = architecture.vocabulary.get_parameter("weight")
    head = architecture.vocabulary_head().named_parameters()
    found = {name: each for name, each in head if each is not shared}
    mix = {} if architecture.mix is None else dict(architecture.mix.named_parameters(prefix="mix"))
    return found | mix
