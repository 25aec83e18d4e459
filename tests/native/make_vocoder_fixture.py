"""Writes vocoder3.npz: what upstream's vocoder of version 3 makes of a known checkpoint and mel.

From this folder, with COSYSTREAM_COSYVOICE_HOME naming a checkout of the official package:

    PYTHONPATH=../.. ../../.venv-cosyvoice/bin/python make_vocoder_fixture.py
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np
from lively_vocoder import lively_checkpoint, random_mel

from models.cosyvoice.checkpoint import Checkpoint
from models.cosyvoice.engine_options import EngineOptions
from models.cosyvoice.runtime import load_official
from models.random_checkpoint.maker import make

_N_FRAMES = 110
_STEP = 37
_TABLE_STEP = 997


def main() -> None:
    """Make the checkpoint, let upstream speak, keep some of the samples."""
    home = Path(os.environ["COSYSTREAM_COSYVOICE_HOME"])
    with tempfile.TemporaryDirectory() as folder:
        plain = make("cosyvoice3-tiny", Path(folder) / "plain")
        directory = lively_checkpoint(plain, Path(folder) / "lively")
        options = EngineOptions(home=home, device="cpu")
        hift = load_official(Checkpoint.open(directory), options).model.hift
    mel = random_mel(_N_FRAMES).unsqueeze(0)
    samples = hift.inference(speech_feat=mel, finalize=True)[0][0].numpy()
    table = hift.m_source.l_sin_gen.sine_waves[0, : 10 * 24000 : _TABLE_STEP, 4].numpy()
    np.savez_compressed(
        Path(__file__).with_name("vocoder3.npz"),
        n_frames=_N_FRAMES,
        step=_STEP,
        samples=samples[::_STEP],
        table_step=_TABLE_STEP,
        table=table,
    )


if __name__ == "__main__":
    main()
