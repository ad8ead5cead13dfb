// Draw the panel's few icons, 16 by 16, as strokes in the text's colour.

const PATHS = {
  up: "M4 10l4-4 4 4",
  down: "M4 6l4 4 4-4",
  wrap: "M2 4h12M2 8h9.5a2 2 0 0 1 0 4H8m2-2l-2 2 2 2M2 12h3",
  copy: "M5.5 5.5h8v8h-8zM3 10.5h-.5v-8h8V3",
  download: "M8 2v8M4.5 7L8 10.5 11.5 7M2.5 13.5h11",
  search: "M7 2.5a4.5 4.5 0 1 0 0 9 4.5 4.5 0 0 0 0-9M10.5 10.5L14 14",
  filter: "M2.5 3h11L9.5 8.2v5l-3-1.6V8.2z",
  code: "M5.5 5L2.5 8l3 3M10.5 5l3 3-3 3M9 3.5l-2 9",
  right: "M6 4l4 4-4 4",
  ok: "M3 8.5l3.2 3.2L13 5",
  failed: "M4 4l8 8M12 4l-8 8",
  running: "M8 2.5a5.5 5.5 0 1 1-5.5 5.5",
  unfinished: "M8 2.5a5.5 5.5 0 1 0 0 11 5.5 5.5 0 0 0 0-11M5.5 8h5",
  files: "M4 1.8h5l3.2 3.2v9.2H4zM9 1.8V5h3.2",
  result: "M4 14.2V2.2M4 2.8h8l-2 2.7 2 2.7H4",
  thought: "M3 4.5h10M3 8h7M3 11.5h4",
  dot: "M8 7.4v1.2",
  unknown: "M5.6 5.8A2.5 2.5 0 1 1 8.2 8.3v1.4M8.2 12.2v.3",
} as const;

export type Icon = keyof typeof PATHS;

const SVG = "http://www.w3.org/2000/svg";

export function icon(name: Icon): SVGSVGElement {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 16 16");
  svg.setAttribute("class", "bxl-icon");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", PATHS[name]);
  svg.append(path);
  return svg;
}
