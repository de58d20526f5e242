import sys

from .model import Model

source, target = sys.argv[1:]
with open(source) as file:
    model = Model.train(file.read())
model.save(target)
print(f"{len(model.vocabulary)} words, {len(model.counts)} things that follow")
