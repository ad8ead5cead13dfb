// Draw the icons that only a story has; the others are in icons.ts, and so is how they are drawn.

import { drawing } from "./icons";

const PATHS = {
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

export type StoryIcon = keyof typeof PATHS;

export function storyIcon(name: StoryIcon): SVGSVGElement {
  return drawing(PATHS[name]);
}
