// Draw the panel's few icons, 16 by 16, as strokes in the text's colour.

const PATHS = {
  up: "M4 10l4-4 4 4",
  down: "M4 6l4 4 4-4",
  wrap: "M2 4h12M2 8h9.5a2 2 0 0 1 0 4H8m2-2l-2 2 2 2M2 12h3",
  clock: "M8 2.5a5.5 5.5 0 1 0 0 11 5.5 5.5 0 0 0 0-11M8 5v3l2 1.5",
  copy: "M5.5 5.5h8v8h-8zM3 10.5h-.5v-8h8V3",
  download: "M8 2v8M4.5 7L8 10.5 11.5 7M2.5 13.5h11",
  bars: "M3 13.5v-4M6.3 13.5v-9M9.7 13.5v-6M13 13.5v-10",
  search: "M7 2.5a4.5 4.5 0 1 0 0 9 4.5 4.5 0 0 0 0-9M10.5 10.5L14 14",
  filter: "M2.5 3h11L9.5 8.2v5l-3-1.6V8.2z",
  code: "M5.5 5L2.5 8l3 3M10.5 5l3 3-3 3M9 3.5l-2 9",
  right: "M6 4l4 4-4 4",
} as const;

export type Icon = keyof typeof PATHS;

export function icon(name: Icon): SVGSVGElement {
  return drawing(PATHS[name]);
}

/** An icon of one path. */
export function drawing(path: string): SVGSVGElement {
  const svg = shape("svg", { viewBox: "0 0 16 16", class: "bxl-icon", "aria-hidden": "true" });
  svg.append(shape("path", { d: path }));
  return svg;
}

export function shape<K extends "svg" | "path">(tag: K, attributes: Record<string, string>) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}
