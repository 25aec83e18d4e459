import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, mock, test } from "node:test";

import { JitterEngine } from "../../../static/js/jitter-engine.js";
import { floatToS16 } from "../../../static/js/pcm.js";
import { Player } from "../../../static/js/player.js";
import { UNKNOWN_BYTES, wavHeader } from "../../../static/js/wav.js";

const BLOCK = 128;

/** A Web Audio whose clock is the test's: `play` lets time pass in both clocks. */
class FakeContext {
  static refusedHz = null;
  static secure = true;
  static last = null;
  state = "running";
  currentTime = 0;
  destination = {};
  outputLatency = 0;
  gains = [];

  constructor({ sampleRate = 48000 } = {}) {
    if (sampleRate === FakeContext.refusedHz) throw new DOMException("no", "NotSupportedError");
    this.sampleRate = sampleRate;
    if (FakeContext.secure) this.audioWorklet = { addModule: async () => {} };
    FakeContext.last = this;
  }

  async resume() {}

  async close() {
    this.state = "closed";
  }

  createGain() {
    const values = [];
    const gain = {
      setValueAtTime: (value) => values.push(value),
      linearRampToValueAtTime: (value) => values.push(value),
    };
    const node = { gain, values, connect: (to) => to, disconnect: () => values.push("cut") };
    this.gains.push(node);
    return node;
  }

  createScriptProcessor(length) {
    this.script = { connect: (to) => to };
    this.process = (atS) => {
      const block = new Float32Array(length);
      const outputBuffer = { getChannelData: () => block };
      this.script.onaudioprocess({ outputBuffer, playbackTime: atS });
      return block;
    };
    this.block = length;
    return this.script;
  }

  /** @returns {number[]} what was heard */
  async play(seconds) {
    const heard = [];
    const end = this.currentTime + seconds;
    while (this.currentTime < end) {
      heard.push(...this.process(this.currentTime));
      this.currentTime += this.block / this.sampleRate;
      now += (1000 * this.block) / this.sampleRate;
    }
    await new Promise((resolve) => queueMicrotask(resolve));
    return heard;
  }
}

class FakeWorkletNode {
  constructor(context, name, { processorOptions }) {
    assert.equal(name, "jitter");
    const post = (data) => this.port.onmessage({ data: structuredClone(data) });
    const { sampleRate } = context;
    const engine = new JitterEngine({ sampleRate, post, jitter: processorOptions });
    this.port = {
      postMessage: (data, transfer = []) => engine.receive(structuredClone(data, { transfer })),
    };
    context.block = BLOCK;
    context.process = (atS) => {
      const block = new Float32Array(BLOCK);
      engine.process(block, atS);
      return block;
    };
  }

  connect(to) {
    return to;
  }
}

let now = 0;
const globals = { AudioContext: FakeContext, AudioWorkletNode: FakeWorkletNode };
beforeEach(() => {
  now = 1000;
  Object.assign(globalThis, globals);
  Object.assign(FakeContext, { refusedHz: null, secure: true });
  mock.method(performance, "now", () => now);
  mock.timers.enable({ apis: ["setTimeout"] });
});
afterEach(() => {
  for (const name of Object.keys(globals)) delete globalThis[name];
  mock.timers.reset();
  mock.restoreAll();
});

const pcm = (seconds, sampleRate = 16000) =>
  floatToS16(new Float32Array(seconds * sampleRate).fill(0.5));

async function open(options) {
  const player = await Player.create({ format: "pcm", sampleRate: 16000, ...options });
  const events = [];
  for (const type of ["audible", "underrun", "ended", "failed"]) {
    player.addEventListener(type, ({ detail }) => events.push([type, detail]));
  }
  const positions = [];
  player.addEventListener("position", ({ detail }) => positions.push(detail.positionS));
  return { player, events, positions, context: FakeContext.last };
}

