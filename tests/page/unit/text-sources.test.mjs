import assert from "node:assert/strict";
import { describe, test } from "node:test";

import {
  TypedText,
  recordedText,
  simulatedLlm,
  wholeText,
} from "../../../static/js/text-sources.js";

function sink(limit = Infinity) {
  const pieces = [];
  const abort = new AbortController();
  const send = (piece) => pieces.push(piece) < limit;
  return { pieces, abort, send, signal: abort.signal };
}

describe("text sources", () => {
  test("a whole text is one piece", async () => {
    const to = sink();
    await wholeText("你好。")(to);
    assert.deepEqual(to.pieces, ["你好。"]);
  });

  test("a simulated language model says the text, and how far it is", async () => {
    const to = sink();
    const steps = [];
    const source = simulatedLlm({
      text: "一二三四五六七八。",
      tokensPerSecond: 1e6,
      jitter: 1,
      seed: 3,
    });
    await source({ ...to, progress: (done, all) => steps.push([done, all]) });
    assert.equal(to.pieces.join(""), "一二三四五六七八。");
    assert.ok(to.pieces.length > 1);
    assert.deepEqual(steps.at(-1), [to.pieces.length, to.pieces.length]);
  });

  test("a recording is said with its own pauses", async () => {
    const to = sink();
    await recordedText([
      { text: "a", atMs: 50 },
      { text: "b", atMs: 50 },
      { text: "c", atMs: 51 },
    ])(to);
    assert.deepEqual(to.pieces, ["a", "b", "c"]);
  });

  test("none goes on after the task is over", async () => {
    const to = sink(1);
    await recordedText([
      { text: "a", atMs: 0 },
      { text: "b", atMs: 0 },
    ])(to);
    assert.deepEqual(to.pieces, ["a"]);
  });
});

describe("TypedText", () => {
  test("pieces go out as they come, before and after it is asked for them", async () => {
    const typed = new TypedText();
    const to = sink();
    typed.push("a");
    const running = typed.source(to);
    assert.deepEqual(to.pieces, ["a"]);
    typed.push("b");
    typed.push("c");
    typed.finish();
    await running;
    assert.deepEqual(to.pieces, ["a", "b", "c"]);
  });

  test("an abort ends it while it waits", async () => {
    const to = sink();
    const running = new TypedText().source(to);
    to.abort.abort();
    await running;
  });

  test("a task that is over takes no more", async () => {
    const typed = new TypedText();
    const to = sink(1);
    typed.push("a");
    typed.push("b");
    await typed.source(to);
    assert.deepEqual(to.pieces, ["a"]);
  });
});
