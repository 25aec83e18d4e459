import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, test } from "node:test";

import { I18n } from "../../../static/js/i18n.js";
import { en } from "../../../static/js/messages/en.js";
import { zh } from "../../../static/js/messages/zh.js";
import { describeReport } from "../../../static/js/recording-report.js";

const SPEECH = new URL("../../../server/speech/", import.meta.url);
const REPORT = {
  verdict: "advice",
  remarks: [
    { code: "too_short", text: "The server's own words." },
    { code: "of_tomorrow", text: "A newer server's words." },
  ],
  seconds: 2.04,
  recorded_s: 3.5,
  sample_rate_hz: 48000,
  speech_share: 0.934,
  snr_db: 31.4,
  peak_db: -3.26,
  clipped_share: 0.00123,
};

describe("recording report", () => {
  test("in English", () => {
    const { remarks, facts } = describeReport(REPORT, new I18n({ en, zh }, "en"));
    assert.match(remarks[0], /^It has 2\.0 s without/);
    assert.equal(remarks[1], "A newer server's words.");
    assert.deepEqual(facts, [
      ["Used", "2.0 of 3.5 s"],
      ["Speech", "93 %"],
      ["Above the background", "31 dB"],
      ["Peak", "-3.3 dB"],
      ["Distorted", "0.12 %"],
      ["Sample rate", "48,000 Hz"],
    ]);
  });

  test("in Chinese", () => {
    const { remarks } = describeReport(REPORT, new I18n({ en, zh }, "zh"));
    assert.match(remarks[0], /只有 2\.0 秒/);
  });

  test("all that the server remarks has its words here", () => {
    const source = ["recording_report.py", "transcript.py"]
      .map((name) => readFileSync(new URL(name, SPEECH), "utf8"))
      .join("\n");
    const refusals = [...source.matchAll(/Remark\(\s*"(\w+)"/g)].map(([, code]) => code);
    const advice = [...source.matchAll(/^ {4}"(\w+)": "It|^ {4}"(\w+)": "The/gm)];
    const codes = [...refusals, ...advice.map(([, it, there]) => it ?? there)];
    assert.ok(codes.length > 10, codes.join());
    for (const code of codes) assert.ok(`clone.remark.${code}` in en, code);
  });
});