describe("a stream", () => {
  test("is heard to its end, and the context is closed", async () => {
    const { player, events, positions, context } = await open();
    assert.equal(player.path, "worklet");
    assert.equal(context.sampleRate, 16000);
    for (let i = 0; i < 10; i += 1) player.push(pcm(0.1));
    player.finish();
    await context.play(0.5);
    assert.ok(Math.abs(player.stats().positionS - 0.5) < 0.02);
    await context.play(0.6);
    mock.timers.tick(100);
    assert.deepEqual(events, [
      ["audible", { atMs: 1000 }],
      ["ended", {}],
    ]);
    assert.equal(player.stats().positionS, 1);
    assert.equal(player.stats().underruns, 0);
    assert.deepEqual(positions, positions.toSorted((a, b) => a - b));
    assert.ok(positions.length >= 10);
    assert.equal(context.state, "closed");
  });

  test("stays the caller's", async () => {
    const { player } = await open();
    const chunk = pcm(0.1);
    player.push(chunk);
    assert.equal(chunk.byteLength, 3200);
  });

  test("is heard later by what the loudspeaker takes", async () => {
    const { player, events, context } = await open();
    context.getOutputTimestamp = () => ({
      contextTime: context.currentTime - 0.2,
      performanceTime: now,
    });
    player.push(pcm(0.2));
    player.finish();
    await context.play(0.22);
    assert.equal(events[0][1].atMs, 1200);
    mock.timers.tick(150);
    assert.equal(events.length, 1);
    mock.timers.tick(60);
    assert.equal(events[1][0], "ended");
  });

  test("is dated when the browser knows the delay, of which it says nonsense at first", async () => {
    const { player, events, context } = await open();
    context.getOutputTimestamp = () => ({ contextTime: 0, performanceTime: 3 });
    player.push(pcm(2));
    await context.play(0.05);
    assert.deepEqual(events, []);
    context.getOutputTimestamp = () => ({
      contextTime: context.currentTime - 0.1,
      performanceTime: now,
    });
    await context.play(0.1);
    assert.deepEqual(events, [["audible", { atMs: 1100 }]]);
  });

  test("is dated without the delay if the browser never tells", async () => {
    const { player, events, context } = await open();
    context.getOutputTimestamp = () => ({ contextTime: 0, performanceTime: 0 });
    context.outputLatency = 0.03;
    player.push(pcm(2));
    await context.play(0.6);
    assert.equal(Math.round(events[0][1].atMs), 1030);
  });

  test("is not heard before it came", async () => {
    const { player, events, context } = await open();
    context.getOutputTimestamp = () => ({
      contextTime: context.currentTime + 0.5,
      performanceTime: now,
    });
    player.push(pcm(0.5));
    player.finish();
    await context.play(0.2);
    assert.equal(events[0][1].atMs, 1000);
  });

  test("waits for its place in the sound while it is dry", async () => {
    const { player, events, context } = await open();
    player.push(pcm(0.2));
    await context.play(0.4);
    player.push(pcm(0.05));
    await context.play(0.2);
    const { positionS, playedS, underruns } = player.stats();
    assert.ok(positionS <= playedS + 0.001);
    assert.equal(underruns, 1);
    assert.deepEqual(events.map(([type]) => type), ["audible", "underrun"]);
  });

  test("may rest without an underrun", async () => {
    const { player, context } = await open();
    player.push(pcm(0.2));
    player.rest();
    await context.play(0.4);
    assert.equal(player.stats().underruns, 0);
    assert.equal(player.stats().pauses, 1);
  });
});

