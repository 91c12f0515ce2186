"""Noise over words: what its settings promise."""

import numpy as np

from training.data.noise import Noise, infilled, noised, shuffled

WORDS = [f"w{number}" for number in range(20_000)]
NONE = Noise(shuffle=0, drop=0, infill=0)


def rng():
    return np.random.default_rng(7)


def test_words_move_but_never_far():
    for most in (3, 6):
        found = shuffled(WORDS, most, rng())
        moves = [abs(place - int(word[1:])) for place, word in enumerate(found)]
        assert sorted(found) == sorted(WORDS)
        assert max(moves) == most - 1, "further than most asks for a draw above it"
    assert shuffled(WORDS, 0, rng()) == shuffled(WORDS, 1, rng()) == WORDS


def test_masks_hide_the_asked_share_in_spans_of_the_asked_length():
    for share, span in ((0.1, 1.0), (0.3, 3.0)):
        found = infilled(WORDS, Noise(infill=share, span=span), "<mask>", rng())
        masks = found.count("<mask>")
        hidden = len(WORDS) - (len(found) - masks)
        assert abs(hidden / len(WORDS) - share) < 0.01
        assert abs(hidden / masks - span) < 0.1


def test_words_go_at_the_asked_rate():
    settings = NONE.model_copy(update={"drop": 0.25})
    left = noised(" ".join(WORDS), settings, "<mask>", rng()).split(" ")
    assert abs(len(left) / len(WORDS) - 0.75) < 0.01
    assert left == sorted(left, key=lambda word: int(word[1:])), "order stays"


def test_noise_is_seeded_optional_and_leaves_something():
    text = "a b c d e f g h"
    assert noised(text, NONE, "<mask>", rng()) == text
    first, again = (noised(text, Noise(), "<mask>", rng()) for _ in range(2))
    assert first == again != text
    everything = Noise(drop=0.999, infill=0, shuffle=0)
    assert noised(text, everything, "<mask>", rng()) == "a"
