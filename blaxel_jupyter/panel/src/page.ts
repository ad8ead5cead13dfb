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

/**
 * Tell by its background whether a view is dark, where no JupyterLab says so; look again each second.
 * Returns how to end that.
 */
export function followTheme(root: HTMLElement): () => void {
  const look = (): void => {
    if (document.body.dataset.jpThemeLight) return;
    // This one colour is always written as color(srgb r g b); nothing outlines the panel.
    const parts = getComputedStyle(root).outlineColor.match(/[\d.]+/g) ?? [];
    const light = parts.slice(0, 3).reduce((sum, part) => sum + Number(part), 0);
    root.classList.toggle("bxl-dark", parts.length > 0 && light < 1.5);
  };
  requestAnimationFrame(look); // it is in the page by then
  const timer = window.setInterval(look, 1000);
  return () => clearInterval(timer);
}

/** What is selected in a node, if anything is; a shadow root, as in marimo, has a selection of its own. */
export function selected(node: HTMLElement): Selection | null {
  const root = node.getRootNode() as Partial<Document>;
  const selection = root.getSelection?.() ?? document.getSelection();
  const inside = selection && !selection.isCollapsed && node.contains(selection.anchorNode);
  return inside ? selection : null;
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
