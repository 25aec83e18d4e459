// Aliyun's FlowingSpeechSynthesizer over a browser's WebSocket; see docs/protocols/aliyun.md.

import { Deadline } from "./deadline.js";

const NAMESPACE = "FlowingSpeechSynthesizer";
/** The server takes 20,000 in one message, where a Han character counts 2. */
const PIECE_LENGTH = 8000;

const ADVICE = new Map([
  [40000001, "token"],
  [40000002, "message"],
  [40000003, "parameter"],
  [40000004, "idle"],
  [40000005, "busy"],
  [40010003, "directive"],
  [40010005, "state"],
  [41010101, "sample-rate"],
  [41020001, "ssml"],
  [50000000, "server"],
  [51020001, "model"],
]);

/**
 * Why a task failed. `adviceKey` says which kind of advice helps. With the server's `status`:
 * token, message, parameter, idle, busy, directive, state, sample-rate, ssml, server, model or
 * unknown. With status 0: unreachable (no connection came about), connection-lost, silent (no
 * answer in time), closed (`close()` was called).
 */
export class AliyunError extends Error {
  /** @param {{status?: number, text: string, adviceKey?: string}} failure */
  constructor({ status = 0, text, adviceKey = ADVICE.get(status) ?? "unknown" }) {
    super(text);
    this.name = "AliyunError";
    this.status = status;
    this.text = text;
    this.adviceKey = adviceKey;
  }
}

/**
 * One connection; tasks may follow one another on it. Events and their `detail`:
 *
 *   frame           {direction: "in" | "out", atMs, name, size, body}: size in bytes; name
 *                   "audio" and body null for binary frames; a token is in none
 *   started         the payload of SynthesisStarted
 *   sentence-begin  {index}
 *   audio           ArrayBuffer; none after a cancel
 *   subtitles       {index, subtitles}: all that is known of the sentence so far
 *   sentence-end    {index, subtitles}
 *   completed       {index, measureLength}
 *   failed          AliyunError, once, also when a promise rejects with the same; not after close()
 *   closed          {code, reason}
 *
 * Who listens to `failed` need not handle the rejected promises.
 */
export class AliyunClient extends EventTarget {
  #WebSocket;
  #limits;
  #socket = null;
  #taskId = "";
  #cancelled = false;
  #appkey = "";
  /** @type {{connect?: Deadline, start?: Deadline, stop?: Deadline}} */
  #awaited = {};
  /** @type {"new" | "connecting" | "idle" | "starting" | "running" | "stopping" | "over"} */
  state = "new";

  /**
   * @param {object} [options]
   * @param {typeof WebSocket} [options.WebSocket]
   * @param {number} [options.connectTimeoutMs]
   * @param {number} [options.startTimeoutMs] until SynthesisStarted
   * @param {number} [options.silenceTimeoutMs] after stop, between two messages of the server
   * @param {number} [options.cancelTimeoutMs] until SynthesisCompleted after a cancel
   */
  constructor({
    WebSocket = globalThis.WebSocket,
    connectTimeoutMs = 10_000,
    startTimeoutMs = 10_000,
    silenceTimeoutMs = 30_000,
    cancelTimeoutMs = 5_000,
  } = {}) {
    super();
    this.#WebSocket = WebSocket;
    this.#limits = { connectTimeoutMs, startTimeoutMs, silenceTimeoutMs, cancelTimeoutMs };
  }

