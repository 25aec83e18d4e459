"""The text tokenizer of versions 2 and 3: Qwen2's byte-pair encoding, and CosyVoice's own tokens.

Built from the files of `CosyVoice-BlankEN`, as Hugging Face's `Qwen2Tokenizer` is.
"""

from __future__ import annotations

import json
import threading
from pathlib import Path

import tokenizers
from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers

from models.base import ModelError
from models.cosyvoice.checkpoint import Checkpoint
from models.cosyvoice.errors import CheckpointError
from models.cosyvoice.special_tokens import SPECIAL_TOKENS

_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
    r"|[^\r\n\p{L}\p{N}]?\p{L}+"
    r"|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+"
    r"|\s+(?!\S)"
    r"|\s+"
)
"""What Qwen2 takes for a word; the bytes of different words are never joined."""


class TextTokenizer:
    """Makes ids of text.

    Args:
        checkpoint: of version 2 or 3.

    Raises:
        CheckpointError: its files are no tokenizer.
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._vocabulary = checkpoint.text_vocabulary
        # It complains when it is used by two threads at once.
        self._lock = threading.Lock()
        directory = checkpoint.blank_model_path
        try:
            self._tokenizer = _build(directory, SPECIAL_TOKENS[checkpoint.version])
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"{directory}: has no tokenizer: {error!r}") from error
        except Exception as error:  # what the library raises is a plain Exception
            if type(error) is not Exception:
                raise
            raise CheckpointError(f"{directory}: has no tokenizer: {error}") from error

    def encode(self, text: str) -> list[int]:
        """The ids of a text; control tokens within it become such.

        Raises:
            ModelError: `failed`, the language model does not know one of them.
        """
        with self._lock:
            ids = list(self._tokenizer.encode(text, add_special_tokens=False).ids)
        if max(ids, default=0) >= self._vocabulary:
            # On CUDA it would break the process.
            raise ModelError("failed", "the checkpoint's tokenizer is not its language model's")
        return ids


def _build(directory: Path, special_tokens: tuple[str, ...]) -> tokenizers.Tokenizer:
    bpe = models.BPE.from_file(str(directory / "vocab.json"), str(directory / "merges.txt"))
    tokenizer = tokenizers.Tokenizer(bpe)
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_WORDS), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    configuration = json.loads((directory / "tokenizer_config.json").read_bytes())
    added = sorted(
        (int(number), entry["content"])
        for number, entry in configuration["added_tokens_decoder"].items()
    )
    for number, content in added:
        tokenizer.add_special_tokens([_special(content)])
        if tokenizer.token_to_id(content) != number:
            raise CheckpointError(
                f"{directory / 'tokenizer_config.json'}: gives {content} the number {number}, and "
                f"vocab.json has room for {tokenizer.token_to_id(content)}; fetch both again"
            )
    tokenizer.add_special_tokens([_special(content) for content in special_tokens])
    return tokenizer


def _special(content: str) -> AddedToken:
    return AddedToken(content, normalized=False, special=True)
