"""Cloned voices on disk: whole or not there, private, shared between servers, never trusted."""

from __future__ import annotations

import fcntl
import itertools
import json
import shutil
import stat
import threading
import unicodedata
from pathlib import Path

import msgspec
import pytest
from clone_model import recording, syllables
from hypothesis import given, settings
from hypothesis import strategies as st

from server.errors import ErrorCode, SpeechError
from server.speech import durable_files, voice_store
from server.speech.cloned_voice import VoiceFacts, checked_name, fold_name, is_id, make_id, now
from server.speech.recording_report import examine
from server.speech.voice_store import VoiceStore

_, REPORT = examine(syllables(200, 6.0), 24_000, source_rate_hz=24_000)
WAV = recording(200, 1.0)


def facts(
    name: str = "Anna", *, wav: bytes = WAV, transcript: str = "Hello.", mark: str = ""
) -> VoiceFacts:
    return VoiceFacts(
        id=make_id(wav, transcript, "tone", mark),
        name=name,
        language="en",
        model="m",
        clone_format="tone",
        transcript=transcript,
        created_at=now(),
        report=REPORT,
        mark=mark,
    )


def add(store: VoiceStore, name: str, pitch_hz: float = 200.0) -> str:
    wav = recording(pitch_hz, 1.0)
    return store.add(facts(name, wav=wav), wav, f"tone {pitch_hz}".encode()).facts.id


def names(store: VoiceStore) -> list[str]:
    return [voice.facts.name for voice in store.voices]


@pytest.fixture
def store(tmp_path: Path) -> VoiceStore:
    store = VoiceStore(tmp_path / "data" / "voices")
    store.load()
    return store


def test_a_store_that_is_not_there_is_empty(store: VoiceStore) -> None:
    assert (store.voices, store.damaged) == ((), ())
    assert not store.directory.exists()


def test_what_was_added_is_read_again(store: VoiceStore) -> None:
    voice = store.add(facts(), WAV, b"\x00features")
    again = VoiceStore(store.directory)
    again.load()
    (read,) = again.voices
    assert (read.facts, read.features) == (voice.facts, b"\x00features")
    again.load()
    assert again.voices == (read,), "nothing is read twice"
    assert voice.facts.report == REPORT
    folder = store.directory / voice.facts.id
    assert (folder / "recording.wav").read_bytes() == WAV
    assert sorted(path.name for path in folder.iterdir()) == [
        "features.safetensors",
        "recording.wav",
        "voice.json",
    ]


def test_only_the_owner_reads_voices(store: VoiceStore) -> None:
    add(store, "Anna")
    for path in (store.directory, *store.directory.rglob("*")):
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode == (0o700 if path.is_dir() else 0o600), path


def test_found_by_id_and_by_name(store: VoiceStore) -> None:
    voice_id = add(store, "Zoë")
    for name in (voice_id, "Zoë", "ZOË", unicodedata.normalize("NFD", "zoë")):
        found = store.find(name)
        assert found is not None
        assert found.facts.id == voice_id
    assert store.find("Zoe") is None


def test_one_name_one_voice(store: VoiceStore) -> None:
    add(store, "Straße")
    with pytest.raises(SpeechError, match="'Straße' already") as refused:
        add(store, "STRASSE", 300)
    assert refused.value.code is ErrorCode.VOICE_EXISTS
    with pytest.raises(SpeechError, match="this very recording"):
        add(store, "Anna")
    assert names(store) == ["Straße"]


def test_ids_depend_on_all_that_makes_a_voice() -> None:
    ids = {
        make_id(b"a", "bc", "d"),
        make_id(b"ab", "c", "d"),
        make_id(b"a", "b", "cd"),
        make_id(b"a", "bc", ""),
    }
    assert len(ids) == 4
    assert all(is_id(one) for one in ids)
    assert make_id(b"a", "bc", "d") in ids


def test_removed_with_all_files(store: VoiceStore) -> None:
    voice_id = add(store, "Anna")
    other_id = add(store, "Bob", 300)
    store.remove(voice_id)
    store.remove(voice_id)
    assert names(store) == ["Bob"]
    assert sorted(path.name for path in store.directory.iterdir()) == [".lock", other_id]


@pytest.mark.parametrize("path", ["..", "clone-", "../clone-0123456789ab", ".lock"])
def test_nothing_else_is_removed(store: VoiceStore, path: str) -> None:
    add(store, "Anna")
    with pytest.raises(ValueError, match="no id"):
        store.remove(path)


