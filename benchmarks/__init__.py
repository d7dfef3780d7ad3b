"""Measurements over whole model zoos: ``python -m benchmarks coverage|accuracy ZOO`` or ``... conventions``.

coverage.py   how many models fxprof runs, each in a process of its own (isolated.py); of transformers, small ones
              for real (shrunken.py)
accuracy.py   whether its MACs equal those of torch.utils.flop_counter, which runs the model
conventions.py whether fxprof's conventions equal the tools they stand for (peers.py calls them; cases.py
              has small models on which tools disagree)
zoos.py       the models of a zoo
measured.py   one pass over them that can be interrupted and taken up again
"""
