import assert from "node:assert/strict";
import { afterEach, describe, mock, test } from "node:test";

import { AliyunClient } from "../../../static/js/aliyun-client.js";
import { AliyunError } from "../../../static/js/aliyun-error.js";
import { fakeWebSocket, speaking } from "./fake-server.mjs";

const URL_ = "ws://host/ws/v1/tts";
const EVENTS = [
  "started",
  "sentence-begin",
  "audio",
  "subtitles",
  "sentence-end",
  "completed",
  "failed",
  "closed",
];

const opened = [];
afterEach(() => {
  for (const client of opened.splice(0)) client.close();
});

function clientOf(WebSocket, options = {}) {
  const client = new AliyunClient({ WebSocket, ...options });
  opened.push(client);
  const events = [];
  const frames = [];
  for (const type of EVENTS) {
    client.addEventListener(type, ({ detail }) => events.push([type, detail]));
  }
  client.addEventListener("frame", ({ detail }) => frames.push(detail));
  return { client, events, frames, server: () => WebSocket.sockets.at(-1) };
}

async function running(options) {
  const made = clientOf(fakeWebSocket(), options);
  await made.client.connect({ url: URL_ });
  const started = made.client.start({ voice: "x" });
  made.server().tell("SynthesisStarted", { index: 0 });
  await started;
  return made;
}

const settled = () => new Promise((resolve) => setImmediate(resolve));
const rejectsWith = (promise, expected) =>
  assert.rejects(promise, (error) => {
    assert.ok(error instanceof AliyunError, error);
    const { status, adviceKey } = error;
    assert.deepEqual({ status, adviceKey }, { status: 0, ...expected });
    return true;
  });

describe("a task", () => {
  test("goes from Start to Completed and tells what happens on the way", async () => {
    const audio = [Uint8Array.of(1, 2).buffer, Uint8Array.of(3, 4).buffer];
    const { client, events, server } = clientOf(fakeWebSocket(speaking(audio)));
    await client.connect({ url: URL_ });
    assert.deepEqual(await client.start({ voice: "x", format: "pcm" }), { index: 0 });
    assert.equal(client.run("你好"), true);
    assert.equal(client.flush(), true);
    assert.deepEqual(await client.stop(), { index: 1, measureLength: 4 });
    assert.deepEqual(events, [
      ["started", { index: 0 }],
      ["sentence-begin", { index: 1 }],
      ["audio", audio[0]],
      ["audio", audio[1]],
      ["sentence-end", { index: 1, subtitles: [] }],
      ["completed", { index: 1, measureLength: 4 }],
    ]);
    const names = ["StartSynthesis", "RunSynthesis", "FlushText", "StopSynthesis"];
    assert.deepEqual(server().names(), names);
    const [start, run] = server().received;
    assert.deepEqual(start.payload, { voice: "x", format: "pcm" });
    assert.deepEqual(run.payload, { text: "你好" });
  });

  test("has a task id of its own in every message, and each message an id", async () => {
    const { client, server } = clientOf(fakeWebSocket(speaking([])));
    await client.connect({ url: URL_, appkey: "key" });
    for (let i = 0; i < 2; i += 1) {
      await client.start({});
      await client.stop();
    }
    const headers = server().received.map(({ header }) => header);
    assert.deepEqual(server().names().length, 4);
    assert.equal(new Set(headers.map(({ message_id }) => message_id)).size, 4);
    assert.equal(headers[0].task_id, headers[1].task_id);
    assert.notEqual(headers[0].task_id, headers[2].task_id);
    assert.match(headers[0].task_id, /^[0-9a-f]{32}$/);
    assert.ok(headers.every(({ appkey }) => appkey === "key"));
    assert.ok(headers.every(({ namespace }) => namespace === "FlowingSpeechSynthesizer"));
  });

  test("takes text before the server has answered", async () => {
    const { client, server } = clientOf(fakeWebSocket());
    await client.connect({ url: URL_ });
    client.start({});
    assert.equal(client.run("a"), true);
    assert.deepEqual(server().names(), ["StartSynthesis", "RunSynthesis"]);
  });

  test("a long text goes in several messages and stays whole", async () => {
    const { client, server } = await running();
    const text = `x${"😀".repeat(9001)}`;
    client.run(text);
    const texts = server().received.slice(1).map(({ payload }) => payload.text);
    assert.ok(texts.length > 1 && texts.every((piece) => Array.from(piece).length <= 10_000));
    assert.equal(texts.join(""), text);
    assert.ok(texts.every((piece) => !/^[\udc00-\udfff]/.test(piece)));
  });

  test("an empty text is not sent", async () => {
    const { client, server } = await running();
    assert.equal(client.run(""), true);
    assert.deepEqual(server().names(), ["StartSynthesis"]);
  });
});

