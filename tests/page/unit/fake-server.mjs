// A WebSocket whose other end is the test.

/**
 * @param {(server: FakeSocket, url: string) => void} [onConnect] what the server does at a
 *   connection; by default it accepts
 * @returns {typeof WebSocket & {sockets: FakeSocket[]}}
 */
export function fakeWebSocket(onConnect = (server) => server.accept()) {
  const sockets = [];
  return class extends FakeSocket {
    static sockets = sockets;

    constructor(url) {
      super(url);
      sockets.push(this);
      queueMicrotask(() => onConnect(this, url));
    }
  };
}

class FakeSocket {
  /** Messages from the client: `{header, payload}`. */
  received = [];
  closeCode = null;
  /** What the server does with each message of the client. */
  onclientmessage = () => {};

  constructor(url) {
    this.url = url;
  }

  send(text) {
    const message = JSON.parse(text);
    this.received.push(message);
    queueMicrotask(() => this.onclientmessage(message, this));
  }

  close(code = 1005) {
    this.drop(code);
  }

  // What follows is done by the server.

  accept() {
    this.onopen();
  }

  tell(name, payload, header = {}) {
    const all = { name, status: 20000000, status_text: "GATEWAY|SUCCESS|Success.", ...header };
    this.raw(JSON.stringify({ header: all, payload }));
  }

  raw(data) {
    if (this.closeCode === null) this.onmessage({ data });
  }

  refuse() {
    this.onerror();
    this.drop(1006);
  }

  drop(code, reason = "") {
    if (this.closeCode !== null) return;
    this.closeCode = code;
    queueMicrotask(() => this.onclose({ code, reason }));
  }

  names() {
    return this.received.map(({ header }) => header.name);
  }
}

/**
 * A server that says `audio` for every text: SynthesisStarted at once, all else after Stop.
 *
 * @param {ArrayBuffer[]} audio
 */
export function speaking(audio) {
  return (server) => {
    server.onclientmessage = ({ header, payload }) => {
      if (header.name === "StartSynthesis") server.tell("SynthesisStarted", { index: 0 });
      if (header.name !== "StopSynthesis") return;
      if (!payload.cancel) {
        server.tell("SentenceBegin", { index: 1 });
        for (const chunk of audio) server.raw(chunk);
        server.tell("SentenceEnd", { index: 1, subtitles: [] });
      }
      server.tell("SynthesisCompleted", { index: 1, measureLength: 4 });
    };
    server.accept();
  };
}
