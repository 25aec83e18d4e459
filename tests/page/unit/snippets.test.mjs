import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { describe, test } from "node:test";

import { curl, javascript, python } from "../../../static/js/snippets.js";

const PAGE = "http://localhost:8000/ws/v1/tts/test?token=of-the-page";
const TEXT = `It's "50% off" \\ $HOME \`date\` !! & <b>\n第二行😀\u2028'''`;
const PARAMS = {
  voice: "中文女",
  format: "wav",
  sample_rate: 24000,
  volume: 50,
  enable_subtitle: true,
  enable_ssml: false,
  instruction: undefined,
  seed: null,
};

/** What a POSIX shell makes of the command: its arguments. */
function shellArguments(program) {
  const script = `curl() { printf '%s\\0' "$@"; }\n${program}`;
  return execFileSync("sh", ["-c", script], { encoding: "utf8" }).split("\0").slice(0, -1);
}

describe("curl", () => {
  test("a shell sees the request as it was meant, whatever is in the text", () => {
    const args = shellArguments(curl(PAGE, "to'ken", PARAMS, TEXT));
    assert.equal(args[2], "http://localhost:8000/stream/v1/tts");
    assert.ok(args.includes("X-NLS-Token: to'ken"));
    assert.deepEqual(JSON.parse(args[args.indexOf("--data-raw") + 1]), {
      voice: "中文女",
      format: "wav",
      sample_rate: 24000,
      volume: 50,
      enable_ssml: false,
      text: TEXT,
    });
    assert.deepEqual(args.slice(-2), ["--output", "speech.wav"]);
  });

  test("without a token there is no header for it", () => {
    assert.doesNotMatch(curl(PAGE, "", PARAMS, "x"), /token/i);
  });

  test("raw PCM says how it is heard", () => {
    const program = curl(PAGE, "", { sample_rate: 8000 }, "x");
    assert.match(program, /--output speech\.pcm\n# .* -ar 8000 -i speech\.pcm/);
  });
});

describe("JavaScript", () => {
  for (const format of ["pcm", "mp3"]) {
    test(`${format}: it is a module that a parser takes`, () => {
      const program = javascript(PAGE, "a&b", { ...PARAMS, format }, TEXT);
      execFileSync(process.execPath, ["--check", "--input-type=module"], { input: program });
      assert.match(program, /"ws:\/\/localhost:8000\/ws\/v1\/tts\?token=a%26b"/);
    });
  }
});

describe("Python", () => {
  test("values are Python's, and nothing that was left open is sent", () => {
    const program = python("wss://host/a/ws/v1/tts", "se'c\"ret", PARAMS, TEXT);
    assert.match(program, /"enable_subtitle": True,\n {4}"enable_ssml": False,\n}/);
    assert.match(program, /URL = "wss:\/\/host\/a\/ws\/v1\/tts"/);
    assert.match(program, /TOKEN = "se'c\\"ret"/);
    assert.match(program, /connect\(URL, additional_headers={"X-NLS-Token": TOKEN}\)/);
    assert.doesNotMatch(program, /import wave/);
  });

  test("one's own machine is not asked for through a proxy", () => {
    assert.match(python(PAGE, "", PARAMS, "x"), /connect\(URL, proxy=None\)/);
    assert.match(python("http://127.0.0.1:1/", "", PARAMS, "x"), /proxy=None/);
    assert.match(python("http://[::1]:1/", "", PARAMS, "x"), /proxy=None/);
    assert.doesNotMatch(python("http://localhost.example/", "", PARAMS, "x"), /proxy/);
  });

  test("PCM is saved as WAV with its rate", () => {
    const program = python(PAGE, "", { format: "PCM", sample_rate: 8000 }, "x");
    assert.match(program, /import wave\n/);
    assert.match(program, /setframerate\(8000\)/);
  });
});
