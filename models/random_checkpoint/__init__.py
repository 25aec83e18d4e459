"""Checkpoints of CosyVoice 1, 2 and 3 in the official layout with random weights.

For tests (the tiny variants: a few MB, made in seconds) and for benches (the full sizes). The sound
is a quiet buzz; names, shapes, files and the flow of control are those of the real thing, and the
number of speech tokens per text token is exact. `maker.make` makes one; it needs torch, onnx and
safetensors, so it runs under CosyVoice's own interpreter: `scripts/make_checkpoint`.
"""
