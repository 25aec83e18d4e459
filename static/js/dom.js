// Making elements without HTML in strings.

/**
 * @param {string} tag
 * @param {Record<string, unknown>} [properties] set as properties where the element has such a
 *   one, else as attributes; `dataset` takes an object; undefined and null are left out
 * @param {...(Node | string | null)} children null is left out
 * @returns {HTMLElement}
 */
export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null) continue;
    if (name === "dataset") Object.assign(made.dataset, value);
    else if (name in made) made[name] = value;
    else made.setAttribute(name, String(value));
  }
  made.append(...children.filter((child) => child !== null));
  return made;
}

/**
 * @param {string} id
 * @returns {HTMLElement} never null: a missing one is a mistake in index.html
 */
export function byId(id) {
  const found = document.getElementById(id);
  if (!found) throw new Error(`index.html has no #${id}`);
  return found;
}
