"""Measurements over whole model zoos: ``python -m benchmarks coverage|accuracy ZOO``.

coverage.py   how many models fxprof runs, from weights in memory and from the meta device
accuracy.py   whether its MACs equal those of torch.utils.flop_counter, which runs the model
zoos.py       the models of a zoo
"""
