"""CosyVoice 1, 2 and 3 by the official package.

`checkpoint`, `torch_file`, `speakers` and `prompts` are also used by the front, which has no torch:
they import the standard library, msgspec and numpy alone. The rest runs in a worker.
"""
