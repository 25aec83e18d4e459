// What openapi.json says, as elements.

import { blocks, describe, resolved, rows } from "./api-schema.js";
import { connectCopy } from "./clipboard.js";
import { element } from "./dom.js";

const LINK = { target: "_blank", rel: "noreferrer" };

/**
 * @param {string} text
 * @returns {HTMLElement[]} paragraphs and lists
 */
export function prose(text) {
  return blocks(text).map(({ list, items }) => {
    const parts = items.map((pieces) => pieces.map(piece));
    if (!list) return element("p", {}, ...parts[0]);
    return element("ul", {}, ...parts.map((part) => element("li", {}, ...part)));
  });
}

function piece({ kind, text, url }) {
  if (kind === "code") return element("code", {}, text);
  return kind === "link" ? element("a", { href: url, ...LINK }, text) : text;
}

function method(name) {
  return element("span", { className: `method ${name}` }, name.toUpperCase());
}

export class ApiView {
  /**
   * @param {object} document openapi.json
   * @param {import("./i18n.js").I18n} i18n
   */
  constructor(document, i18n) {
    this.document = document;
    this.i18n = i18n;
  }

  /** The way to every operation. */
  contents(sections) {
    return sections.flatMap(({ tag, operations }) => [
      element("h2", {}, tag.name),
      element(
        "ul",
        {},
        ...operations.map(({ operationId, path, method: name }) =>
          element("li", {}, element("a", { href: `docs#${operationId}` }, method(name), path)),
        ),
      ),
    ]);
  }

  /** A protocol with its operations. */
  section({ tag, operations }) {
    const { url } = tag.externalDocs;
    const more = element("a", { href: url, ...LINK, dataset: { i18n: "api.more" } });
    return element(
      "section",
      { lang: "en" },
      element("h2", {}, tag.name),
      ...prose(tag.description),
      element("p", {}, more),
      ...operations.map((one) => this.#operation(one)),
    );
  }

  #operation(operation) {
    const { operationId, path, summary, description, aliases } = operation;
    const head = element(
      "summary",
      {},
      method(operation.method),
      element("span", { className: "path" }, path),
      element("span", { className: "what" }, summary),
    );
    const also = aliases.map((alias) => element("code", {}, alias));
    const body = element(
      "div",
      {},
      ...prose(description ?? ""),
      also.length ? element("p", {}, this.#say("api.also"), " ", ...also) : null,
      operation.security?.length === 0 ? element("p", {}, this.#say("api.public")) : null,
      ...this.#examples(operation["x-codeSamples"] ?? []),
      ...this.#parameters(operation.parameters ?? []),
      ...this.#body(operation.requestBody),
      ...this.#replies(operation.responses),
    );
    return element("details", { className: "operation", id: operationId }, head, body);
  }

  #say(key) {
    return element("span", { dataset: { i18n: key } });
  }

  #needed() {
    const mark = element("span", { className: "needed" }, " *");
    mark.setAttribute("data-i18n-title", "api.needed");
    return mark;
  }

  #heading(key, ...rest) {
    return element("h3", {}, this.#say(key), ...rest);
  }

  #examples(samples) {
    return samples.map(({ label, source }) => {
      const button = element("button", { type: "button", dataset: { i18n: "copy" } });
      connectCopy(button, () => source, this.i18n);
      return element(
        "div",
        { className: "code" },
        element("div", { className: "head" }, element("h3", {}, label), button),
        element("pre", { tabIndex: 0 }, element("code", {}, source)),
      );
    });
  }

  #parameters(parameters) {
    if (!parameters.length) return [];
    const found = parameters.map(({ name, in: place, required, description, schema }) => {
      const facts = describe(resolved(schema, this.document), this.document);
      return { ...facts, name, required, about: description ?? facts.about, place };
    });
    return [this.#heading("api.parameters"), this.#table(found)];
  }

  #body(body) {
    if (!body) return [];
    const types = Object.keys(body.content);
    const codes = types.flatMap((type) => [" ", element("code", {}, type)]);
    const { schema } = body.content[types[0]];
    return [this.#heading("api.body", ...codes), this.#table(rows(schema, this.document))];
  }

  #replies(replies) {
    const lines = Object.entries(replies).map(([status, { description, content = {} }]) => {
      const types = Object.keys(content).map((type) => element("code", {}, type));
      return element(
        "tr",
        {},
        element("td", {}, element("b", {}, status)),
        element("td", {}, ...prose(description), ...this.#fields(content)),
        element("td", {}, ...types.flatMap((type) => [type, " "])),
      );
    });
    return [
      this.#heading("api.replies"),
      element(
        "div",
        { className: "table replies" },
        element("table", {}, element("tbody", {}, ...lines)),
      ),
    ];
  }

  /** The fields of a JSON reply, to be unfolded. */
  #fields(content) {
    const schema = content["application/json"]?.schema;
    if (!schema) return [];
    const kinds = schema.anyOf ?? [schema];
    const tables = kinds.map((kind) => rows(kind, this.document)).filter(({ length }) => length);
    return tables.map((found) =>
      element("details", {}, element("summary", {}, this.#say("api.fields")), this.#table(found)),
    );
  }

  #table(found) {
    return element(
      "div",
      { className: "table" },
      element("table", {}, element("tbody", {}, ...found.map((row) => this.#row(row)))),
    );
  }

  #row({ name, required, type, fallback, choices, range, about, place }) {
    const facts = [
      place && place !== "query" ? place : "",
      range,
      choices.length ? choices.map((one) => JSON.stringify(one)).join(", ") : "",
    ].filter(Boolean);
    const kept = fallback === undefined ? "" : `= ${JSON.stringify(fallback)}`;
    return element(
      "tr",
      {},
      element(
        "td",
        {},
        element("code", {}, name),
        required ? this.#needed() : null,
      ),
      element("td", {}, type, element("span", { className: "facts default" }, kept)),
      element(
        "td",
        {},
        ...prose(about),
        ...facts.map((fact) => element("span", { className: "facts" }, fact)),
      ),
    );
  }
}
