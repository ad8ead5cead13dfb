// Walk a log's blocks in order, wherever they are: those that are not held are fetched on the way, a few
// ahead. It gives up when nobody answers; what to do with the rows is the caller's.

import type { LogSession } from "./header";
import type { LineStore } from "./store";

export type Block = NonNullable<ReturnType<LineStore["block"]>> & { from: number };
type Walked = Pick<LogSession, "store" | "silent" | "subscribe">;

/**
 * Give all rows there are now from `from` on, block by block; the last one may have some more.
 * Throws an error with words for the user when rows cannot be had.
 */
export async function* walk(session: Walked, from = 0): AsyncGenerator<Block> {
  const { store } = session;
  const { length } = store;
  for (let row = from; row < length; ) {
    const block = store.block(row);
    if (block) {
      yield { ...block, from: row };
      row += block.n;
    } else await arrival(session, row);
  }
}

/** Wait until a row is held. */
function arrival(session: Walked, row: number): Promise<void> {
  return new Promise((done, fail) => {
    const look = (): void => {
      const here = session.store.held(row);
      if (!here && !session.silent) {
        session.store.want(row);
        return;
      }
      end();
      if (here) done();
      else fail(new Error("not all lines are here, and the kernel does not answer"));
    };
    const end = session.subscribe(look);
    look();
  });
}
