import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, test } from "node:test";

import { MediaSourceOutput } from "../../../static/js/media-source-output.js";

const BYTES_PER_S = 16_000;

/** What one append may hold: 256 KiB. */
const APPEND_S = (1 << 18) / BYTES_PER_S;

/** An audio element whose buffer and time are the test's. */
class FakeAudio {
  static last = null;
  begin = 0;
  end = 0;
  currentTime = 0;
  playing = false;
  refusal = null;

  constructor() {
    FakeAudio.last = this;
  }

  get buffered() {
    return {
      length: this.end > this.begin ? 1 : 0,
      start: () => this.begin,
      end: () => this.end,
    };
  }

  async play() {
    if (this.refusal) throw this.refusal;
    this.playing = true;
  }

  pause() {
    this.playing = false;
  }

  /** Time goes on, as far as there is audio. */
  advance(seconds) {
    this.currentTime = Math.min(this.end, this.currentTime + seconds);
    this.ontimeupdate();
  }
}

class FakeSourceBuffer {
  updating = false;
  removed = [];
  appended = [];
  capacityBytes = Infinity;

  constructor(audio) {
    this.audio = audio;
  }

  appendBuffer(bytes) {
    assert.equal(this.updating, false);
    const keptBytes = (this.audio.end - this.audio.begin) * BYTES_PER_S;
    if (keptBytes + bytes.byteLength > this.capacityBytes) {
      throw new DOMException("full", "QuotaExceededError");
    }
    this.appended.push(bytes.byteLength);
    this.#update(() => {
      this.audio.end += bytes.byteLength / BYTES_PER_S;
    });
  }

  remove(begin, end) {
    this.removed.push([begin, end]);
    this.#update(() => {
      this.audio.begin = end;
    });
  }

  #update(change) {
    this.updating = true;
    queueMicrotask(() => {
      change();
      this.updating = false;
      this.onupdateend();
    });
  }
}

class FakeMediaSource {
  static isTypeSupported = (type) => type === "audio/mpeg";
  static last = null;
  readyState = "open";

  constructor() {
    FakeMediaSource.last = this;
  }

  addSourceBuffer() {
    this.buffer = new FakeSourceBuffer(FakeAudio.last);
    return this.buffer;
  }

  endOfStream() {
    this.readyState = "ended";
  }
}

const settled = () => new Promise((resolve) => setImmediate(resolve));
const seconds = (count) => new ArrayBuffer(count * BYTES_PER_S);

async function open() {
  const events = [];
  const output = new MediaSourceOutput({ emit: (type, detail) => events.push([type, detail]) });
  const audio = FakeAudio.last;
  const source = FakeMediaSource.last;
  source.onsourceopen();
  const types = () => events.map(([type]) => type);
  return { output, audio, source, buffer: source.buffer, types };
}

const originals = {};
beforeEach(() => {
  Object.assign(originals, { Audio: globalThis.Audio, MediaSource: globalThis.MediaSource });
  originals.createObjectURL = URL.createObjectURL;
  Object.assign(globalThis, { Audio: FakeAudio, MediaSource: FakeMediaSource });
  URL.createObjectURL = () => "blob:fake";
});
afterEach(async () => {
  URL.createObjectURL = originals.createObjectURL;
  Object.assign(globalThis, { Audio: originals.Audio, MediaSource: originals.MediaSource });
});

test("it plays mp3 where MediaSource does, and nothing else", () => {
  assert.equal(MediaSourceOutput.plays({ format: "mp3" }), true);
  assert.equal(MediaSourceOutput.plays({ format: "opus" }), false);
  globalThis.MediaSource = { isTypeSupported: () => false };
  assert.equal(MediaSourceOutput.plays({ format: "mp3" }), false);
  globalThis.MediaSource = undefined;
  assert.equal(MediaSourceOutput.plays({ format: "mp3" }), false);
});

describe("a stream", () => {
  test("starts with a margin and ends", async () => {
    const { output, audio, source, types } = await open();
    output.push(seconds(0.1));
    await settled();
    assert.equal(audio.playing, false);
    output.push(seconds(0.1));
    await settled();
    assert.equal(audio.playing, true);
    audio.onplaying();
    output.finish();
    await settled();
    assert.equal(source.readyState, "ended");
    audio.onended();
    assert.deepEqual(types(), ["audible", "position", "ended"]);
  });

  test("a short one starts when it is complete", async () => {
    const { output, audio } = await open();
    output.push(seconds(0.05));
    output.finish();
    await settled();
    assert.equal(audio.playing, true);
    await output.stop();
  });

  test("so does a short one that nothing is due after for now", async () => {
    const { output, audio } = await open();
    output.push(seconds(0.05));
    await settled();
    assert.equal(audio.playing, false);
    output.rest();
    assert.equal(audio.playing, true);
    await output.stop();
  });

  test("an empty one ends", async () => {
    const { output, types } = await open();
    output.finish();
    assert.deepEqual(types().at(-1), "ended");
  });

  test("what came before the source was open is not lost", async () => {
    const output = new MediaSourceOutput({ emit: () => {} });
    output.push(seconds(1));
    output.finish();
    FakeMediaSource.last.onsourceopen();
    await settled();
    assert.equal(FakeAudio.last.end, 1);
    await output.stop();
  });
});

