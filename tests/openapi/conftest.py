"""The servers that the document is compared with."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from described import TOKEN
from server_process import ServerProcess


@pytest.fixture(scope="module")
def known_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """Speaks sines, follows instructions and hears words of known number, so that all is exact."""
    with ServerProcess(
        tmp_path_factory.mktemp("known-server") / "log",
        models=json.dumps([{"name": "sine", "kind": "instructed_model:InstructedModel"}]),
        recognizer=json.dumps({"kind": "word_recognizer:WordRecognizer"}),
    ) as process:
        yield process


@pytest.fixture(scope="module")
def whole_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """Speaks really, clones and listens, for those who have a token."""
    with ServerProcess(
        tmp_path_factory.mktemp("whole-server") / "log",
        models=json.dumps(
            [{"name": "espeak"}, {"name": "clone", "kind": "clone_model:CloneModel", "workers": 1}]
        ),
        tokens=TOKEN,
    ) as process:
        yield process
