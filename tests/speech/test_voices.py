"""Names of voices: the models' own, the vendors', and those that are nobody's."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.base import Capabilities, Voice
from server.errors import ErrorCode, SpeechError
from server.pool.options import ModelInfo
from server.speech.cloned_voice import ClonedVoice, VoiceFacts, make_id, now
from server.speech.recording_report import examine
from server.speech.voices import AliasTable, VoiceCatalog


def model(name: str, *voices: Voice | str, sample_rate_hz: int = 22_050) -> dict[str, ModelInfo]:
    return {
        name: ModelInfo(
            name=name,
            sample_rate_hz=sample_rate_hz,
            capabilities=Capabilities(),
            voices=tuple(
                Voice(name=voice, language="zh") if isinstance(voice, str) else voice
                for voice in voices
            ),
        )
    }


PRESETS = ["中文女", "中文男", "英文女", "英文男", "日语男", "韩语女", "粤语女"]
COSYVOICE = model("cosyvoice", *PRESETS, sample_rate_hz=24_000)
ESPEAK = model("espeak", *PRESETS, "cmn", "en-US", "fr-FR")
OWN = AliasTable.load()


def refusal(catalog: VoiceCatalog, name: str) -> str:
    with pytest.raises(SpeechError) as caught:
        catalog.resolve(name)
    assert caught.value.code is ErrorCode.VOICE_UNKNOWN
    return caught.value.message


def clone(
    name: str, *, made_with: str = "cosyvoice", clone_format: str = "cosyvoice2"
) -> ClonedVoice:
    facts = VoiceFacts(
        id=make_id(name.encode(), "", clone_format),
        name=name,
        language="en",
        model=made_with,
        clone_format=clone_format,
        transcript="",
        created_at=now(),
        report=examine(np.zeros(0, np.float32), 24_000, source_rate_hz=24_000)[1],
    )
    return ClonedVoice(facts, b"")


def cloning(name: str, *voices: str, clone_format: str = "cosyvoice2") -> dict[str, ModelInfo]:
    capabilities = Capabilities(cloning=True, clone_format=clone_format)
    return {name: msgspec.structs.replace(model(name, *voices)[name], capabilities=capabilities)}


# --- Names --------------------------------------------------------------------------------------


def test_a_voice_is_found_by_its_name_and_its_path() -> None:
    catalog = VoiceCatalog.build(ESPEAK, AliasTable({}))
    assert catalog.resolve("cmn") == catalog.resolve("espeak/cmn")
    entry = catalog.resolve("fr-FR")
    assert (entry.name, entry.model, entry.sample_rate_hz) == ("fr-FR", "espeak", 22_050)
    assert entry.voice == Voice(name="fr-FR", language="zh")


def test_of_two_voices_with_one_name_the_first_model_has_it() -> None:
    catalog = VoiceCatalog.build(COSYVOICE | ESPEAK, AliasTable({}))
    assert catalog.resolve("中文女").model == "cosyvoice"
    other = catalog.resolve("espeak/中文女")
    assert (other.name, other.model, other.voice.name) == ("espeak/中文女", "espeak", "中文女")
    assert catalog.resolve("cosyvoice/中文女").name == "中文女"
    swapped = VoiceCatalog.build(ESPEAK | COSYVOICE, AliasTable({}))
    assert swapped.resolve("中文女").model == "espeak"


def test_the_list_has_presets_before_clones_and_each_name_once() -> None:
    clone = Voice(name="anna", language="zh", kind="clone")
    catalog = VoiceCatalog.build(model("a", clone, "b", "c") | ESPEAK, OWN)
    names = [entry.name for entry in catalog.entries()]
    assert names == ["b", "c", *PRESETS, "cmn", "en-US", "fr-FR", "anna"]


def test_case_counts_only_where_it_tells_names_apart() -> None:
    catalog = VoiceCatalog.build(model("m", "Eric", "eric", "Zoë"), AliasTable({"Vox": ("Zoë",)}))
    assert catalog.resolve("eric").name == "eric"
    assert catalog.resolve("ERIC").name == "Eric"
    assert catalog.resolve("M/zOë").name == "Zoë"
    assert catalog.resolve("VOX").name == "Zoë"
    refusal(catalog, "ZOË")


# --- Aliases ------------------------------------------------------------------------------------


def test_an_alias_stands_for_the_first_voice_that_exists() -> None:
    aliases = AliasTable({"a": ("nobody", "b", "cmn"), "b": ("en-US",), "c": ("nobody",)})
    catalog = VoiceCatalog.build(ESPEAK, aliases)
    assert catalog.resolve("a").name == "en-US"
    assert catalog.resolve("a").aliases == ("a", "b")
    refusal(catalog, "c")


def test_an_alias_may_name_a_path() -> None:
    aliases = AliasTable({"old": ("espeak/中文女",)})
    assert VoiceCatalog.build(COSYVOICE | ESPEAK, aliases).resolve("old").model == "espeak"


def test_a_voice_goes_before_an_alias_of_its_name() -> None:
    catalog = VoiceCatalog.build(model("m", "alloy", "b"), AliasTable({"alloy": ("b",)}))
    assert catalog.resolve("alloy").name == "alloy"
    assert {entry.aliases for entry in catalog.entries()} == {()}


@pytest.mark.parametrize(
    ("name", "voice"),
    [
        ("longxiaochun", "中文女"),
        ("longxiaochun_v2", "中文女"),
        ("longxiaoxia_v3", "中文女"),
        ("longcheng-v3", "中文男"),
        ("longanyang", "中文男"),
        ("loongstella", "中文女"),
        ("loongdavid_v2", "英文男"),
        ("loongtomoya_v3", "日语男"),
        ("loongkyong_v3", "韩语女"),
        ("longjiayi_v2", "粤语女"),
        ("longjielidou_v3.6", "中文女"),
        ("xiaoyun", "中文女"),
        ("Xiaogang", "中文男"),
        ("sicheng", "中文男"),
        ("aicheng", "中文男"),
        ("zhimiao_emo", "中文女"),
        ("abby_ecmix", "英文女"),
        ("kenny", "中文男"),
        ("rosa", "中文女"),
        ("shanshan", "粤语女"),
        ("clara", "fr-FR"),
        ("alloy", "英文女"),
        ("nova", "英文女"),
        ("onyx", "英文男"),
        ("echo", "英文男"),
        ("qiniu_zh_female_tmjxxy", "中文女"),
        ("qiniu_zh_female_wwxkjx", "中文女"),
        ("qiniu_zh_male_ybxknjs", "中文男"),
        ("qiniu_en_male_ysyyn", "英文男"),
        ("Chinese Female", "中文女"),
        ("english male", "英文男"),
        ("FunAudioLLM/CosyVoice2-0.5B:alex", "中文男"),
        ("tts-1:alloy", "英文女"),
        (" 中文女 ", "中文女"),
    ],
)
def test_vendors_names_lead_to_fitting_voices(name: str, voice: str) -> None:
    assert VoiceCatalog.build(ESPEAK, OWN).resolve(name).name == voice


def test_every_name_of_the_table_leads_somewhere_with_the_embedded_model() -> None:
    tags = ["cmn", "en-US", "ja", "ko", "yue", "fr-FR", "id", "ms", "vi", "ru", "es", "it", "de"]
    catalog = VoiceCatalog.build(model("espeak", *PRESETS, *tags, "th"), OWN)
    for name in OWN.targets:
        catalog.resolve(name)


def test_without_a_fitting_voice_the_nearest_is_taken() -> None:
    catalog = VoiceCatalog.build(model("m", "中文女"), OWN)
    assert catalog.resolve("longcheng").name == "中文女"
    refusal(catalog, "onyx")


# --- Refusals -----------------------------------------------------------------------------------


def test_an_unknown_name_is_refused_with_names_like_it() -> None:
    catalog = VoiceCatalog.build(ESPEAK, OWN)
    assert refusal(catalog, "xyz").startswith("Invalid voice name 'xyz'!")
    assert "Did you mean longxiaochun" in refusal(catalog, "longxiaochn")
    assert "中文女" in refusal(catalog, "中文老人")
    assert refusal(catalog, "#").endswith("There are 10 voices, such as 中文女, 中文男, 英文女.")


def test_nothing_is_known_before_a_model_is() -> None:
    catalog = VoiceCatalog.build({}, OWN)
    assert catalog.entries() == []
    assert refusal(catalog, "alloy") == "Invalid voice name 'alloy'!"


@given(name=st.text(max_size=300))
def test_what_is_echoed_is_short_and_harmless(name: str) -> None:
    catalog = VoiceCatalog.build(model("m", "a voice that no text will hit"), AliasTable({}))
    message = refusal(catalog, "?" + name)
    assert len(message) < 700
    assert message.isprintable()
    message.encode()


# --- Files --------------------------------------------------------------------------------------


def write(folder: Path, text: str) -> Path:
    path = folder / "aliases.toml"
    path.write_text(text, "utf-8")
    return path


def test_ones_own_file_goes_before_ours(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        """
        suffixes = ["-neu"]
        [aliases]
        zh-female = "英文女"
        boss = ["nobody", "中文男"]
        [groups]
        "fr-FR" = ["clerk", "alloy"]
        """,
    )
    catalog = VoiceCatalog.build(ESPEAK, AliasTable.load(path))
    assert catalog.resolve("boss-neu").name == "中文男"
    assert catalog.resolve("longxiaochun_v2").name == "英文女"
    assert catalog.resolve("alloy").name == catalog.resolve("clerk").name == "fr-FR"
    assert catalog.resolve("onyx").name == "英文男"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("aliases", "Expected '='"),
        ("alias = {}", "unknown key 'alias'"),
        ("aliases = 3", "'aliases' must be a table"),
        ("groups = []", "'groups' must be a table"),
        ("[aliases]\na = 3", "aliases.a must be a name or a list of names"),
        ("[aliases]\na = ['']", "aliases.a must be a name or a list of names"),
        ("[groups]\na = [1]", "groups.a must be a name or a list of names"),
        ("suffixes = {}", "suffixes must be a name or a list of names"),
        ("[aliases]\na = 'b'\n[groups]\nc = ['a']", "'a' stands for two voices"),
        ("[aliases]\na = 'b'\nb = 'a'", "aliases.a leads back to itself: a -> b -> a"),
        ("[aliases]\n'Chinese Female' = 'x'\nzh-female = 'Chinese Female'", None),
        ("[aliases]\nzh-female = 'alloy'\nen-female = 'zh-female'", "leads back to itself"),
    ],
)
def test_a_wrong_file_is_refused_by_name(tmp_path: Path, text: str, complaint: str | None) -> None:
    path = write(tmp_path, text)
    if complaint is None:
        AliasTable.load(path)
        return
    with pytest.raises(ValueError, match=r"aliases\.toml: ") as caught:
        AliasTable.load(path)
    assert str(path) in str(caught.value)
    assert complaint in str(caught.value)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"none\.toml: cannot be read"):
        AliasTable.load(tmp_path / "none.toml")


# --- Clones -------------------------------------------------------------------------------------


def test_a_clone_has_a_name_and_an_id() -> None:
    anna = clone("Zoë")
    catalog = VoiceCatalog.build(ESPEAK | cloning("cosyvoice"), OWN, [anna])
    entry = catalog.resolve("Zoë")
    assert catalog.entries()[-1] == entry
    assert (entry.name, entry.id, entry.model) == ("Zoë", anna.facts.id, "cosyvoice")
    assert entry.clone is anna
    assert entry.voice == Voice(name=anna.facts.id, language="en", kind="clone")
    for name in (anna.facts.id, f"cosyvoice/{anna.facts.id}", "model:Zoë", "zoë"):
        assert catalog.resolve(name) == entry
    assert catalog.resolve(unicodedata.normalize("NFD", "Zoë")) == entry
    assert hash(entry)


@pytest.mark.parametrize(
    ("models", "speaker"),
    [
        (cloning("cosyvoice"), "cosyvoice"),
        (cloning("other") | cloning("cosyvoice"), "cosyvoice"),
        (ESPEAK | cloning("first") | cloning("second"), "first"),
        (cloning("cosyvoice", clone_format="cosyvoice3") | cloning("other"), "other"),
    ],
)
def test_the_model_that_speaks_a_clone(models: dict[str, ModelInfo], speaker: str) -> None:
    assert VoiceCatalog.build(models, OWN, [clone("anna")]).resolve("anna").model == speaker


@pytest.mark.parametrize(
    "models", [{}, ESPEAK, cloning("cosyvoice", clone_format="cosyvoice3")], ids=["none", "a", "b"]
)
def test_a_clone_that_no_model_speaks(models: dict[str, ModelInfo]) -> None:
    anna = clone("anna")
    catalog = VoiceCatalog.build(models, OWN, [anna])
    assert catalog.silent == (anna,)
    assert all(entry.clone is None for entry in catalog.entries())
    for name in ("anna", "Anna", anna.facts.id):
        message = refusal(catalog, name)
        assert "cosyvoice2" in message
        assert "'cosyvoice'" in message


def test_a_preset_keeps_its_name() -> None:
    """It may have come with a model that was added after the clone."""
    anna = clone("anna")
    catalog = VoiceCatalog.build(cloning("cosyvoice", "anna"), OWN, [anna])
    assert catalog.resolve("anna").clone is None
    assert catalog.resolve(anna.facts.id).clone is anna
    assert [entry.name for entry in catalog.entries()] == ["anna", anna.facts.id]


def test_vendors_names_may_stand_for_clones() -> None:
    catalog = VoiceCatalog.build(
        cloning("cosyvoice"), AliasTable({"alloy": ("anna",)}), [clone("anna")]
    )
    assert catalog.resolve("alloy").name == "anna"
    assert catalog.resolve("anna").aliases == ("alloy",)


def test_names_that_clones_may_not_have() -> None:
    catalog = VoiceCatalog.build(ESPEAK | cloning("cosyvoice"), OWN, [clone("anna")])
    assert catalog.is_taken("CMN")
    assert catalog.is_taken("Longxiaochun")
    assert not catalog.is_taken("anna"), "that is for the store to say"
    assert not VoiceCatalog.build({}, OWN).is_taken("longxiaochun"), "it means nothing here"
