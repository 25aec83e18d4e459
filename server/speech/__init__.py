"""The protocol-neutral middle: text in, encoded audio and subtitles out."""
