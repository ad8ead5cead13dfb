// The entry of a log's panel: one session for a model, one view for each place it is shown.
// anywidget calls the default export once a model, then initialize once and render once a view.

import type { LogSession } from "./header";
import { LogView } from "./log";
import { followTheme } from "./page";
import { type Model, Session } from "./session";
import { LineStore } from "./store";

export default () => {
  let session: LogSession;
  return {
    initialize({ model }: { model: Model }) {
      session = new Session(model, new LineStore());
      return () => session.close();
    },
    render({ el }: { el: HTMLElement }) {
      const view = new LogView(session);
      el.append(view.root);
      const leave = followTheme(view.root);
      return () => {
        leave();
        view.destroy();
      };
    },
  };
};
