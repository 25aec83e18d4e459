"""A batched streaming engine for CosyVoice 2 and 3 that needs no official package.

It opens the official checkpoints and computes many streams together. The official runtime behind
the same interface is `models.cosyvoice`; what is not the engine's (voices, prompts, text, guards,
checkpoints as files) is shared with it.
"""
