// Copying, also where the page is not a secure context.

/**
 * @param {string} text
 * @returns {Promise<boolean>} it is in the clipboard
 */
export async function copyText(text) {
  try {
    // Browsers hide it from pages that come over plain HTTP from another machine.
    if (navigator.clipboard) {
      await navigator.clipboard.writeText(text);
      return true;
    }
  } catch {
    // Refused (no focus, no permission): the old way may still work.
  }
  const field = document.createElement("textarea");
  field.value = text;
  field.className = "hidden";
  document.body.append(field);
  field.select();
  const copied = document.execCommand("copy");
  field.remove();
  return copied;
}

/**
 * Copies on click and says so on the button for a moment.
 *
 * @param {HTMLButtonElement} button
 * @param {() => string} text
 * @param {import("./i18n.js").I18n} i18n
 */
export function connectCopy(button, text, i18n) {
  button.addEventListener("click", async () => {
    const copied = await copyText(text());
    button.textContent = i18n.t(copied ? "copied" : "copy.failed");
    setTimeout(() => {
      button.textContent = i18n.t(button.dataset.i18n);
    }, 1500);
  });
}

/**
 * Hands a file to the user.
 *
 * @param {Blob} blob
 * @param {string} name
 */
export function download(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  // The download has begun only after this task.
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
