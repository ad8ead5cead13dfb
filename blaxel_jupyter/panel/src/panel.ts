// The panel's entry: one session for a model, one view for each place it is shown.
// anywidget calls the default export once a model, then initialize once and render once a view.

import type { LogSession } from "./header";
import { LogView } from "./log";
import { type Model, Session } from "./session";
import { LineStore } from "./store";
import { Story, type TaskSession } from "./story";
import { TaskView } from "./task";

interface View {
  root: HTMLElement;
  destroy(): void;
}

export default () => {
  let show: () => View;
  return {
    initialize({ model }: { model: Model }) {
      if (model.get("_view") === "task") {
        const session: TaskSession = new Session(model, new Story());
        show = () => new TaskView(session);
        return () => session.close();
      }
      const session: LogSession = new Session(model, new LineStore());
      show = () => new LogView(session);
      return () => session.close();
    },
    render({ el }: { el: HTMLElement }) {
      const view = show();
      el.append(view.root);
      return () => view.destroy();
    },
  };
};