  /**
   * Once per client.
   *
   * @param {{url: string, token?: string, appkey?: string}} server url: `ws://host/ws/v1/tts`
   * @returns {Promise<void>} rejects with an AliyunError
   */
  connect({ url, token = "", appkey = "cosystream" }) {
    if (this.state !== "new") throw new Error("a client has one connection; make a new client");
    this.#appkey = appkey;
    const address = new URL(url);
    // Browsers cannot set headers on a WebSocket.
    if (token) address.searchParams.set("token", token);
    this.state = "connecting";
    try {
      this.#socket = new this.#WebSocket(address.href);
    } catch (error) {
      // A page that came over https may not open ws://; the reason is in the message only.
      this.#fail({ text: error.message, adviceKey: "unreachable" });
      return rejected(closedError());
    }
    this.#socket.binaryType = "arraybuffer";
    this.#socket.onopen = () => {
      this.state = "idle";
      this.#awaited.connect?.resolve();
    };
    this.#socket.onmessage = ({ data }) => this.#receive(data);
    this.#socket.onclose = ({ code, reason }) => this.#closed(code, reason);
    return this.#await("connect", this.#limits.connectTimeoutMs);
  }

  /**
   * Starts a task.
   *
   * @param {object} parameters the payload of StartSynthesis
   * @returns {Promise<object>} the payload of SynthesisStarted; rejects with an AliyunError
   */
  start(parameters) {
    if (this.state === "over") return rejected(closedError());
    if (this.state !== "idle") throw new Error(`start() while ${this.state}`);
    this.state = "starting";
    this.#taskId = newId();
    this.#cancelled = false;
    this.#send("StartSynthesis", parameters);
    return this.#await("start", this.#limits.startTimeoutMs);
  }

  /**
   * Sends text of any length; SynthesisStarted need not be awaited.
   *
   * @param {string} text
   * @returns {boolean} false: the task is over by now
   */
  run(text) {
    if (!this.#takesText()) return false;
    for (const piece of split(text)) this.#send("RunSynthesis", { text: piece });
    return true;
  }

  /**
   * Asks for what was sent to be spoken now.
   *
   * @returns {boolean} false: the task is over by now
   */
  flush() {
    if (!this.#takesText()) return false;
    this.#send("FlushText", {});
    return true;
  }

  /**
   * No more text comes. With `cancel` (barge-in, also after a plain stop) the server stops at
   * once and no more audio is announced.
   *
   * @param {{cancel?: boolean}} [options]
   * @returns {Promise<object>} the payload of SynthesisCompleted; rejects with an AliyunError
   */
  stop({ cancel = false } = {}) {
    if (this.state === "over") return rejected(closedError());
    const again = this.state === "stopping";
    if (!again && !this.#takesText()) throw new Error(`stop() while ${this.state}`);
    if (cancel ? !this.#cancelled : !again) {
      this.#send("StopSynthesis", cancel ? { cancel: true } : {});
    }
    this.#cancelled ||= cancel;
    this.state = "stopping";
    const { cancelTimeoutMs, silenceTimeoutMs } = this.#limits;
    return this.#await("stop", this.#cancelled ? cancelTimeoutMs : silenceTimeoutMs);
  }

  /** Ends the connection at any time; the server then stops what it still does for us. */
  close() {
    if (this.state === "new" || this.state === "over") return;
    this.#end(closedError());
  }

  #takesText() {
    return this.state === "starting" || this.state === "running";
  }

  #send(name, payload) {
    const body = {
      header: {
        appkey: this.#appkey,
        message_id: newId(),
        task_id: this.#taskId,
        namespace: NAMESPACE,
        name,
      },
      payload,
    };
    const text = JSON.stringify(body);
    this.#emit("frame", frame("out", name, text, body));
    this.#socket.send(text);
  }

  #receive(data) {
    if (!this.#cancelled) this.#awaited.stop?.extend();
    if (typeof data !== "string") {
      this.#emit("frame", frame("in", "audio", data, null));
      if (!this.#cancelled && this.state !== "over") this.#emit("audio", data);
      return;
    }
    let body;
    try {
      body = JSON.parse(data);
    } catch (error) {
      if (!(error instanceof SyntaxError)) throw error;
      this.#emit("frame", frame("in", "?", data, data));
      this.#fail({ text: "the server sent text that is not JSON", adviceKey: "message" });
      return;
    }
    this.#emit("frame", frame("in", body?.header?.name ?? "?", data, body));
    if (this.state !== "over") this.#handle(body?.header ?? {}, body?.payload ?? {});
  }

  #handle(header, payload) {
    switch (header.name) {
      case "SynthesisStarted":
        if (this.state === "starting") this.state = "running";
        this.#emit("started", payload);
        this.#awaited.start?.resolve(payload);
        break;
      case "SentenceBegin":
        this.#emit("sentence-begin", payload);
        break;
      case "SentenceSynthesis":
        this.#emit("subtitles", payload);
        break;
      case "SentenceEnd":
        this.#emit("sentence-end", payload);
        break;
      case "SynthesisCompleted":
        this.state = "idle";
        this.#emit("completed", payload);
        this.#awaited.start?.resolve({});
        this.#awaited.stop?.resolve(payload);
        break;
      case "TaskFailed":
        this.#fail({
          status: header.status ?? 0,
          text: header.status_text || header.status_message || "the task failed",
        });
        break;
      default: // A newer server may say more than this page knows; the frame log shows it.
    }
  }

  #closed(code, reason) {
    const during = this.state;
    this.#emit("closed", { code, reason });
    if (during === "connecting") {
      this.#fail({ text: `no connection (WebSocket close ${code})`, adviceKey: "unreachable" });
    } else if (during === "idle") {
      this.state = "over";
    } else {
      const why = reason ? `${code} ${reason}` : code;
      this.#fail({ text: `the connection broke (${why})`, adviceKey: "connection-lost" });
    }
  }

  #fail(failure) {
    if (this.state === "over") return;
    const error = new AliyunError(failure);
    this.#end(error);
    this.#emit("failed", error);
  }

  #end(error) {
    this.state = "over";
    this.#socket?.close();
    for (const deadline of Object.values(this.#awaited)) deadline?.reject(error);
  }

  /** The promise for the server's answer; it always settles. */
  #await(name, timeoutMs) {
    let deadline = this.#awaited[name];
    if (deadline && !deadline.over) {
      deadline.extend(timeoutMs);
    } else {
      const text = `no answer from the server in time (${name})`;
      deadline = new Deadline(timeoutMs, () => this.#fail({ text, adviceKey: "silent" }));
      this.#awaited[name] = deadline;
    }
    return deadline.promise;
  }

  #emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

function closedError() {
  return new AliyunError({ text: "the connection is closed", adviceKey: "closed" });
}

function rejected(error) {
  const promise = Promise.reject(error);
  promise.catch(() => {});
  return promise;
}

function frame(direction, name, data, body) {
  const size = typeof data === "string" ? new TextEncoder().encode(data).length : data.byteLength;
  return { direction, atMs: performance.now(), name, size, body };
}

/** 32 hexadecimal digits; `crypto.randomUUID` is missing on pages that came over plain HTTP. */
function newId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function* split(text) {
  for (let begin = 0; begin < text.length; ) {
    let end = Math.min(begin + PIECE_LENGTH, text.length);
    if (end < text.length && isHighSurrogate(text.charCodeAt(end - 1))) end -= 1;
    yield text.slice(begin, end);
    begin = end;
  }
}

function isHighSurrogate(unit) {
  return unit >= 0xd800 && unit < 0xdc00;
}
