import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { explain } from "../../../static/js/errors.js";
import { I18n, preferredLocale } from "../../../static/js/i18n.js";
import { Memory } from "../../../static/js/memory.js";
import { en } from "../../../static/js/messages/en.js";
import { zh } from "../../../static/js/messages/zh.js";

describe("I18n", () => {
  test("puts values into messages, and leaves what it was not given", () => {
    const i18n = new I18n({ en: { greet: "{name}, {n} times, {other}" } }, "en");
    assert.equal(i18n.t("greet", { name: "Li", n: 0 }), "Li, 0 times, {other}");
    assert.throws(() => i18n.t("nothing"), /no message nothing in en/);
  });

  test("numbers and languages as people write them there", () => {
    const i18n = new I18n({ en: {}, zh: {} }, "en");
    assert.equal(i18n.number(1234.5, 2), "1,234.50");
    assert.equal(i18n.languageName("ja"), "Japanese");
    assert.equal(i18n.languageName("not a tag"), "not a tag");
    i18n.locale = "zh";
    assert.equal(i18n.languageName("ja"), "日语");
  });

  test("the browser's first language that there is, whatever its region", () => {
    assert.equal(preferredLocale(["fr-FR", "zh-TW", "en"], ["en", "zh"]), "zh");
    assert.equal(preferredLocale(["fr"], ["en", "zh"]), "en");
  });
});

describe("explain", () => {
  const failure = { status: 40000001, text: "Gateway:ACCESS_DENIED:x", adviceKey: "token" };

  test("says name, code, text and what to do, in both languages", () => {
    for (const [locale, word] of [
      ["en", "Token field"],
      ["zh", "令牌"],
    ]) {
      const said = explain(failure, new I18n({ en, zh }, locale));
      assert.equal(said.code, "40000001");
      assert.equal(said.text, failure.text);
      assert.match(said.advice, new RegExp(word));
    }
  });

  test("a failure that it does not know is still one", () => {
    const said = explain({ text: "x", adviceKey: "new-one" }, new I18n({ en, zh }, "en"));
    assert.deepEqual([said.title, said.code, said.text], [en["error.unknown"], "", "x"]);
  });
});

describe("Memory", () => {
  const storage = (start = {}) => ({
    kept: { ...start },
    getItem(name) {
      return this.kept[name] ?? null;
    },
    setItem(name, value) {
      this.kept[name] = value;
    },
  });

  test("keeps values of any kind", () => {
    const one = storage();
    const memory = new Memory(() => one);
    memory.write("form", { volume: 3 });
    assert.deepEqual(memory.read("form", {}), { volume: 3 });
    assert.equal(memory.read("theme", "auto"), "auto");
  });

  test("a browser that refuses, or that keeps nonsense, is a first visit", () => {
    const refusing = new Memory(() => {
      throw new Error("SecurityError");
    });
    refusing.write("form", 1);
    assert.equal(refusing.read("form", 7), 7);
    const broken = storage({ "cosystream.form": "{" });
    assert.equal(new Memory(() => broken).read("form", 7), 7);
  });
});
