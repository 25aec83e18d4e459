"""The flow of CosyVoice 2 and 3: speech tokens to mel frames, many streams in one batch."""
