// The search worker: built to one text, started from a Blob (the panel travels as a single file).

import { answer, type Reply, type Request } from "./matching";

const scope = self as unknown as {
  onmessage: (event: MessageEvent<Request>) => void;
  postMessage: (reply: Reply) => void;
};
scope.onmessage = (event) => scope.postMessage(answer(event.data));
