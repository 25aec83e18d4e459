"""Measures runtimes of CosyVoice against each other, in one run, on one machine and one checkpoint.

`python -m models.benchmark DIRECTORY` (`scripts/bench-cosyvoice`) runs each side in a process of
its own, one after the other; it needs CosyVoice's own Python. `sides` are what can be measured,
`trial` is what is done with each, `tokens` looks whether a batch changes what is said, and `report`
makes a table of it.
"""
