// Schemas of an OpenAPI document as rows of a table. Pure.

/**
 * @typedef {object} Row
 * @property {string} name `audio.encoding`, `voices[].name`
 * @property {boolean} required within what it stands in
 * @property {string} type
 * @property {unknown} fallback what it is when absent; undefined where nothing is said
 * @property {unknown[]} choices
 * @property {string} range empty where there is none
 * @property {string} about
 */

/**
 * What a schema stands for, with what is said beside the reference.
 *
 * @param {object} schema
 * @param {object} document
 */
export function resolved(schema, document) {
  const { $ref, ...beside } = schema;
  if (!$ref) return schema;
  const target = $ref
    .slice(2)
    .split("/")
    .reduce((node, key) => node[key], document);
  const required = [...(target.required ?? []), ...(beside.required ?? [])];
  return { ...target, ...beside, ...(required.length ? { required } : {}) };
}

/**
 * The fields of an object, those of its objects below them.
 *
 * @param {object} schema
 * @param {object} document
 * @param {string} [prefix]
 * @returns {Row[]}
 */
export function rows(schema, document, prefix = "") {
  const whole = resolved(schema, document);
  if (whole.type === "array") return rows(whole.items, document, `${prefix}[].`);
  return Object.entries(whole.properties ?? {}).flatMap(([key, field]) => {
    const fact = resolved(field, document);
    const name = `${prefix}${key}`;
    const row = { ...describe(fact, document), name, required: whole.required?.includes(key) };
    return [{ ...row, required: Boolean(row.required) }, ...below(fact, document, name)];
  });
}

function below(schema, document, name) {
  if (schema.type === "array") return rows(schema.items, document, `${name}[].`);
  const choices = (schema.anyOf ?? []).filter(({ $ref }) => $ref);
  return [schema, ...choices].flatMap((one) => rows(one, document, `${name}.`));
}

/**
 * @param {object} schema without a reference
 * @param {object} document
 * @returns {Omit<Row, "name" | "required">}
 */
export function describe(schema, document) {
  return {
    type: typeName(schema, document),
    fallback: schema.default,
    choices: schema.enum ?? [],
    range: range(schema, document),
    about: schema.description ?? "",
  };
}

function typeName(schema, document) {
  const whole = resolved(schema, document);
  if (whole.anyOf) {
    const names = whole.anyOf.map((one) => typeName(one, document));
    return [...new Set(names)].filter((name) => name !== "null").join(" | ");
  }
  if (whole.type === "array") return `${typeName(whole.items ?? {}, document)}[]`;
  return whole.type ?? (whole.enum ? typeof whole.enum[0] : "any");
}

function range(schema, document) {
  const wholes = [schema, ...(schema.anyOf ?? [])].map((one) => resolved(one, document));
  const bound = (key) => wholes.map((one) => one[key]).find((value) => value !== undefined);
  const [least, most] = [bound("minimum"), bound("maximum")];
  const texts = [];
  if (least !== undefined || most !== undefined) texts.push(`${least ?? ""} … ${most ?? ""}`);
  const [shortest, longest] = [bound("minLength"), bound("maxLength")];
  if (shortest !== undefined || longest !== undefined) {
    texts.push(`${shortest ?? 0} … ${longest ?? ""} characters`);
  }
  return texts.join(", ");
}

/**
 * The operations in order, by tag; aliases stand with what they are aliases of.
 *
 * @param {object} document
 * @returns {{tag: object, operations: object[]}[]}
 */
export function sections(document) {
  const all = Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({ path, method, ...operation })),
  );
  const aliases = (path, method) =>
    all.filter((one) => one["x-alias-of"] === path && one.method === method);
  return document.tags.map((tag) => ({
    tag,
    operations: all
      .filter((one) => one.tags.includes(tag.name) && !one["x-alias-of"])
      .map((one) => ({ ...one, aliases: aliases(one.path, one.method).map(({ path }) => path) })),
  }));
}

/**
 * The pieces of a text of the document: its paragraphs and lists, with code and links within.
 *
 * @param {string} text what we use of CommonMark
 * @typedef {{kind: "text" | "code" | "link", text: string, url?: string}} Span
 * @returns {{list: boolean, items: Span[][]}[]}
 */
export function blocks(text) {
  return text
    .split(/\n{2,}/)
    .filter(Boolean)
    .map((block) => {
      const list = block.startsWith("* ");
      const items = list ? block.split(/\n?^\* /m).filter(Boolean) : [block];
      return { list, items: items.map(spans) };
    });
}

function spans(text) {
  return text
    .split(/(`[^`]+`|\[[^\]]+\]\(https:[^)\s]+\))/)
    .filter(Boolean)
    .map((piece) => {
      if (/^`.+`$/.test(piece)) return { kind: "code", text: piece.slice(1, -1) };
      const link = /^\[(.+)\]\((https:.+)\)$/.exec(piece);
      return link ? { kind: "link", text: link[1], url: link[2] } : { kind: "text", text: piece };
    });
}
