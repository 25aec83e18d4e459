import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { readFrames, writeFrames } from "../../../static/js/frame-file.js";

const sent = (name, payload, atMs, task_id = "t") => ({
  direction: "out",
  atMs,
  name,
  size: 10,
  body: { header: { name, task_id }, payload },
});
const FRAMES = [
  sent("StartSynthesis", { voice: "中文女", format: "pcm" }, 1000.25),
  {
    direction: "in",
    atMs: 1010,
    name: "SynthesisStarted",
    size: 5,
    body: { header: {}, payload: {} },
  },
  sent("RunSynthesis", { text: "你好，" }, 1020),
  { direction: "in", atMs: 1100, name: "audio", size: 4800, body: null },
  sent("RunSynthesis", { text: "世界。" }, 1520.5),
  sent("StopSynthesis", {}, 1521),
  sent("StartSynthesis", { voice: "other" }, 1600, "next"),
  sent("RunSynthesis", { text: "no" }, 1601, "next"),
];

describe("a frame log as a file", () => {
  test("what was said can be said again, with its timing", () => {
    assert.deepEqual(readFrames(writeFrames(FRAMES)), {
      parameters: { voice: "中文女", format: "pcm" },
      pieces: [
        { text: "你好，", atMs: 19.75 },
        { text: "世界。", atMs: 520.25 },
      ],
    });
  });

  test("audio is a length, times count from the first frame", () => {
    const { frames } = JSON.parse(writeFrames(FRAMES));
    assert.deepEqual(frames[3], { direction: "in", at_ms: 99.75, name: "audio", size: 4800 });
    assert.equal(frames[0].at_ms, 0);
  });

  test("nothing that is called a token goes out", () => {
    const frames = [
      sent(
        "StartSynthesis",
        { token: "s3cret", "X-NLS-Token": "s3cret", Authorization: "s3cret" },
        0,
      ),
    ];
    assert.doesNotMatch(writeFrames(frames), /s3cret/);
  });

  test("no frames, no task", () => {
    assert.deepEqual(JSON.parse(writeFrames([])).frames, []);
    assert.throws(() => readFrames(writeFrames([])), SyntaxError);
  });

  for (const wrong of [
    "",
    "null",
    "[]",
    "{}",
    '{"kind":"cosystream-frames/1"}',
    '{"kind":"x","frames":[]}',
  ]) {
    test(`${wrong || "an empty file"} is none`, () =>
      assert.throws(() => readFrames(wrong), SyntaxError));
  }
});