describe("what is in the browser's buffer", () => {
  test("stays within a minute ahead, and everything gets there", async () => {
    const { output, audio, source } = await open();
    for (let i = 0; i < 1500; i += 1) output.push(seconds(0.1));
    output.finish();
    await settled();
    while (audio.currentTime < 149) {
      assert.ok(audio.end - audio.currentTime <= 60 + APPEND_S);
      audio.advance(1);
      await settled();
    }
    assert.ok(Math.abs(audio.end - 150) < 0.001);
    assert.equal(source.readyState, "ended");
    await output.stop();
  });

  test("is appended in parts, and not in crumbs", async () => {
    const { output, buffer } = await open();
    for (let i = 0; i < 600; i += 1) output.push(seconds(0.1));
    await settled();
    assert.ok(buffer.appended.every((bytes) => bytes <= APPEND_S * BYTES_PER_S));
    assert.ok(buffer.appended.length < 10);
    await output.stop();
  });

  test("is given back when it was heard half a minute ago", async () => {
    const { output, audio, buffer } = await open();
    output.push(seconds(55));
    await settled();
    audio.advance(39);
    await settled();
    assert.deepEqual(buffer.removed, []);
    audio.advance(2);
    await settled();
    assert.deepEqual(buffer.removed, [[0, 11]]);
    await output.stop();
  });

  test("may be less than we want: the rest waits until some was heard", async () => {
    const { output, audio, buffer, types } = await open();
    buffer.capacityBytes = 10 * BYTES_PER_S;
    for (let i = 0; i < 30; i += 1) {
      output.push(seconds(1));
      await settled();
    }
    assert.equal(audio.end, 10);
    output.finish();
    for (let i = 0; i < 60; i += 1) {
      audio.advance(1);
      await settled();
    }
    assert.equal(audio.end, 30);
    assert.deepEqual(types(), []);
    await output.stop();
  });
});

describe("running dry", () => {
  async function playing() {
    const opened = await open();
    opened.output.push(seconds(0.5));
    await settled();
    opened.audio.onplaying();
    opened.audio.advance(0.5);
    return opened;
  }

  test("is an underrun, and a larger margin is waited for", async () => {
    const { output, audio, types } = await playing();
    audio.onwaiting();
    assert.equal(audio.playing, false);
    output.push(seconds(0.2));
    await settled();
    assert.equal(audio.playing, false);
    output.push(seconds(0.1));
    await settled();
    assert.equal(audio.playing, true);
    audio.onwaiting();
    audio.onplaying();
    const { underruns, underrunMs, pauses, startMs } = output.stats();
    assert.deepEqual({ underruns, pauses, startMs }, { underruns: 1, pauses: 0, startMs: 250 });
    assert.ok(underrunMs >= 0);
    assert.deepEqual(types(), ["audible", "underrun"]);
    await output.stop();
  });

  test("is a pause after a rest", async () => {
    const { output, audio } = await playing();
    output.rest();
    audio.onwaiting();
    const { underruns, pauses } = output.stats();
    assert.deepEqual({ underruns, pauses }, { underruns: 0, pauses: 1 });
    await output.stop();
  });

  test("is nothing at the end", async () => {
    const { output, audio } = await playing();
    output.finish();
    audio.onwaiting();
    const { underruns, pauses } = output.stats();
    assert.deepEqual({ underruns, pauses }, { underruns: 0, pauses: 0 });
    await output.stop();
  });
});

describe("failures", () => {
  test("without a click the browser refuses", async () => {
    const { output, audio, types } = await open();
    audio.refusal = new DOMException("needs a gesture", "NotAllowedError");
    output.push(seconds(1));
    await settled();
    assert.deepEqual(types(), ["failed"]);
    output.push(seconds(1));
    output.finish();
  });

  test("bytes that are no mp3", async () => {
    const { output, audio, types } = await open();
    audio.error = { message: "DEMUXER_ERROR" };
    audio.onerror();
    assert.deepEqual(types(), ["failed"]);
    assert.equal(await output.stop(), 0);
  });

  test("after a stop nothing is told any more", async () => {
    const { output, audio, types } = await open();
    output.push(seconds(1));
    await settled();
    assert.ok((await output.stop()) >= 0);
    audio.onplaying();
    audio.onended();
    output.push(seconds(1));
    assert.deepEqual(types(), []);
    assert.equal(audio.playing, false);
  });
});
