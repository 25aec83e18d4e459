import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { findVoice, searchVoices } from "../../../static/js/voice-search.js";

const voice = (name, language, gender, aliases = []) => ({
  name,
  language,
  gender,
  aliases,
  model: "m",
  kind: "preset",
  description: `a ${name} voice`,
});
const VOICES = [
  voice("中文女", "cmn", "female", ["longxiaochun", "zh-female", "en-ish"]),
  voice("中文男", "cmn", "male", ["longcheng"]),
  voice("英文女", "en-US", "female", ["alloy"]),
  voice("en-GB", "en-GB", "male"),
];
const found = (query, describe) =>
  searchVoices(VOICES, query, describe).map((one) => one.voice.name);

describe("searchVoices", () => {
  test("nothing asked for: all, as the server lists them", () => {
    assert.deepEqual(found("  "), ["中文女", "中文男", "英文女", "en-GB"]);
  });

  test("by name, language and gender, in any case, all words", () => {
    assert.deepEqual(found("中文"), ["中文女", "中文男"]);
    assert.deepEqual(found("EN-US"), ["英文女"]);
    assert.deepEqual(found("cmn female"), ["中文女"]);
    assert.deepEqual(found("cmn alloy"), []);
  });

  test("by an alias, and says by which", () => {
    assert.deepEqual(searchVoices(VOICES, "longch"), [{ voice: VOICES[1], alias: "longcheng" }]);
    assert.equal(searchVoices(VOICES, "中文女")[0].alias, null);
  });

  test("by the language's name in the user's language", () => {
    const inChinese = ({ language }) => (language.startsWith("en") ? "英语" : "中文");
    assert.deepEqual(found("英语", inChinese), ["英文女", "en-GB"]);
  });

  test("what begins with the query comes first", () => {
    assert.deepEqual(found("en-"), ["中文女", "en-GB", "英文女"]);
  });
});

describe("findVoice", () => {
  test("by name or alias, in any case, blanks apart", () => {
    assert.equal(findVoice(VOICES, " Alloy "), VOICES[2]);
    assert.equal(findVoice(VOICES, "EN-gb"), VOICES[3]);
    assert.equal(findVoice(VOICES, "nobody"), null);
  });
});
