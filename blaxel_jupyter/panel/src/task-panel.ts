// The entry of a task's panel: as panel.ts is a log's. Each panel carries what it shows and no more.

import { followTheme } from "./page";
import { type Model, Session } from "./session";
import { Story, type TaskSession } from "./story";
import { TaskView } from "./task";

export default () => {
  let session: TaskSession;
  return {
    initialize({ model }: { model: Model }) {
      session = new Session(model, new Story());
      return () => session.close();
    },
    render({ el }: { el: HTMLElement }) {
      const view = new TaskView(session);
      el.append(view.root);
      const leave = followTheme(view.root);
      return () => {
        leave();
        view.destroy();
      };
    },
  };
};
