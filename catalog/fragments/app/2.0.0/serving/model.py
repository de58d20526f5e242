"""Counts of what follows each pair of words, kept as arrays."""

import numpy as np
from sampling import choose


def words(text):
    return text.lower().replace(".", " .").replace(",", " ,").split()


class Model:
    def __init__(self, vocabulary, pairs, followers, counts):
        self.vocabulary = [str(word) for word in vocabulary]
        self.number = {word: index for index, word in enumerate(self.vocabulary)}
        self.pairs, self.followers, self.counts = pairs, followers, counts

    @classmethod
    def train(cls, text):
        seen = words(text)
        vocabulary = sorted(set(seen))
        number = {word: index for index, word in enumerate(vocabulary)}
        table = {}
        for first, second, third in zip(seen, seen[1:], seen[2:]):
            key = (number[first], number[second], number[third])
            table[key] = table.get(key, 0) + 1
        keys = np.array(sorted(table), dtype=np.int32).reshape(-1, 3)
        counts = np.array([table[tuple(key)] for key in keys.tolist()], dtype=np.float64)
        return cls(vocabulary, keys[:, :2], keys[:, 2], counts)

    def save(self, path):
        arrays = {"vocabulary": self.vocabulary, "pairs": self.pairs, "followers": self.followers}
        np.savez(path, counts=self.counts, **{name: np.asarray(value) for name, value in arrays.items()})

    @classmethod
    def load(cls, path):
        with np.load(path) as arrays:
            return cls(*(arrays[name] for name in ("vocabulary", "pairs", "followers", "counts")))

    def complete(self, prompt, most, seed):
        """At most `most` words; fewer where nothing has ever followed."""
        generator = np.random.default_rng(seed)
        context = [self.number[word] for word in words(prompt) if word in self.number]
        result = []
        while len(context) >= 2 and len(result) < most:
            found = np.flatnonzero((self.pairs == context[-2:]).all(axis=1))
            if not len(found):
                break
            counts = self.counts[found][:, np.newaxis]
            picked = int(self.followers[found[choose(counts, [1.0], generator)]])
            context.append(picked)
            result.append(self.vocabulary[picked])
        return " ".join(result)
