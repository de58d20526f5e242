"""Draws the next word from the counts of what followed before."""

import numpy as np


def scores(counts, bias):
    """How much each candidate speaks for itself: counts, weighted by `bias` word by word."""
    return np.vecdot(np.asarray(counts, dtype=np.float64), np.asarray(bias, dtype=np.float64))


def choose(counts, bias, generator):
    weights = scores(counts, bias)
    return int(generator.choice(len(weights), p=weights / weights.sum()))


if __name__ == "__main__":
    picked = choose([[1.0, 0.0], [0.0, 0.0]], [1.0, 1.0], np.random.default_rng(1))
    assert picked == 0, picked
    print("sampling works with NumPy", np.__version__)
