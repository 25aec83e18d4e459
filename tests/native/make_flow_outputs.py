"""Writes flow_outputs.npz: what the official package makes of tiny flows, for where it is not.

    COSYSTREAM_COSYVOICE_HOME=CHECKOUT python make_flow_outputs.py

Source: upstream's commit ace7c47. To be run in this directory, by the Python of the tests.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import numpy as np

sys.path[:0] = [".", "../.."]

from lively_flow import SAMPLES, lively, upstream_mel  # noqa: E402

from models.cosyvoice.checkpoint import Checkpoint  # noqa: E402
from models.cosyvoice.engine_options import EngineOptions  # noqa: E402
from models.cosyvoice.runtime import load_official  # noqa: E402
from models.random_checkpoint.maker import make  # noqa: E402


def main() -> None:
    """Compute the samples of both versions."""
    outputs = {}
    options = EngineOptions(home=Path(os.environ["COSYSTREAM_COSYVOICE_HOME"]), device="cpu")
    for version in (2, 3):
        with tempfile.TemporaryDirectory() as place:
            checkpoint = Checkpoint.open(make(f"cosyvoice{version}-tiny", Path(place) / "tiny"))
            flow = load_official(checkpoint, options).model.flow
            flow.load_state_dict(lively(flow.state_dict()))
        for name, job in SAMPLES.items():
            streaming = not name.startswith("full")
            outputs[f"v{version}-{name}"] = upstream_mel(flow, job, streaming=streaming).numpy()
    np.savez_compressed(Path(__file__).with_name("flow_outputs.npz"), **outputs)


if __name__ == "__main__":
    main()
