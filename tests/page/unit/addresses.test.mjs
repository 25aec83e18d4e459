import assert from "node:assert/strict";
import { test } from "node:test";

import { restAddress, serverBase, speechAddress } from "../../../static/js/addresses.js";

const CASES = [
  ["http://host:8000/", "http://host:8000/"],
  ["http://host:8000/index.html?token=x#y", "http://host:8000/"],
  ["http://host:8000/ws/v1/tts/test?token=x", "http://host:8000/"],
  ["http://host:8000/ws/v1/tts/test/", "http://host:8000/"],
  ["https://host/speech/", "https://host/speech/"],
  ["https://host/a/b/ws/v1/tts/test", "https://host/a/b/"],
  ["ws://host:8000/ws/v1/tts", "http://host:8000/"],
  ["wss://host/a/ws/v1?token=x", "https://host/a/"],
];

for (const [url, base] of CASES) {
  test(`${url} belongs to ${base}`, () => assert.equal(serverBase(url).href, base));
}

test("addresses keep sub path and security", () => {
  assert.equal(speechAddress("https://host/a/ws/v1/tts/test"), "wss://host/a/ws/v1/tts");
  assert.equal(speechAddress("http://host:8000/?token=x"), "ws://host:8000/ws/v1/tts");
  assert.equal(speechAddress("ws://host:8000/ws/v1/tts"), "ws://host:8000/ws/v1/tts");
  assert.equal(restAddress("wss://host/a/ws/v1/tts"), "https://host/a/stream/v1/tts");
});
