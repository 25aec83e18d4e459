// Reads the server's frames, base64 one per line, as the vendor's Node client does, and writes the
// text that it finds in each as a line of JSON; null where that client would log an error.
"use strict"

const { readFileSync } = require("node:fs")
const { gunzipSync } = require("node:zlib")

const FULL_SERVER_RESPONSE = 0b1001

function textOf(frame) {
  const [head, kind, coding] = frame
  let payload = frame.subarray((head & 0x0f) * 4)
  if (kind & 0x01) payload = payload.subarray(4)
  if (kind >> 4 === FULL_SERVER_RESPONSE && payload.length >= 4) {
    payload = payload.subarray(4, 4 + payload.readInt32BE(0))
  }
  if ((coding & 0x0f) === 1) payload = gunzipSync(payload)
  if (coding >> 4 !== 1) return payload.toString("utf8")
  const message = JSON.parse(payload.toString("utf8"))
  return message?.result?.text || message?.payload_msg?.result?.text || ""
}

for (const line of readFileSync(0, "utf8").split("\n").filter(Boolean)) {
  let text = null
  try {
    text = textOf(Buffer.from(line, "base64"))
  } catch {
    // That client would go on as if nothing had been said.
  }
  process.stdout.write(`${JSON.stringify(text)}\n`)
}
