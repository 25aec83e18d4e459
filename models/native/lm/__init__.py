"""The language model of CosyVoice 2 and 3: text to speech tokens, many sessions in one batch."""
