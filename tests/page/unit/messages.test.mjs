import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { describe, test } from "node:test";

import { en } from "../../../static/js/messages/en.js";
import { zh } from "../../../static/js/messages/zh.js";

const STATIC = new URL("../../../static/", import.meta.url);
const HTML = ["index.html", "docs.html"]
  .map((name) => readFileSync(new URL(name, STATIC), "utf8"))
  .join("\n");
const CODE = readdirSync(new URL("js/", STATIC))
  .filter((name) => name.endsWith(".js"))
  .map((name) => readFileSync(new URL(`js/${name}`, STATIC), "utf8"))
  .join("\n");
const KEYS = Object.keys(en);
const names = (message) => (message.match(/\{\w+\}/g) ?? []).sort();

describe("messages", () => {
  test("both languages say the same things", () => {
    assert.deepEqual(Object.keys(zh).sort(), [...KEYS].sort());
  });

  test("with the same values in them", () => {
    for (const key of KEYS) assert.deepEqual(names(zh[key]), names(en[key]), key);
  });

  test("no language has copied the other's words, names of things apart", () => {
    const same = KEYS.filter((key) => en[key] === zh[key] && /[a-z]{2} [a-z]{2}/.test(en[key]));
    assert.deepEqual(same, []);
  });

  test("all that the pages ask for is there", () => {
    const wanted = [...HTML.matchAll(/data-i18n(?:-[a-z-]+)?="([^"]+)"/g)].map(([, key]) => key);
    assert.ok(wanted.length > 50);
    assert.deepEqual(
      wanted.filter((key) => !(key in en)),
      [],
    );
  });

  test("all that is asked for by name is there", () => {
    const asked =
      /(?:\bt|\bsay|i18n:|"data-i18n-[a-z-]+",|#fact|\bfield|\blink)\(?\s*"([a-z][\w.-]*\.[\w.-]+)"/g;
    const wanted = [...CODE.matchAll(asked)].map(([, key]) => key);
    assert.ok(wanted.length > 40);
    assert.deepEqual(
      wanted.filter((key) => !(key in en)),
      [],
    );
  });

  test("every failure that the page knows has a name and an advice", () => {
    const advised = /adviceKey: "([a-z-]+)"|\[[4-5]\d{7}, "([a-z-]+)"\]/g;
    const keys = [...CODE.matchAll(advised)].map(([, given, mapped]) => given ?? mapped);
    assert.ok(keys.includes("token") && keys.includes("unreachable"));
    for (const key of keys) {
      assert.ok(`error.${key}` in en, key);
      assert.ok(`error.${key}.advice` in en, key);
    }
  });

  test("none is left over", () => {
    const made =
      /^(error|status|path|numbers|sample|request|frames|gender|load\.column|waveform|clone\.remark)\./;
    const unused = KEYS.filter(
      (key) => !made.test(key) && !CODE.includes(`"${key}"`) && !HTML.includes(`"${key}"`),
    );
    const sliders = unused.filter((key) => !HTML.includes(`data-slider="${key.split(".")[0]}"`));
    assert.deepEqual(sliders, []);
  });
});