def test_files_that_cannot_be_deleted_are_told_every_time(
    store: VoiceStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    voice_id = add(store, "Anna")
    delete = shutil.rmtree

    def refuse(path: Path, *, ignore_errors: bool = False) -> None:
        if any(path.glob("clone-*")):
            if not ignore_errors:
                raise PermissionError(path)
            return
        delete(path)

    monkeypatch.setattr(shutil, "rmtree", refuse)
    for _ in range(2):
        with pytest.raises(OSError, match=r"."):
            store.remove(voice_id)
    monkeypatch.undo()
    store.remove(voice_id)
    assert names(store) == []
    assert not list(store.directory.rglob("recording.wav"))


def test_a_voice_that_cannot_be_read_again_is_no_voice(
    store: VoiceStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    never_the_same = itertools.count()
    monkeypatch.setattr(voice_store, "_digest", lambda _data: str(next(never_the_same)))
    with pytest.raises(OSError, match="cannot be read again"):
        add(store, "Anna")


def test_two_servers_share_a_directory(store: VoiceStore) -> None:
    other = VoiceStore(store.directory)
    voice_id = add(store, "Anna")
    with pytest.raises(SpeechError, match="'Anna' already"):
        add(other, "anna", 300)
    add(other, "Bob", 400)
    store.load()
    assert names(store) == names(other) == ["Anna", "Bob"]
    other.remove(voice_id)
    store.load()
    assert names(store) == ["Bob"]


def test_many_at_once_with_one_name(store: VoiceStore) -> None:
    stores = [VoiceStore(store.directory) for _ in range(6)]
    outcomes: list[object] = []

    def try_to_add(index: int) -> None:
        try:
            outcomes.append(add(stores[index], "Anna", 200 + index))
        except SpeechError as error:
            outcomes.append(error.code)

    threads = [threading.Thread(target=try_to_add, args=(index,)) for index in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes.count(ErrorCode.VOICE_EXISTS) == 5
    store.load()
    assert names(store) == ["Anna"]


def test_marks_tell_voices_of_one_recording_apart(store: VoiceStore) -> None:
    store.add(facts("Anna"), WAV, b"tone 1")
    for name in ("Bob", "Clara"):
        store.add(facts(name, mark=name), WAV, b"tone 1")
    again = VoiceStore(store.directory)
    again.load()
    assert sorted(names(again)) == ["Anna", "Bob", "Clara"]
    assert len({voice.facts.id for voice in again.voices}) == 3
    assert again.damaged == ()


def test_a_voice_takes_the_place_of_another(store: VoiceStore) -> None:
    old = add(store, "Anna")
    wav = recording(300, 1.0)
    new = store.replace(old, facts("Anna", wav=wav), wav, b"tone 300")
    assert store.find("Anna") is new
    assert store.find(old) is None
    assert [path.name for path in store.directory.glob("clone-*")] == [new.facts.id]


@pytest.fixture(params=[(200.0, 300.0), (300.0, 200.0)])
def half_replaced(
    store: VoiceStore, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> str:
    """The id of what took the place of a voice, by a writer who died before it was deleted.

    Once it is above the other one's, and once below.
    """
    old_hz, new_hz = request.param
    wavs = {pitch_hz: recording(pitch_hz, 1.0) for pitch_hz in (old_hz, new_hz)}
    old = store.add(facts("Anna", wav=wavs[old_hz], mark="x"), wavs[old_hz], b"old").facts
    new = msgspec.structs.replace(
        facts("Anna", wav=wavs[new_hz], mark="x"), created_at=old.created_at, changed_at=now()
    )
    with monkeypatch.context() as patch:
        patch.setattr(store, "_delete", lambda _: None)
        return store.replace(old.id, new, wavs[new_hz], b"new").facts.id


def test_half_a_replacement_counts_and_is_finished_by_the_next_writer(
    store: VoiceStore, half_replaced: str
) -> None:
    again = VoiceStore(store.directory)
    again.load()
    assert [voice.facts.id for voice in again.voices] == [half_replaced]
    assert again.damaged == ()
    add(again, "Bob", 600)
    assert len(list(store.directory.glob("clone-*"))) == 2


def test_what_was_replaced_does_not_come_back_when_its_voice_is_removed(
    store: VoiceStore, half_replaced: str
) -> None:
    again = VoiceStore(store.directory)
    again.load()
    again.remove(half_replaced)
    assert again.voices == ()
    assert list(store.directory.glob("clone-*")) == []


def test_what_is_gone_is_not_replaced(store: VoiceStore) -> None:
    old = add(store, "Anna")
    add(store, "Bob", 300)
    wav = recording(400, 1.0)
    with pytest.raises(SpeechError) as caught:
        store.replace(old, facts("bob", wav=wav), wav, b"tone 400")
    assert caught.value.code is ErrorCode.VOICE_EXISTS
    VoiceStore(store.directory).remove(old)
    with pytest.raises(SpeechError) as caught:
        store.replace(old, facts("Anna", wav=wav), wav, b"tone 400")
    assert caught.value.code is ErrorCode.VOICE_UNKNOWN
    assert names(store) == ["Bob"]


def test_a_lock_that_is_never_given_up(store: VoiceStore, monkeypatch: pytest.MonkeyPatch) -> None:
    add(store, "Anna")
    monkeypatch.setattr(durable_files, "_PATIENCE_S", 0.0)
    with (store.directory / ".lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(OSError, match="another process"):
            add(store, "Bob", 300)
        VoiceStore(store.directory).load()
    add(store, "Bob", 300)


def test_what_a_dead_writer_left_is_cleared_away(store: VoiceStore) -> None:
    add(store, "Anna")
    for leftover in (".new-x1", ".old-x2"):
        (store.directory / leftover / "deep").mkdir(parents=True)
    store.load()
    assert (names(store), store.damaged) == (["Anna"], ())
    add(store, "Bob", 300)
    assert not list(store.directory.glob(".new-*")) + list(store.directory.glob(".old-*"))


def test_a_failed_write_leaves_nothing(store: VoiceStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        add(store, "Anna")
    assert [path.name for path in store.directory.iterdir()] == [".lock"]


def test_features_that_could_not_be_read_again(store: VoiceStore) -> None:
    with pytest.raises(ValueError, match="too many"):
        store.add(facts(), WAV, bytes(voice_store.MAX_FEATURES_BYTES + 1))
    assert store.voices == ()


def test_there_is_a_bound(store: VoiceStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(voice_store, "MAX_VOICES", 1)
    add(store, "Anna")
    with pytest.raises(SpeechError, match="as many as there may be"):
        add(store, "Bob", 300)


# --- Damage --------------------------------------------------------------------------------------


def change(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


DAMAGES = {
    "features": lambda folder: (folder / "features.safetensors").write_bytes(b"tone 999"),
    "recording": lambda folder: (folder / "recording.wav").write_bytes(b"RIFF"),
    "no features": lambda folder: (folder / "features.safetensors").unlink(),
    "no facts": lambda folder: (folder / "voice.json").unlink(),
    "no json": lambda folder: (folder / "voice.json").write_bytes(b"\x80\x04K\x01."),
    "half json": lambda folder: (folder / "voice.json").write_text('{"version": 1'),
    "deep json": lambda folder: (folder / "voice.json").write_text("[" * 60_000),
    "endless json": lambda folder: (folder / "voice.json").write_bytes(bytes(1 << 17)),
    "a later version": lambda folder: change(folder / "voice.json", version=2),
    "another transcript": lambda folder: change(folder / "voice.json", transcript="Bye."),
    "a name that is a path": lambda folder: change(folder / "voice.json", name="../../etc"),
    "no hashes": lambda folder: change(folder / "voice.json", sha256={}),
    "a directory": lambda folder: (
        (folder / "voice.json").unlink(),
        (folder / "voice.json").mkdir(),
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_voices_are_told_and_left_alone(store: VoiceStore, damage: str) -> None:
    voice_id = add(store, "Anna")
    add(store, "Bob", 300)
    DAMAGES[damage](store.directory / voice_id)
    left = sorted((store.directory / voice_id).iterdir())
    again = VoiceStore(store.directory)
    again.load()
    assert names(again) == ["Bob"]
    assert [one.id for one in again.damaged] == [voice_id]
    assert str(store.directory) not in again.damaged[0].reason
    with pytest.raises(SpeechError, match="damaged"):
        add(again, "Anna")
    assert add(again, "Clara", 400)
    assert sorted((store.directory / voice_id).iterdir()) == left


def test_a_copied_directory_is_no_second_voice(store: VoiceStore) -> None:
    voice_id = add(store, "Anna")
    copy = store.directory / "clone-0123456789ab"
    shutil.copytree(store.directory / voice_id, copy)
    (store.directory / "lost+found").mkdir()
    store.load()
    assert names(store) == ["Anna"]
    assert [one.id for one in store.damaged] == [copy.name]


def test_the_older_of_two_with_one_name_has_it(store: VoiceStore, tmp_path: Path) -> None:
    other = VoiceStore(tmp_path / "other")
    add(store, "Anna", 200)
    later_id = add(other, "anna", 300)
    shutil.copytree(other.directory / later_id, store.directory / later_id)
    store.load()
    assert names(store) == ["Anna"]
    assert "has its name" in store.damaged[0].reason


def test_a_store_that_is_a_file_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "voices").write_text("not a directory")
    store = VoiceStore(tmp_path / "voices")
    store.load()
    assert len(store.damaged) == 1


# --- Names ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("Anna", "Anna"),
        ("  my voice  ", "my voice"),
        ("我的声音 2", "我的声音 2"),
        ("v1.2_b-c", "v1.2_b-c"),
        ("Zoe\u0308", "Zoë"),
        ("आवाज़", "आवाज़"),
        ("x" * 64, "x" * 64),
        ("7", "7"),
    ],
)
def test_names(name: str, kept: str) -> None:
    assert checked_name(name) == unicodedata.normalize("NFC", kept)


@pytest.mark.parametrize(
    "name",
    ["", "  ", "x" * 65, ".", "..", "-x", "a/b", "a:b", "a\nb", "a\0b", "🙂", "clone-0123456789ab"],
)
def test_no_names(name: str) -> None:
    with pytest.raises(SpeechError) as refused:
        checked_name(name)
    assert refused.value.code is ErrorCode.PARAMETER_INVALID


@settings(max_examples=200)
@given(st.text(max_size=70))
def test_a_name_is_kept_as_it_was_checked(name: str) -> None:
    try:
        kept = checked_name(name)
    except SpeechError:
        return
    assert checked_name(kept) == kept
    assert fold_name(kept) == fold_name(name.strip())
