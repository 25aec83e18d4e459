// A slider with its value in words and a way back to the start.

import { element } from "./dom.js";

/**
 * @param {HTMLElement} root is filled; its `data-slider` becomes the input's id
 * @param {object} options
 * @param {number} options.min
 * @param {number} options.max
 * @param {number} options.step
 * @param {number} options.start the value at first, and after a reset
 * @param {(value: number) => string} options.words
 * @returns {HTMLInputElement}
 */
export function makeSlider(root, { min, max, step, start, words }) {
  const id = root.dataset.slider;
  const label = element("label", { htmlFor: id, dataset: { i18n: `${id}.label` } });
  const input = element("input", { type: "range", id, min, max, step });
  input.setAttribute("form", "form");
  input.defaultValue = String(start);
  const output = element("output", { htmlFor: id });
  const reset = element("button", { type: "button", className: "reset", textContent: "↺" });
  reset.setAttribute("data-i18n-title", "slider.reset");
  reset.setAttribute("data-i18n-aria-label", "slider.reset");
  const show = () => {
    output.value = words(input.valueAsNumber);
    input.setAttribute("aria-valuetext", output.value);
    reset.disabled = input.valueAsNumber === start;
  };
  input.addEventListener("input", show);
  reset.addEventListener("click", () => {
    input.value = String(start);
    input.dispatchEvent(new Event("input", { bubbles: true }));
    input.focus();
  });
  root.append(label, input, output, reset);
  show();
  return input;
}