describe("WAV", () => {
  test("is heard without its header, at its own rate", async () => {
    const { player, context } = await open({ format: "WAV", sampleRate: 16000 });
    const header = wavHeader(UNKNOWN_BYTES, 8000);
    player.push(header.slice(0, 20));
    player.push(header.slice(20));
    player.push(pcm(0.5, 8000));
    player.finish();
    const heard = await context.play(0.3);
    assert.ok(heard.slice(2000, 4000).every((value) => Math.abs(value - 0.5) < 0.001));
    await context.play(0.4);
    assert.ok(Math.abs(player.stats().playedS - 0.5) < 0.001);
  });

  test("may have another rate than was asked for, in a browser that refuses that", async () => {
    FakeContext.refusedHz = 16000;
    const { player, context } = await open({ format: "wav", sampleRate: 16000 });
    const header = wavHeader(UNKNOWN_BYTES, 8000);
    player.push(header.slice(0, 20));
    player.push(header.slice(20));
    player.push(pcm(0.5, 8000));
    player.finish();
    await context.play(0.7);
    assert.ok(Math.abs(player.stats().playedS - 0.5) < 0.001);
  });

  test("that is none is told, once", async () => {
    const { player, events, context } = await open({ format: "wav" });
    player.push(new TextEncoder().encode("ID3 but not a wave").buffer);
    player.push(pcm(1));
    player.finish();
    assert.deepEqual(events.map(([type, { adviceKey }]) => [type, adviceKey]), [
      ["failed", "undecodable"],
    ]);
    assert.equal(context.state, "closed");
    assert.equal(await player.stop(), 0);
  });
});

describe("the browser's limits", () => {
  test("a refused rate is converted to", async () => {
    FakeContext.refusedHz = 16000;
    const { player, context } = await open();
    assert.equal(context.sampleRate, 48000);
    player.push(pcm(0.5));
    player.finish();
    const heard = await context.play(0.7);
    assert.ok(heard.slice(2000, 20_000).every((value) => Math.abs(value - 0.5) < 0.001));
  });

  test("a context that is given is used and left open", async () => {
    const audioContext = new FakeContext({ sampleRate: 44100 });
    const { player } = await open({ audioContext });
    player.push(pcm(0.2));
    player.finish();
    await audioContext.play(0.5);
    mock.timers.tick(100);
    assert.ok(Math.abs(player.stats().playedS - 0.2) < 0.001);
    assert.equal(audioContext.state, "running");
  });

  test("without worklets, as on plain http, a script processor plays", async () => {
    FakeContext.secure = false;
    const { player, events, context } = await open();
    assert.equal(player.path, "script-processor");
    for (let i = 0; i < 10; i += 1) player.push(pcm(0.1));
    player.finish();
    await context.play(1.2);
    mock.timers.tick(200);
    assert.deepEqual(events.map(([type]) => type), ["audible", "ended"]);
    assert.equal(player.stats().underruns, 0);
  });

  test("a clock that stands is told: a click is missing, or a loudspeaker", async () => {
    for (const [state, adviceKey] of [["suspended", "autoplay"], ["running", "no-device"]]) {
      const { player, events, context } = await open();
      context.state = state;
      player.push(pcm(0.1));
      mock.timers.tick(3000);
      assert.equal(events[0][1].adviceKey, adviceKey);
    }
  });

  test("a clock that runs is not", async () => {
    const { player, events, context } = await open();
    player.push(pcm(0.1));
    await context.play(0.02);
    mock.timers.tick(3000);
    assert.ok(!events.some(([type]) => type === "failed"));
  });
});

describe("stop", () => {
  test("says when silence was there, and ends everything", async () => {
    const { player, events, context } = await open();
    player.push(pcm(2));
    await context.play(0.2);
    const stopped = player.stop();
    const heard = await context.play(0.05);
    const ms = await stopped;
    assert.ok(ms > 0 && ms < 20, `${ms} ms`);
    assert.ok(heard.slice(BLOCK).every((value) => value === 0));
    assert.deepEqual(events.map(([type]) => type), ["audible"]);
    assert.equal(context.state, "closed");
    player.push(pcm(1));
    player.finish();
    assert.equal(await player.stop(), 0);
  });

  test("does not wait for a clock that stands", async () => {
    const { player } = await open();
    const stopped = player.stop();
    now += 300;
    mock.timers.tick(300);
    assert.equal(await stopped, 300);
  });

  test("fades out what a script processor has computed ahead", async () => {
    FakeContext.secure = false;
    const { player, context } = await open();
    player.push(pcm(2));
    await context.play(0.3);
    const stopped = player.stop();
    now += 20;
    context.currentTime += 0.02;
    mock.timers.tick(20);
    assert.ok((await stopped) <= 20);
    assert.deepEqual(context.gains[0].values, [1, 0, "cut"]);
  });
});
