// Why a task failed, and which kind of advice helps.

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
 * `adviceKey` with the server's `status`: token, message, parameter, idle, busy, directive, state,
 * sample-rate, ssml, server, model or unknown. With status 0: unreachable (no connection came
 * about), connection-lost, silent (no answer in time), message (an answer that is not JSON),
 * closed (the client's `close()` was called).
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
