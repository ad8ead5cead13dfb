// Find the links in a line as it is shown: http, https and mailto, and nothing else.
// Each says where it really goes. A link that holds a password, or that something invisible is part of,
// is plain text.

import { element } from "./dom";

export interface Link {
  start: number;
  end: number;
  href: string;
  /** Where it goes, the host first, as the browser reads it. */
  title: string;
}

const CANDIDATE =
  /(?<![\w+:./@\\-])(?:https?:\/\/[^\s/]|mailto:)[^\s<>"'`\\^{|}\u200b-\u200f\u2400-\u2421]*/giu;
const HIDDEN = /^(?:[\u200b-\u200f\u2400-\u2421]|<U\+)/; // what ansi.ts makes of characters nobody can see
const TRAILING = /[.,;:!?*_~)\]…。，、）」』]$/;

/** The links of a line; `cut` tells that the line goes on behind what is given. */
export function links(line: string, cut = false): Link[] {
  const found: Link[] = [];
  for (const match of line.matchAll(CANDIDATE)) {
    const start = match.index;
    let text = match[0];
    const rest = line.slice(start + text.length);
    if (HIDDEN.test(rest) || (cut && rest === "")) continue;
    while (TRAILING.test(text) && !balanced(text)) text = text.slice(0, -1);
    const link = target(text);
    if (link) found.push({ start, end: start + text.length, ...link });
  }
  return found;
}

export function anchor({ href, title }: Link): HTMLAnchorElement {
  const made = element("a", "bxl-anchor");
  made.href = href;
  made.target = "_blank";
  made.rel = "noopener noreferrer";
  made.referrerPolicy = "no-referrer";
  made.title = title;
  return made;
}

/** Whether a text ends with a bracket that closes one of its own. */
function balanced(text: string): boolean {
  const close = text.at(-1) as string;
  const open = { ")": "(", "]": "[" }[close] as string;
  return text.split(open).length >= text.split(close).length;
}

function target(text: string): { href: string; title: string } | null {
  let url: URL;
  try {
    url = new URL(text);
  } catch {
    return null;
  }
  const { protocol, username, password, host, pathname, href } = url;
  const fine = host || (protocol === "mailto:" && /^[^@,]+@[^@,]+$/.test(pathname));
  return fine && !username && !password ? { href, title: `${host || pathname} · ${href}` } : null;
}
