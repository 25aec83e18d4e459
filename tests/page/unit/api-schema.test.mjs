import assert from "node:assert/strict";
import { test } from "node:test";

import { blocks, resolved, rows, sections } from "../../../static/js/api-schema.js";

const DOCUMENT = {
  tags: [{ name: "Speech" }, { name: "Server" }],
  paths: {
    "/v1/speak": { post: { tags: ["Speech"], operationId: "a" } },
    "/speak": { post: { tags: ["Speech"], operationId: "b", "x-alias-of": "/v1/speak" } },
    "/": { get: { tags: ["Server"], operationId: "c" } },
  },
  components: {
    schemas: {
      Format: { enum: ["mp3", "wav"] },
      Audio: {
        type: "object",
        properties: {
          format: { $ref: "#/components/schemas/Format", default: "mp3", description: "As what." },
          speed: { anyOf: [{ type: "number", minimum: 0.5, maximum: 2 }, { type: "null" }] },
        },
      },
      Message: {
        type: "object",
        required: ["text"],
        properties: {
          text: { type: "string", maxLength: 9 },
          audio: { $ref: "#/components/schemas/Audio", required: ["format"] },
          words: { type: "array", items: { $ref: "#/components/schemas/Word" } },
          times: { type: "array", items: { type: "integer" } },
        },
      },
      Word: { type: "object", properties: { at: { type: "integer", minimum: 0 } } },
    },
  },
};
const MESSAGE = { $ref: "#/components/schemas/Message" };
const row = (more) => ({
  required: false,
  fallback: undefined,
  choices: [],
  range: "",
  about: "",
  ...more,
});

test("fields are rows, those of objects and lists below them", () => {
  assert.deepEqual(rows(MESSAGE, DOCUMENT), [
    row({ name: "text", type: "string", required: true, range: "0 … 9 characters" }),
    row({ name: "audio", type: "object" }),
    row({
      name: "audio.format",
      type: "string",
      required: true,
      fallback: "mp3",
      choices: ["mp3", "wav"],
      about: "As what.",
    }),
    row({ name: "audio.speed", type: "number", range: "0.5 … 2" }),
    row({ name: "words", type: "object[]" }),
    row({ name: "words[].at", type: "integer", range: "0 … " }),
    row({ name: "times", type: "integer[]" }),
  ]);
});

test("a list at the top has its items' fields", () => {
  const found = rows({ type: "array", items: { $ref: "#/components/schemas/Word" } }, DOCUMENT);
  assert.deepEqual(
    found.map(({ name }) => name),
    ["[].at"],
  );
});

test("what is said beside a reference counts", () => {
  const schema = { $ref: "#/components/schemas/Format", description: "Beside." };
  assert.deepEqual(resolved(schema, DOCUMENT), { enum: ["mp3", "wav"], description: "Beside." });
});

test("operations stand with their tags, aliases with what they are aliases of", () => {
  const [speech, server] = sections(DOCUMENT);
  assert.deepEqual(
    speech.operations.map(({ path, aliases }) => [path, aliases]),
    [["/v1/speak", ["/speak"]]],
  );
  assert.deepEqual(
    server.operations.map(({ operationId }) => operationId),
    ["c"],
  );
});

test("paragraphs, lists, code and links", () => {
  assert.deepEqual(blocks("Say `x` or\n[more](https://example.org/a).\n\n* one\n* `two`"), [
    {
      list: false,
      items: [
        [
          { kind: "text", text: "Say " },
          { kind: "code", text: "x" },
          { kind: "text", text: " or\n" },
          { kind: "link", text: "more", url: "https://example.org/a" },
          { kind: "text", text: "." },
        ],
      ],
    },
    { list: true, items: [[{ kind: "text", text: "one" }], [{ kind: "code", text: "two" }]] },
  ]);
  assert.deepEqual(blocks(""), []);
  assert.deepEqual(blocks("[x](javascript:alert)")[0].items[0][0].kind, "text");
});
