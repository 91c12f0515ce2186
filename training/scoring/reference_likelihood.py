"""How surprised a translator is by references: finer than BLEU where all translations are poor."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from adaptation.slotted import SlottedBase
from langmod.encoding import TextEncoder

BATCH = 25


def reference_bits_per_byte(
    slotted: SlottedBase,
    encoder: TextEncoder,
    pairs: Sequence[tuple[str, str]],
    direction: tuple[str, str],
) -> float:
    """Bits that the references cost given their sources, end tokens included, per UTF-8 byte.

    The language token, which is given, costs nothing. As much of a side as the base reads counts.
    """
    rows, size = [], 0
    for texts in pairs:
        source, target = (
            encoder.encode_sentence(text, tag, truncate=True)
            for text, tag in zip(texts, direction, strict=True)
        )
        rows.append((torch.from_numpy(source.token_ids), torch.from_numpy(target.token_ids)))
        size += len(texts[1][: target.offsets[:, 1].max()].encode())
    rows.sort(key=lambda row: len(row[1]))
    batches = [rows[first : first + BATCH] for first in range(0, len(rows), BATCH)]
    nats = sum(_nats(slotted, encoder, batch) for batch in batches)
    return nats / math.log(2) / max(size, 1)


def _nats(slotted: SlottedBase, encoder: TextEncoder, rows: list[tuple[Tensor, Tensor]]) -> float:
    """Nats of all tokens of some references but the first, which names the language."""
    base, device = encoder.base, slotted.model.device
    start = torch.tensor([base.eos_id if base.decoder_start_id is None else base.decoder_start_id])
    sources = pad_sequence([row[0] for row in rows], True, base.pad_id).to(device)  # [B, S]
    targets = pad_sequence([row[1] for row in rows], True, base.pad_id).to(device)  # [B, T]
    shifted = [torch.cat([start, row[1][:-1]]) for row in rows]
    logits = slotted.model(
        input_ids=sources,
        attention_mask=(sources != base.pad_id).long(),
        decoder_input_ids=pad_sequence(shifted, True, base.pad_id).to(device),
    ).logits  # [B, T, V]
    lost = functional.cross_entropy(
        logits[:, 1:].flatten(0, 1).float(),
        targets[:, 1:].flatten(),
        ignore_index=base.pad_id,
        reduction="sum",
    )
    return float(lost)
