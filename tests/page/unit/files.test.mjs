import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { audioFile, srt, vtt, wavFile } from "../../../static/js/files.js";
import { UNKNOWN_BYTES, WavError, WavReader, wavHeader } from "../../../static/js/wav.js";

const bytes = (text) => new TextEncoder().encode(text);
const buffer = (...parts) => {
  const all = parts.flatMap((part) => [...new Uint8Array(part)]);
  return Uint8Array.from(all).buffer;
};
const content = async (blob) => new Uint8Array(await blob.arrayBuffer());
const SAMPLES = Int16Array.of(0, 1000, -1000, 32767, -32768).buffer;

/** What a reader that knows nothing of ours makes of a WAV file. */
function readWav(file) {
  const view = new DataView(file.buffer);
  const name = (at) => String.fromCharCode(...file.slice(at, at + 4));
  assert.deepEqual([name(0), name(8), name(12), name(36)], ["RIFF", "WAVE", "fmt ", "data"]);
  return {
    riffBytes: view.getUint32(4, true),
    format: view.getUint16(20, true),
    channels: view.getUint16(22, true),
    rate: view.getUint32(24, true),
    byteRate: view.getUint32(28, true),
    frameBytes: view.getUint16(32, true),
    bits: view.getUint16(34, true),
    dataBytes: view.getUint32(40, true),
    data: file.slice(44),
  };
}

describe("audio files", () => {
  test("PCM chunks become one WAV with right sizes", async () => {
    const blob = wavFile([SAMPLES.slice(0, 3), SAMPLES.slice(3)], 24000);
    assert.equal(blob.type, "audio/wav");
    assert.deepEqual(readWav(await content(blob)), {
      riffBytes: 36 + 10,
      format: 1,
      channels: 1,
      rate: 24000,
      byteRate: 48000,
      frameBytes: 2,
      bits: 16,
      dataBytes: 10,
      data: new Uint8Array(SAMPLES),
    });
  });

  test("a WAV stream loses its header of unknown size and gets a right one", async () => {
    const streamed = buffer(wavHeader(UNKNOWN_BYTES, 16000), SAMPLES);
    const chunks = [streamed.slice(0, 20), streamed.slice(20, 47), streamed.slice(47)];
    const { blob, extension } = audioFile(chunks, { format: "wav", sampleRate: 16000 });
    assert.equal(extension, "wav");
    const wav = readWav(await content(blob));
    assert.equal(wav.dataBytes, 10);
    assert.equal(wav.rate, 16000);
    assert.deepEqual(wav.data, new Uint8Array(SAMPLES));
  });

  test("other formats are files already", async () => {
    const chunks = [bytes("ID3").buffer, bytes("xyz").buffer];
    const { blob, extension } = audioFile(chunks, { format: "mp3", sampleRate: 16000 });
    assert.equal(extension, "mp3");
    assert.equal(blob.type, "audio/mpeg");
    assert.deepEqual(await content(blob), bytes("ID3xyz"));
  });

  test("nothing was said", async () => {
    const { blob } = audioFile([], { format: "pcm", sampleRate: 8000 });
    assert.equal(readWav(await content(blob)).dataBytes, 0);
  });
});

describe("reading WAV", () => {
  const list = buffer(bytes("LIST"), [3, 0, 0, 0], bytes("abc"), [0]);
  const plain = wavHeader(SAMPLES.byteLength, 8000);
  const withList = buffer(plain.slice(0, 36), list, plain.slice(36), SAMPLES);

  test("other chunks before the samples are passed over, wherever the pieces end", () => {
    for (let cut = 0; cut <= withList.byteLength; cut += 1) {
      const reader = new WavReader();
      const parts = [withList.slice(0, cut), withList.slice(cut)].map((part) => reader.push(part));
      assert.deepEqual(buffer(...parts), SAMPLES, `cut at ${cut}`);
      assert.equal(reader.sampleRate, 8000);
    }
  });

  test("chunks after the samples are no sound", () => {
    const reader = new WavReader();
    assert.deepEqual(reader.push(buffer(withList, list)), SAMPLES);
    assert.equal(reader.push(list).byteLength, 0);
  });

  test("what cannot be played is refused", () => {
    const stereo = wavHeader(8, 8000);
    new DataView(stereo).setUint16(22, 2, true);
    for (const wrong of [stereo, buffer(bytes("ID3 no wave at all"))]) {
      assert.throws(() => new WavReader().push(wrong), WavError);
    }
  });
});

describe("subtitles", () => {
  const sentences = [
    { text: "  你好，\n世界。 ", beginMs: 0, endMs: 1143.4 },
    { text: " \n", beginMs: 1143, endMs: 1200 },
    { text: "a < b & c --> d", beginMs: 3_599_999, endMs: 36_061_005 },
  ];

  test("SRT", () => {
    assert.equal(
      srt(sentences),
      `1
00:00:00,000 --> 00:00:01,143
你好， 世界。

2
00:59:59,999 --> 10:01:01,005
a < b & c --> d
`,
    );
  });

  test("WebVTT", () => {
    assert.equal(
      vtt(sentences),
      `WEBVTT

00:00:00.000 --> 00:00:01.143
你好， 世界。

00:59:59.999 --> 10:01:01.005
a &lt; b &amp; c --&gt; d
`,
    );
  });

  test("of nothing", () => {
    assert.equal(srt([]), "");
    assert.equal(vtt([]), "WEBVTT\n");
  });
});
