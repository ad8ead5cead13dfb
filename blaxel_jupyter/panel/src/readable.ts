// Keep text readable whatever colours a line asks for: none hides its words in its own background, or in
// the page's.

import { type Colour, palette, type Style } from "./ansi";

const LEAST = 2; // contrast of text to its own background; less is taken for hidden
const PALE = 0.65; // lighter is hidden on a white page,
const DEEP = 0.03; // darker on a dark one

// About what terminals show for 0 to 15; the panel's own differ little.
const BASIC = [...tones(0, 205), ...tones(110, 255)];

function tones(low: number, high: number): [number, number, number][] {
  return Array.from({ length: 8 }, (_, n) => {
    const part = (bit: number) => (n & bit ? high : low);
    return [part(1), part(2), part(4)];
  });
}

/** The colours that are shown for a style, and a class where only the page's background matters. */
export function readable(style: Style): { fg?: Colour; bg?: Colour; tone?: string } {
  const [fg, bg] = style.inverse ? [style.bg, style.fg] : [style.fg, style.bg];
  if (bg !== undefined) {
    const kept = fg !== undefined && contrast(fg, bg) >= LEAST ? fg : undefined;
    if (kept !== undefined || isBasic(bg)) return { fg: kept, bg };
    return { fg: luminance(bg) > 0.18 ? [0, 0, 0] : [255, 255, 255], bg };
  }
  if (fg === undefined || isBasic(fg)) return { fg };
  const light = luminance(fg);
  return { fg, tone: light > PALE ? "bxl-pale" : light < DEEP ? "bxl-deep" : undefined };
}

/** Whether the theme has a colour of its own for it. */
export function isBasic(colour: Colour): colour is number {
  return typeof colour === "number" && colour < 16;
}

/** The contrast of two colours by WCAG 2, from 1 to 21. */
export function contrast(one: Colour, other: Colour): number {
  const [dark, bright] = [luminance(one), luminance(other)].sort((a, b) => a - b);
  return (bright + 0.05) / (dark + 0.05);
}

function luminance(colour: Colour): number {
  const [r, g, b] = rgb(colour).map((value) => {
    const v = value / 255;
    return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

export function rgb(colour: Colour): [number, number, number] {
  if (typeof colour !== "number") return colour;
  return colour < 16 ? BASIC[colour] : palette(colour);
}
