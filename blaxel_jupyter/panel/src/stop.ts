// What can be asked of a run that goes on, each with what it means for the process: a native list, which
// every keyboard and screen reader knows.

import { element } from "./dom";
import type { Facts, Verb } from "./session";

const MEANINGS: Record<Verb, string> = {
  detach: "Stop following: the process goes on",
  follow: "Follow again",
  stop: "Stop: ask the process to end",
  kill: "Kill: end the process at once",
  cancel: "Cancel the run",
};

/** What a run can be asked now. */
export function verbs({ verbs, status, final }: Facts): Verb[] {
  return verbs ?? (status === "running" && !final ? ["stop", "kill"] : []);
}

export class StopMenu {
  readonly root = element("select", "bxl-button bxl-menu");
  #key = "";

  constructor(private readonly ask: (verb: Verb) => void) {
    this.root.addEventListener("change", () => {
      const verb = this.root.value as Verb;
      this.root.selectedIndex = 0;
      this.ask(verb);
    });
  }

  /** Offer what a run can be asked now; `name` is the run's. */
  update(facts: Facts, name: string): void {
    const offered = verbs(facts);
    this.root.hidden = offered.length === 0;
    const key = offered.join();
    if (key === this.#key) return; // an open list is left alone
    this.#key = key;
    this.root.title = this.root.ariaLabel = `Stop ${name} …`;
    const face = new Option("▾");
    face.hidden = true;
    this.root.replaceChildren(face, ...offered.map((verb) => new Option(MEANINGS[verb], verb)));
  }
}
