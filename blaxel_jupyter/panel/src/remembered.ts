// Remember how the reader has set the panels, in this browser; where it keeps nothing, nothing is kept.

/** What was chosen for a setting; null if nothing was. */
export function remembered(name: string): string | null {
  try {
    return localStorage.getItem(`blaxel-jupyter.${name}`);
  } catch {
    return null;
  }
}

export function remember(name: string, value: string): void {
  try {
    localStorage.setItem(`blaxel-jupyter.${name}`, value);
  } catch {
    // then it holds for this view
  }
}
