// Filter the store block by block in a worker, so that the page never waits: rows are kept as they come,
// new rows are judged as they arrive, and an expression that takes too long is given up.

import { Asker } from "./asker";
import type { LogSession } from "./header";
import { RowSet } from "./row-set";
import type { LineStore } from "./store";

const NOTHING: NonNullable<ReturnType<LineStore["block"]>> = {
  n: 0,
  text: new Uint8Array(),
  flags: new Uint8Array(),
  received: new DataView(new ArrayBuffer(0)),
};

export class Filtering {
  /** The filter in force; empty when there is none. */
  expression = "";
  /** The rows it keeps, of those judged so far. */
  kept = new RowSet();
  /** Rows judged so far. */
  scanned = 0;
  /** Why the filter last asked for is not in force, for the user. */
  error = "";
  #next: string | null = null;
  readonly #asker: Asker;
  readonly #store: LineStore;

  /** `changed` is told whether another filter came into force than before. */
  constructor(
    { store, later }: Pick<LogSession, "store" | "later">,
    private readonly names: () => string[],
    private readonly changed: (other: boolean) => void,
  ) {
    this.#store = store;
    this.#asker = new Asker(later, (message) => this.#answered(message));
  }

  /** Ask for another filter; the one in force stays until it is known that the new one can be read. */
  set(expression: string): void {
    this.#asker.stop();
    this.error = "";
    this.#next = expression;
    if (expression.trim() === "") this.#enforce("");
    else if (expression === this.expression) this.#next = null;
    this.update();
    this.changed(expression.trim() === "");
  }

  /** Go on with the rows that have arrived since. */
  update(): void {
    if (this.#asker.busy) return;
    const from = this.#next === null ? this.scanned : 0;
    const expression = this.#next ?? this.expression;
    if (expression === "" || (this.#next === null && from >= this.#store.length)) return;
    const block = this.#store.length > from ? this.#store.block(from) : NOTHING;
    if (!block) this.#store.want(from); // and go on once it is here
    if (!block && this.#next === null) return;
    const { n, text, flags, received, sources } = block ?? NOTHING; // of none, whether it can be read
    const request = {
      kind: "filter",
      expression,
      names: this.names(),
      from,
      n,
      // Copies: posting a view would clone the whole message it points into.
      text: text.slice(),
      flags: flags.slice(),
      received: new DataView(
        received.buffer.slice(received.byteOffset, received.byteOffset + n * 8),
      ),
      sources: sources?.slice(),
    } as const;
    this.#asker.ask(request, (reply) => {
      const other = this.#next !== null;
      if (other) this.#enforce(expression);
      if (reply.kind === "scan") this.kept.add(from, reply.rows);
      this.scanned = from + n;
      this.changed(other);
    });
  }

  stop(): void {
    this.#asker.stop();
  }

  #answered(message: string): void {
    if (message) {
      this.error = message;
      const late = this.#next === null;
      if (late) this.#enforce(""); // rows that could not be judged are not hidden
      this.#next = null;
      this.changed(late);
    }
    this.update();
  }

  #enforce(expression: string): void {
    this.expression = expression;
    this.kept = new RowSet();
    this.scanned = 0;
    this.#next = null;
  }
}
