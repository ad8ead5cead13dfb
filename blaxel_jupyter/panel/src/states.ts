// Tell the states that a line went through, as a progress bar does: what stands between carriage returns.

const CR = 13;

/** Where each state begins and ends, in bytes; states without any text are none. */
function* bounds(line: Uint8Array): Generator<[start: number, end: number]> {
  for (let start = 0; start < line.length; ) {
    let end = line.indexOf(CR, start);
    if (end < 0) end = line.length;
    if (end > start) yield [start, end];
    start = end + 1;
  }
}

/** How many states there are, counted up to a limit. */
export function count(line: Uint8Array, limit: number): number {
  let n = 0;
  for (const _ of bounds(line)) if (++n === limit) break;
  return n;
}

/** The first and the last states, `keep` of each at most, with their numbers from 1; and how many there are. */
export function ends(line: Uint8Array, keep: number): { n: number; shown: [number, Uint8Array][] } {
  const first: [number, Uint8Array][] = [];
  const last: [number, Uint8Array][] = [];
  let n = 0;
  for (const [start, end] of bounds(line)) {
    const state = line.subarray(start, end);
    n += 1;
    if (n <= keep) first.push([n, state]);
    else last[n % keep] = [n, state];
  }
  return { n, shown: [...first, ...last.filter(Boolean).sort(([a], [b]) => a - b)] };
}