describe("frames", () => {
  test("each message is one, with its size in bytes", async () => {
    const audio = [new ArrayBuffer(320)];
    const { client, frames } = clientOf(fakeWebSocket(speaking(audio)));
    await client.connect({ url: URL_ });
    await client.start({ voice: "中文女" });
    await client.stop();
    assert.deepEqual(
      frames.map(({ direction, name }) => [direction, name]),
      [
        ["out", "StartSynthesis"],
        ["in", "SynthesisStarted"],
        ["out", "StopSynthesis"],
        ["in", "SentenceBegin"],
        ["in", "audio"],
        ["in", "SentenceEnd"],
        ["in", "SynthesisCompleted"],
      ],
    );
    const [start, , , , sound] = frames;
    assert.equal(start.size, Buffer.byteLength(JSON.stringify(start.body)));
    assert.deepEqual(start.body.payload, { voice: "中文女" });
    assert.deepEqual([sound.size, sound.body], [320, null]);
    assert.ok(frames.every(({ atMs }, i) => !i || atMs >= frames[i - 1].atMs));
  });

  test("the token is in the address and in no frame", async () => {
    const { client, frames, server } = clientOf(fakeWebSocket(speaking([])));
    await client.connect({ url: `${URL_}?x=1`, token: "se cret&" });
    await client.start({});
    await client.stop();
    assert.equal(new URL(server().url).searchParams.get("token"), "se cret&");
    assert.equal(new URL(server().url).searchParams.get("x"), "1");
    assert.ok(!JSON.stringify(frames).includes("cret"));
  });
});

describe("barge-in", () => {
  test("cancels, and announces no more audio", async () => {
    const { client, events, frames, server } = await running();
    client.run("a");
    server().raw(new ArrayBuffer(2));
    const stopped = client.stop({ cancel: true });
    server().raw(new ArrayBuffer(4));
    server().tell("SynthesisCompleted", { index: 1 });
    assert.deepEqual(await stopped, { index: 1 });
    assert.deepEqual(server().received.at(-1).payload, { cancel: true });
    assert.equal(events.filter(([type]) => type === "audio").length, 1);
    assert.equal(frames.filter(({ name }) => name === "audio").length, 2);
    assert.equal(client.run("too late"), false);
  });

  test("may follow a plain stop, once", async () => {
    const { client, server } = await running();
    const both = [client.stop(), client.stop({ cancel: true }), client.stop({ cancel: true })];
    server().tell("SynthesisCompleted", { index: 1 });
    await Promise.all(both);
    const stops = server().received.slice(1).map(({ payload }) => payload);
    assert.deepEqual(stops, [{}, { cancel: true }]);
  });

  test("the next task has audio again", async () => {
    const { client, events } = clientOf(fakeWebSocket(speaking([new ArrayBuffer(2)])));
    await client.connect({ url: URL_ });
    await client.start({});
    await client.stop({ cancel: true });
    await client.start({});
    await client.stop();
    assert.equal(events.filter(([type]) => type === "audio").length, 1);
  });
});

