import assert from "node:assert/strict";
import { test } from "node:test";

import { AliyunClient } from "../../../static/js/aliyun-client.js";
import { runLoadTest, summarize } from "../../../static/js/load-test.js";
import { fakeWebSocket, speaking } from "./fake-server.mjs";

const HALF_SECOND = new ArrayBuffer(16000);
const OPTIONS = {
  url: "ws://host/ws/v1/tts",
  parameters: { format: "mp3", voice: "x" },
  text: "hi",
};

const against = (WebSocket) => () => new AliyunClient({ WebSocket });

test("all sessions speak, as PCM, and are summed up", async () => {
  const WebSocket = fakeWebSocket(speaking([HALF_SECOND, HALF_SECOND]));
  const done = [];
  const { rows, summary } = await runLoadTest({
    ...OPTIONS,
    sessions: 5,
    createClient: against(WebSocket),
    onRow: (row, count) => done.push([row.index, count]),
  });
  assert.deepEqual(rows.map(({ index }) => index), [1, 2, 3, 4, 5]);
  assert.ok(rows.every(({ error, audioS }) => error === null && audioS === 1));
  assert.ok(rows.every(({ firstAudioMs }) => firstAudioMs >= 0));
  assert.deepEqual(done.map(([, count]) => count), [1, 2, 3, 4, 5]);
  assert.equal(summary.sessions, 5);
  assert.equal(summary.failed, 0);
  assert.equal(summary.audioS, 5);
  assert.ok(summary.firstAudioP50Ms <= summary.firstAudioP95Ms);
  const [start, run] = WebSocket.sockets[0].received;
  assert.deepEqual(start.payload, { format: "pcm", voice: "x", sample_rate: 16000 });
  assert.deepEqual(run.payload, { text: "hi" });
  assert.ok(WebSocket.sockets.every(({ closeCode }) => closeCode === 1000));
});

test("a failed session is a row of its own and ends no other", async () => {
  let connections = 0;
  const WebSocket = fakeWebSocket((server, url) => {
    connections += 1;
    if (connections === 2) server.refuse();
    else speaking([HALF_SECOND])(server, url);
  });
  const { rows, summary } = await runLoadTest({
    ...OPTIONS,
    sessions: 3,
    createClient: against(WebSocket),
  });
  assert.deepEqual(rows.map(({ error }) => error?.adviceKey ?? null), [null, "unreachable", null]);
  assert.equal(summary.failed, 1);
});

test("a signal ends it", async () => {
  const abort = new AbortController();
  const { rows } = await runLoadTest({
    ...OPTIONS,
    sessions: 2,
    staggerMs: 60_000,
    signal: abort.signal,
    createClient: against(
      fakeWebSocket((server) => {
        server.accept();
        setImmediate(() => abort.abort());
      }),
    ),
  });
  assert.deepEqual(rows.map(({ error }) => error.adviceKey), ["closed", "closed"]);
});

test("a summary", () => {
  const row = (firstAudioMs, underruns, error = null) => ({
    firstAudioMs,
    underruns,
    underrunMs: 10 * underruns,
    audioS: 2,
    error,
  });
  assert.deepEqual(summarize([row(100, 0), row(200, 3), row(null, 0, new Error("no"))], 0.5), {
    sessions: 3,
    failed: 1,
    firstAudioP50Ms: 150,
    firstAudioP95Ms: 195,
    firstAudioMaxMs: 200,
    underruns: 3,
    underrunMs: 30,
    stuttering: 1,
    audioS: 6,
    wallS: 0.5,
    audioPerWall: 12,
  });
});
