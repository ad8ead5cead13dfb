// What both views do with the page around them: keep their keys, say a word, save a file.

import { element } from "./dom";

export function isChord(event: KeyboardEvent): boolean {
  return event.ctrlKey || event.metaKey || event.altKey;
}

/**
 * Keep plain keys from the notebook while a view has the focus: arrows would move between cells.
 * It listens before JupyterLab does, which leaves a target with this attribute alone.
 * Returns how to end that.
 */
export function claimKeys(node: HTMLElement, ours: (event: KeyboardEvent) => boolean): () => void {
  const claim = (event: KeyboardEvent): void => {
    const { target } = event;
    if (!(target instanceof Element) || !node.contains(target)) return;
    const kept = !isChord(event) && event.key !== "Escape" && ours(event);
    target.toggleAttribute("data-lm-suppress-shortcuts", kept);
  };
  window.addEventListener("keydown", claim, { capture: true });
  return () => window.removeEventListener("keydown", claim, { capture: true });
}

/** Show a few words for two seconds. */
export function say(root: HTMLElement, text: string): void {
  const note = element("div", "bxl-toast", text);
  note.role = "status";
  root.append(note);
  window.setTimeout(() => note.remove(), 2000);
}

/** Save text under a name that is ours. */
export function saveText(parts: BlobPart[], name: string): void {
  const url = URL.createObjectURL(new Blob(parts, { type: "text/plain" }));
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  link.click();
  window.setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

/** A name for a file that a process's name cannot choose freely. */
export function fileName(process: string, ending: string): string {
  const name = process.replace(/[^\p{L}\p{N}_.-]+/gu, "-").replace(/^[.-]+|[.-]+$/g, "");
  return `${name.slice(0, 80) || "log"}.${ending}`;
}
