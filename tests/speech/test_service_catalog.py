"""The service's list of voices: what changes under it, here or in another server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from clone_model import recording, syllables

from models.base import Capabilities, Voice
from server.accounts import Accounts
from server.errors import SpeechError
from server.metrics import Metrics
from server.pool.options import ModelInfo
from server.settings import Settings
from server.speech.cloned_voice import ClonedVoice, VoiceFacts, make_id, now
from server.speech.recording_report import examine
from server.speech.service import SpeechService
from server.speech.voice_store import VoiceStore
from server.speech.voices import AliasTable, VoiceCatalog


class Pool:
    """One model that clones, and what its workers were told to forget."""

    def __init__(self) -> None:
        able = Capabilities(cloning=True, clone_format="tone")
        voices = (Voice(name="tone", language="en"),)
        info = ModelInfo(name="m", sample_rate_hz=24_000, capabilities=able, voices=voices)
        self.models = {"m": info}
        self.queued = 0
        self.forgotten: list[str] = []

    def remove_voice(self, name: str) -> None:
        self.forgotten.append(name)


@pytest.fixture
def pool() -> Pool:
    return Pool()


@pytest.fixture
def service(pool: Pool, tmp_path: Path) -> SpeechService:
    names = tmp_path / "aliases.toml"
    names.write_text('[aliases]\nfirst = "tone"\n')
    settings = Settings(data_directory=str(tmp_path / "data"), voice_aliases=str(names))
    metrics = Metrics()
    accounts = Accounts(tmp_path / "keys", metrics)
    aliases = AliasTable.load(settings.voice_aliases)
    return SpeechService(settings, pool, aliases, metrics, accounts)  # type: ignore[arg-type]


def add(store: VoiceStore, name: str) -> str:
    _, report = examine(syllables(200, 6.0), 24_000, source_rate_hz=24_000)
    wav = recording(200, 1.0)
    voice_id = make_id(wav, name, "tone")
    facts = VoiceFacts(
        id=voice_id,
        name=name,
        language="en",
        model="m",
        clone_format="tone",
        transcript=name,
        created_at=now(),
        report=report,
    )
    store.add(facts, wav, b"tone 200")
    return voice_id


def test_workers_forget_what_another_server_removed(service: SpeechService, pool: Pool) -> None:
    other = VoiceStore(service.voice_store.directory)
    gone, kept = add(other, "Anna"), add(other, "Bob")
    service.refresh()
    assert {service.catalog.resolve(name).id for name in ("Anna", "Bob")} == {gone, kept}
    other.remove(gone)
    service.refresh()
    assert service.catalog.resolve("Bob").id == kept
    assert pool.forgotten == [gone]


def test_names_that_change_while_the_list_is_made(
    service: SpeechService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`refresh` runs in a thread of its own, so it may come at any moment."""
    build = VoiceCatalog.build

    def interrupted(
        models: Mapping[str, ModelInfo], aliases: AliasTable, clones: Sequence[ClonedVoice]
    ) -> Any:
        monkeypatch.undo()
        (tmp_path / "aliases.toml").write_text('[aliases]\nsecond = "tone"\n')
        service.refresh()
        return build(models, aliases, clones)

    monkeypatch.setattr(VoiceCatalog, "build", interrupted)
    assert service.catalog.resolve("first").name == "tone"
    assert service.catalog.resolve("second").name == "tone"
    with pytest.raises(SpeechError):
        service.catalog.resolve("first")
