// Write and read the part of a page's address that leads to one line of one process's log.

const PLACE = /^#bxl=(.*):(\d{1,15})$/;
const OTHERS_MS = 2000; // other views of the process go there, too
const PRIVATE = ["token", "reset"]; // of Jupyter's addresses: a key, and an order to forget the layout

/** The page's address with a line of a process in it; lines count from 1. */
export function lineLink(href: string, process: string, line: number): string {
  const url = new URL(href);
  for (const name of PRIVATE) url.searchParams.delete(name);
  url.hash = `bxl=${coded(process)}:${line}`;
  return url.href;
}

/** The row, from 0, of a process's log that an address's hash leads to; null if it does not. */
export function linkedRow(hash: string, process: string): number | null {
  const [, name, line] = PLACE.exec(hash) ?? [];
  if (!line || coded(process) !== name) return null;
  return Number(line) - 1;
}

/** Take the line out of the page's address: a panel that comes later is not led there. */
export function leaveLink(): void {
  const { hash, pathname, search } = location;
  window.setTimeout(() => {
    if (location.hash === hash) history.replaceState(history.state, "", pathname + search);
  }, OTHERS_MS);
}

function coded(process: string): string {
  return encodeURIComponent(process.replace(/[\ud800-\udfff]/gu, "\ufffd"));
}
