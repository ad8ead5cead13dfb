// Tell the states that a line went through, as a progress bar does: what stands between carriage returns.

const CR = 13;
const READ = 1 << 20; // bytes of a line that are read: its end

/** The states of a line, the last one last, and whether there were more before. */
export function states(line: Uint8Array): { all: string[]; more: boolean } {
  if (!line.includes(CR)) return { all: [], more: false };
  const text = new TextDecoder().decode(line.subarray(-READ));
  return { all: text.split("\r").filter(Boolean), more: line.length > READ };
}
