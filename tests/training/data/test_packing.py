"""Blocks are full and lose nothing; masks are drawn by place."""

import random

import numpy as np
import torch

from training.data.packing import IGNORED, OPEN, BlockDataset, MaskingCollator, Special, pack

SPECIAL = Special(start=0, end=2, pad=1, mask=3)
SIZE, VOCABULARY = 64, 500


def sentences(count=2000):
    generator = random.Random(4)
    return [
        [generator.randint(5, VOCABULARY - 1) for _ in range(generator.randint(1, 40))]
        for _ in range(count)
    ]


def of_blocks(blocks):
    """The sentences that lie in blocks."""
    found = []
    for block in blocks.tolist():
        assert block[0] == SPECIAL.start
        ids = block[1:]
        while SPECIAL.end in ids:
            end = ids.index(SPECIAL.end)
            found.append(tuple(ids[:end]))
            ids = ids[end + 1 :]
        assert set(ids) <= {SPECIAL.pad}
    return found


def test_every_sentence_lies_whole_in_one_block():
    given = sentences()
    assert sorted(of_blocks(pack(given, SPECIAL, SIZE))) == sorted(map(tuple, given))


def test_blocks_are_full_but_for_the_last_that_wait():
    given = sentences()
    blocks = pack(given, SPECIAL, SIZE)
    fill = (blocks[:-OPEN] != SPECIAL.pad).mean()
    in_order = -(-sum(len(each) + 1 for each in given) // (SIZE - 1))
    assert fill > 0.98
    assert len(blocks) <= in_order + OPEN


def test_a_sentence_longer_than_a_block_is_cut():
    blocks = pack([list(range(5, 105))], SPECIAL, SIZE)
    assert blocks.tolist() == [[SPECIAL.start, *range(5, 67), SPECIAL.end]]


def masked(seed=1, batches=(4, 4), **changes):
    data = BlockDataset({"mn": pack(sentences(), SPECIAL, SIZE)}, 8, (1.0, 9.0), 1)
    collator = MaskingCollator(SPECIAL, VOCABULARY, 0.3, seed)
    rows = iter([data[place] for place in range(8)])
    found = [collator([next(rows) for _ in range(size)]) for size in batches]
    return {name: torch.cat([each[name] for each in found]) for name in found[0]}


def test_masks_are_drawn_by_place_and_seed():
    found = masked()
    for name, rows in masked(batches=(1, 3, 2, 2)).items():
        assert torch.equal(rows, found[name])
    assert not torch.equal(masked(seed=2)["labels"], found["labels"])
    assert len({tuple(row) for row in (found["labels"] == IGNORED).tolist()}) == 8


def test_of_the_chosen_most_become_the_mask():
    data = BlockDataset({"mn": pack(sentences(), SPECIAL, SIZE)}, 400, (1.0, 9.0), 1)
    rows = [data[place] for place in range(400)]
    found = MaskingCollator(SPECIAL, VOCABULARY, 0.3, 1)(rows)
    ids = torch.from_numpy(np.stack([row["input_ids"] for row in rows])).long()
    chosen = found["labels"] != IGNORED
    assert torch.equal(found["labels"][chosen], ids[chosen])
    assert torch.equal(found["input_ids"][~chosen], ids[~chosen])
    assert not chosen[ids < 5].any()
    became = found["input_ids"][chosen]
    assert (chosen.sum() / (ids >= 5).sum()).item() > 0.28
    assert 0.78 < (became == SPECIAL.mask).float().mean() < 0.82
    assert 0.08 < (became == ids[chosen]).float().mean() < 0.12
