// N listeners at once, without loudspeakers: how long each waits, and where it would stutter.

import { AliyunClient } from "./aliyun-client.js";
import { median, percentile } from "./statistics.js";
import { Timings, simulatePlayback } from "./timings.js";

const PCM_BYTES = 2;

/**
 * @typedef {object} Row one session
 * @property {number} index 1, 2, 3 ...
 * @property {import("./aliyun-client.js").AliyunError | null} error
 * @property {number | null} connectMs
 * @property {number | null} firstAudioMs from the text to the first audio frame
 * @property {number | null} totalMs from the text to SynthesisCompleted
 * @property {number} audioS
 * @property {number | null} rtf
 * @property {number} underruns how often playback would have run dry
 * @property {number} underrunMs
 *
 * @typedef {object} Summary
 * @property {number} sessions
 * @property {number} failed
 * @property {number | null} firstAudioP50Ms
 * @property {number | null} firstAudioP95Ms
 * @property {number | null} firstAudioMaxMs
 * @property {number} underruns
 * @property {number} underrunMs
 * @property {number} stuttering sessions with underruns
 * @property {number} audioS
 * @property {number} wallS
 * @property {number} audioPerWall seconds of audio per second: how many streams that would feed
 */

/**
 * @param {object} options
 * @param {number} options.sessions
 * @param {string} options.url
 * @param {string} [options.token]
 * @param {object} options.parameters the payload of StartSynthesis; the format is always pcm,
 *   whose length in seconds is known
 * @param {string} options.text
 * @param {number} [options.staggerMs] between the starts of two sessions
 * @param {number} [options.startMs] margin of the simulated players
 * @param {AbortSignal} [options.signal] ends all sessions
 * @param {(row: Row, done: number) => void} [options.onRow] as each session ends
 * @param {() => AliyunClient} [options.createClient]
 * @returns {Promise<{rows: Row[], summary: Summary}>} never rejects for a failed session
 */
export async function runLoadTest({
  sessions,
  staggerMs = 0,
  signal,
  onRow = () => {},
  ...session
}) {
  const beginMs = performance.now();
  let done = 0;
  const runs = Array.from({ length: sessions }, async (_, i) => {
    if (staggerMs) await delay(i * staggerMs, signal);
    const row = await runSession({ ...session, signal, index: i + 1 });
    done += 1;
    onRow(row, done);
    return row;
  });
  const rows = await Promise.all(runs);
  return { rows, summary: summarize(rows, (performance.now() - beginMs) / 1000) };
}

async function runSession({
  index,
  url,
  token,
  parameters,
  text,
  startMs,
  signal,
  createClient = () => new AliyunClient(),
}) {
  const client = createClient();
  const timings = new Timings();
  const chunks = [];
  const pcm = { ...parameters, format: "pcm", sample_rate: parameters.sample_rate ?? 16000 };
  let error = null;
  client.addEventListener("audio", ({ detail }) => {
    const atMs = performance.now();
    const audioS = detail.byteLength / PCM_BYTES / pcm.sample_rate;
    chunks.push({ atMs, audioS });
    timings.chunk(atMs, audioS);
  });
  const abort = () => client.close();
  signal?.addEventListener("abort", abort);
  try {
    timings.mark("connect", performance.now());
    const connected = client.connect({ url, token });
    if (signal?.aborted) abort();
    await connected;
    timings.mark("connected", performance.now());
    await client.start(pcm);
    timings.mark("text", performance.now());
    client.run(text);
    await client.stop();
    timings.mark("completed", performance.now());
  } catch (failure) {
    if (failure.name !== "AliyunError") throw failure;
    error = failure;
  } finally {
    signal?.removeEventListener("abort", abort);
    client.close();
  }
  const { connectMs, firstFrameMs, totalMs, audioS, rtf } = timings.numbers();
  const playback = simulatePlayback(chunks, startMs);
  return { index, error, connectMs, firstAudioMs: firstFrameMs, totalMs, audioS, rtf, ...playback };
}

/**
 * @param {Row[]} rows
 * @param {number} wallS
 * @returns {Summary}
 */
export function summarize(rows, wallS) {
  const sum = (values) => values.reduce((total, value) => total + value, 0);
  const firstAudio = rows.map((row) => row.firstAudioMs).filter((ms) => ms !== null);
  const audioS = sum(rows.map((row) => row.audioS));
  return {
    sessions: rows.length,
    failed: rows.filter((row) => row.error).length,
    firstAudioP50Ms: median(firstAudio),
    firstAudioP95Ms: percentile(firstAudio, 95),
    firstAudioMaxMs: percentile(firstAudio, 100),
    underruns: sum(rows.map((row) => row.underruns)),
    underrunMs: sum(rows.map((row) => row.underrunMs)),
    stuttering: rows.filter((row) => row.underruns > 0).length,
    audioS,
    wallS,
    audioPerWall: wallS > 0 ? audioS / wallS : 0,
  };
}

function delay(ms, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal?.addEventListener("abort", () => {
      clearTimeout(timer);
      resolve();
    });
  });
}
