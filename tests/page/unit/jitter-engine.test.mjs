import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { JitterEngine } from "../../../static/js/jitter-engine.js";
import { floatToS16 } from "../../../static/js/pcm.js";

const RATE = 16000;
const BLOCK = 128;

/** An engine whose loudspeaker takes blocks when the test says so. */
function engineAt(sampleRate = RATE) {
  const posted = [];
  const engine = new JitterEngine({ sampleRate, post: (message) => posted.push(message) });
  let blocks = 0;
  let alive = true;
  const play = (seconds) => {
    const out = [];
    for (let left = (seconds * sampleRate) / BLOCK; left > 0; left -= 1) {
      const block = new Float32Array(BLOCK);
      alive = engine.process(block, (blocks * BLOCK) / sampleRate);
      blocks += 1;
      out.push(...block);
    }
    return out;
  };
  const types = () => posted.map(({ type }) => type).filter((type) => type !== "stats");
  return { engine, posted, play, types, alive: () => alive };
}

const audio = (seconds, sampleRate = RATE, value = 0.5) => ({
  type: "audio",
  data: floatToS16(new Float32Array(seconds * sampleRate).fill(value)),
  sampleRate,
});

describe("reports", () => {
  test("a stream becomes audible, ends, and is counted", () => {
    const { engine, play, posted, types, alive } = engineAt();
    play(0.016);
    engine.receive(audio(0.5));
    engine.receive({ type: "end" });
    play(1);
    assert.deepEqual(types(), ["audible", "ended"]);
    assert.equal(posted.find(({ type }) => type === "audible").atS, 0.016);
    const ended = posted.at(-1);
    assert.equal(ended.stats.playedS, 0.5);
    assert.equal(ended.stats.underruns, 0);
    assert.ok(Math.abs(ended.atS - 0.52) < 0.02);
    assert.equal(alive(), false);
  });

  test("about ten a second", () => {
    const { play, posted } = engineAt();
    play(2);
    assert.ok(Math.abs(posted.length - 20) <= 1, `${posted.length} in 2 s`);
  });

  test("an underrun starts with starved and ends with audible", () => {
    const { engine, play, types } = engineAt();
    engine.receive(audio(0.2));
    play(0.5);
    engine.receive(audio(0.5));
    play(0.1);
    assert.deepEqual(types(), ["audible", "starved", "audible"]);
  });

  test("a rest does not", () => {
    const { engine, play, posted, types } = engineAt();
    engine.receive(audio(0.2));
    engine.receive({ type: "rest" });
    play(0.5);
    assert.deepEqual(types(), ["audible"]);
    assert.equal(posted.at(-1).stats.pauses, 1);
  });

  test("clear is silent after a fade, and nothing comes after it", () => {
    const { engine, play, posted, types } = engineAt();
    engine.receive(audio(2));
    play(0.1);
    engine.receive({ type: "clear" });
    engine.receive(audio(2));
    const out = play(0.1);
    assert.deepEqual(types(), ["audible", "silent"]);
    assert.ok(posted.at(-1).atS < 0.12);
    assert.ok(out.slice(BLOCK).every((value) => value === 0));
  });

  test("an empty stream ends as well", () => {
    const { engine, play, types } = engineAt();
    engine.receive({ type: "end" });
    play(0.01);
    assert.deepEqual(types(), ["ended"]);
  });

  test("a message that does not exist is an error", () => {
    assert.throws(() => engineAt().engine.receive({ type: "pause" }), TypeError);
  });
});

describe("samples", () => {
  test("bytes may be cut anywhere", () => {
    const { engine, play } = engineAt();
    const { data } = audio(0.1);
    for (const [begin, end] of [[0, 3], [3, 1000], [1000, 1001], [1001, data.byteLength]]) {
      engine.receive({ type: "audio", data: data.slice(begin, end), sampleRate: RATE });
    }
    engine.receive({ type: "end" });
    const out = play(0.2).slice(100, 1500);
    assert.ok(out.every((value) => value === 0.5));
  });

  test("another rate than the loudspeaker's is converted, to the last sample", () => {
    const { engine, play, posted } = engineAt(48000);
    for (let i = 0; i < 10; i += 1) engine.receive(audio(0.1, 16000));
    engine.receive({ type: "end" });
    const out = play(1.1).slice(1000, 40_000);
    assert.ok(out.every((value) => Math.abs(value - 0.5) < 0.001));
    assert.ok(Math.abs(posted.at(-1).stats.playedS - 1) < 0.001);
  });
});