describe("failures", () => {
  test("the server's TaskFailed rejects what waits and is told once", async () => {
    const { client, events, server } = await running();
    const stopped = client.stop();
    const text = "Gateway:PARAMETER_INVALID:Invalid voice name 'x'!";
    server().tell("TaskFailed", undefined, { status: 40000003, status_text: text });
    await rejectsWith(stopped, { status: 40000003, adviceKey: "parameter" });
    await settled();
    const failures = events.filter(([type]) => type === "failed");
    assert.equal(failures.length, 1);
    assert.equal(failures[0][1].text, text);
    assert.equal(events.at(-1)[0], "closed");
    assert.equal(client.run("more"), false);
    await rejectsWith(client.stop(), { adviceKey: "closed" });
    await rejectsWith(client.start({}), { adviceKey: "closed" });
  });

  for (const [status, adviceKey] of [
    [40000001, "token"],
    [40000005, "busy"],
    [51020001, "model"],
    [49999999, "unknown"],
  ]) {
    test(`status ${status} is advised on by ${adviceKey}`, async () => {
      const { client, server } = clientOf(fakeWebSocket());
      await client.connect({ url: URL_ });
      const started = client.start({});
      server().tell("TaskFailed", undefined, { status, status_text: "no" });
      await rejectsWith(started, { status, adviceKey });
    });
  }

  test("no server", async () => {
    const { client, events } = clientOf(fakeWebSocket((server) => server.refuse()));
    await rejectsWith(client.connect({ url: URL_ }), { adviceKey: "unreachable" });
    await settled();
    assert.deepEqual(events.map(([type]) => type), ["failed", "closed"]);
  });

  test("an address that the browser refuses", async () => {
    const refusing = class {
      constructor() {
        throw new DOMException("mixed content", "SecurityError");
      }
    };
    const { client, events } = clientOf(refusing);
    await rejectsWith(client.connect({ url: URL_ }), { adviceKey: "unreachable" });
    assert.equal(events[0][1].text, "mixed content");
  });

  test("the connection breaks", async () => {
    const { client, events, server } = await running();
    const stopped = client.stop();
    server().drop(1006);
    await rejectsWith(stopped, { adviceKey: "connection-lost" });
    assert.deepEqual(events.map(([type]) => type), ["started", "closed", "failed"]);
  });

  test("between two tasks a closed connection is no failure", async () => {
    const { client, events, server } = clientOf(fakeWebSocket());
    await client.connect({ url: URL_ });
    server().drop(1000);
    await settled();
    assert.deepEqual(events, [["closed", { code: 1000, reason: "" }]]);
    await rejectsWith(client.start({}), { adviceKey: "closed" });
  });

  test("text that is not JSON", async () => {
    const { client, frames, server } = await running();
    const stopped = client.stop();
    server().raw("<html>");
    await rejectsWith(stopped, { adviceKey: "message" });
    assert.equal(frames.at(-1).body, "<html>");
  });

  for (const odd of ["null", "[]", "{}", '{"header":null}', '{"header":{"name":"New"}}']) {
    test(`${odd} is shown and passed over`, async () => {
      const { client, frames, server } = await running();
      server().raw(odd);
      assert.equal(frames.at(-1).direction, "in");
      assert.equal(client.state, "running");
    });
  }

  test("a rejection that nobody waits for is no unhandled one", async () => {
    const { client, server } = clientOf(fakeWebSocket());
    await client.connect({ url: URL_ });
    client.start({});
    server().tell("TaskFailed", undefined, { status: 50000000 });
    client.stop();
    await settled();
  });
});

describe("every promise settles", () => {
  const withTimers = (name, body) =>
    test(name, async () => {
      mock.timers.enable({ apis: ["setTimeout"] });
      try {
        await body();
      } finally {
        mock.timers.reset();
      }
    });

  withTimers("when the server does not accept", async () => {
    const { client, server } = clientOf(fakeWebSocket(() => {}), { connectTimeoutMs: 100 });
    const connected = client.connect({ url: URL_ });
    mock.timers.tick(100);
    await rejectsWith(connected, { adviceKey: "silent" });
    assert.equal(server().closeCode, 1000);
  });

  withTimers("when the task is not started", async () => {
    const { client } = clientOf(fakeWebSocket(), { startTimeoutMs: 100 });
    await client.connect({ url: URL_ });
    const started = client.start({});
    mock.timers.tick(100);
    await rejectsWith(started, { adviceKey: "silent" });
  });

  withTimers("when the server falls silent after stop, but not while it speaks", async () => {
    const { client, server } = await running({ silenceTimeoutMs: 100 });
    const stopped = client.stop();
    for (let i = 0; i < 5; i += 1) {
      mock.timers.tick(99);
      server().raw(new ArrayBuffer(2));
    }
    assert.equal(client.state, "stopping");
    mock.timers.tick(100);
    await rejectsWith(stopped, { adviceKey: "silent" });
  });

  withTimers("when a cancel does not end the audio", async () => {
    const { client, server } = await running({ cancelTimeoutMs: 100 });
    const stopped = client.stop({ cancel: true });
    mock.timers.tick(60);
    server().raw(new ArrayBuffer(2));
    mock.timers.tick(60);
    await rejectsWith(stopped, { adviceKey: "silent" });
  });

  test("when the client is closed", async () => {
    const { client, events } = await running();
    const stopped = client.stop();
    client.close();
    await rejectsWith(stopped, { adviceKey: "closed" });
    await settled();
    assert.deepEqual(events.map(([type]) => type), ["started", "closed"]);
    client.close();
  });

  test("when it is closed before it is connected", async () => {
    const { client } = clientOf(fakeWebSocket(() => {}));
    const connected = client.connect({ url: URL_ });
    client.close();
    await rejectsWith(connected, { adviceKey: "closed" });
  });
});

describe("misuse is told at once", () => {
  test("two connections, two tasks, a stop without a task", async () => {
    const { client } = await running();
    assert.throws(() => client.connect({ url: URL_ }), /one connection/);
    assert.throws(() => client.start({}), /while running/);
    const idle = clientOf(fakeWebSocket()).client;
    assert.throws(() => idle.start({}), /while new/);
    assert.throws(() => idle.stop(), /while new/);
    assert.equal(idle.run("x"), false);
  });
});
