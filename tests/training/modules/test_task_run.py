"""The order in which a task module reads its examples."""

from collections import Counter
from types import SimpleNamespace

import numpy as np

from training.modules.task_run import OrderedExamples

BATCH = 4


def ordered(seed):
    lengths = np.random.default_rng(0).integers(5, 80, 60)
    examples = [SimpleNamespace(encoded=[0] * int(length)) for length in lengths]
    return examples, OrderedExamples(examples, 120, BATCH, seed)


def test_every_epoch_is_read_in_batches_of_like_lengths():
    examples, found = ordered(seed=1)
    assert Counter(map(id, (found[at] for at in range(len(found))))) == Counter(
        {id(each): 2 for each in examples}
    )
    batches = np.array([len(found[at].encoded) for at in range(len(found))]).reshape(-1, BATCH)
    drawn = np.array([len(each.encoded) for each in examples * 2]).reshape(-1, BATCH)
    assert np.ptp(batches, axis=1).mean() < np.ptp(drawn, axis=1).mean() / 5


def test_a_seed_gives_one_order():
    orders = [list(ordered(seed)[1].order) for seed in (1, 1, 2)]
    assert orders[0] == orders[1] != orders[2]
