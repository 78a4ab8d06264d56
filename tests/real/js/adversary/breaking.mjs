// Probes that change what is the victim's: turns, answers, settings, whole sessions. The form of a probe is told in
// probe.mjs; whether the victim can go on is asked there, after each of them.
import { randomUUID } from "node:crypto";
import { sessionsOnDisk } from "../lib/cli.mjs";
import { until } from "../lib/wait.mjs";
import { asks, ok, told, toldApart } from "./probe.mjs";

const byId = (method, target, more = {}, rest = {}) =>
  asks(`${method} of a ${target} session`, method, {
    target,
    params: ({ id }) => ({ sessionId: id, ...more }),
    bites: ({ answer }) => ok(answer),
    ...rest,
  });

/** It bites if the victim cannot go on; that is asked after every probe. */
const harms = { bites: () => false };

const turns = [
  byId("session.send", "live", { prompt: "from a stranger" }, {
    bites: ({ target, ms }) => target.witnesses("user.message", ms, ({ data }) => data.content === "from a stranger"),
  }),
  byId("session.send", "busy", { prompt: "from a stranger", mode: "immediate" }),
  byId("session.sendMessages", "live", { messages: [{ prompt: "from a stranger" }] }),
  byId("session.abort", "busy", {}, harms),
  byId("session.interruptMainTurn", "busy", {}, harms),
  byId("session.queue.clear", "busy"),
  byId("session.history.clearContext", "live", { prompt: "forget" }, { bites: toldApart }),
  byId("session.schedule.add", "live", { interval: "1h", prompt: "from a stranger" }),
  byId("session.tasks.startAgent", "live", { agentType: "task", prompt: "from a stranger", name: "one" }),
  byId("session.commands.enqueue", "live", { command: "/clear" }),
  asks("session.history.truncate of a live session", "session.history.truncate", {
    target: "live",
    params: ({ id, eventId }) => ({ sessionId: id, eventId }),
    ...harms,
  }),
];

const settings = [
  byId("session.name.set", "live", { name: "taken" }),
  byId("session.mode.set", "live", { mode: "plan" }),
  byId("session.model.switchTo", "live", { modelId: "fake" }),
  byId("session.metadata.setWorkingDirectory", "live", { workingDirectory: "/tmp" }),
  byId("session.provider.add", "live", { providers: [{ name: "thief", type: "openai", baseUrl: "http://127.0.0.1:1/v1" }] }, {
    bites: toldApart, // it is added where the victim itself named its providers
  }),
  byId("session.permissions.setApproveAll", "permission", { enabled: true }),
  byId("session.permissions.setMode", "live", { mode: "allow-all" }),
  byId("session.workspaces.createFile", "live", { path: "planted.md", content: "planted" }),
  byId("session.tools.set", "tool", { tools: [] }, { bites: toldApart }), // a CLI asks for an attached connection
  byId("session.plan.update", "live", { content: "planted" }),
];

const answer = (name, method, target, more, rest = {}) =>
  asks(name, method, {
    target,
    params: ({ id, requestId }) => ({ sessionId: id, requestId, ...more }),
    ...harms,
    ...rest,
  });

/** The same answer, under the name of a session of the stranger's own. */
const crossed = (method, target, more, rest = {}) => ({
  name: `${method} for a foreign request, under a session of one's own`,
  target,
  run: async (stranger, { requestId }) => {
    await stranger.ask(method, { sessionId: await stranger.own(), requestId, ...more });
  },
  ...harms,
  ...rest,
});

const PERMISSION = "session.permissions.handlePendingPermissionRequest";
const TOOL = "session.tools.handlePendingToolCall";
const INPUT = "session.ui.handlePendingUserInput";
const forged = { answer: "forged", wasFreeform: true };

const answers = [
  answer("a permission is granted by a stranger", PERMISSION, "permission", { result: { kind: "approve-once" } }, {
    // The turn goes on as it would by the victim's own word: only that it was decided before tells.
    bites: ({ target, ms }) => target.witnesses("permission.completed", ms),
  }),
  answer("a permission is refused by a stranger", PERMISSION, "permission", { result: { kind: "reject" } }),
  answer("a tool is answered by a stranger", TOOL, "tool", { result: "forged" }),
  answer("a tool fails by a stranger's word", TOOL, "tool", { error: "forged" }),
  answer("the user's input is given by a stranger", INPUT, "input", { response: forged }),
  crossed(PERMISSION, "permission", { result: { kind: "approve-once" } }, { bare: "holds" }),
  crossed(TOOL, "tool", { result: "forged" }),
  crossed(INPUT, "input", { response: forged }, { bare: "holds" }),
  crossed("session.ui.handlePendingElicitation", "input", { result: { action: "cancel" } }, { bare: "holds" }),
  crossed("session.commands.handlePendingCommand", "tool", {}, { bare: "holds" }),
  crossed("session.shell.cancelUserRequested", "tool", {}, { bare: "holds" }),
];

const attaching = [
  ...["live", "stored", "uuid", "uuid stored"].map((target) => ({
    name: `session.resume of a ${target} session`,
    target,
    run: async (stranger, { id }) => {
      await stranger.ask("session.resume", stranger.config(id));
      await stranger.ask("session.getMessages", { sessionId: id });
    },
    bites: ({ stranger, target: it, ...rest }) => told({ answer: stranger.asked[1].answer, stranger, target: it, ...rest }),
  })),
  ...["busy", "tool", "input"].map((target) => ({
    name: `session.resume of a ${target} session brings its events`,
    target,
    run: (stranger, { id }) => stranger.ask("session.resume", stranger.config(id)),
    bites: async ({ stranger, target: it, ms }) => {
      await it.clean(); // the turn goes on, and is told to all who are attached
      await it.turn.catch(() => {});
      return await until("an event", () => stranger.overheard("session.event"), { ms }).catch(() => false);
    },
    spent: true,
  })),
  {
    name: "session.create with the id of a live session attaches to it",
    target: "live",
    twin: "a new id is created",
    wall: "a new id is created",
    run: (stranger, { id }) => stranger.ask("session.create", stranger.config(id)),
    bites: ({ answer: { result } }) => result?.sessionId !== undefined,
  },
  {
    name: "session.create with the id of a stored session blanks it",
    target: "stored",
    twin: "a new id is created",
    wall: "a new id is created",
    run: (stranger, { id }) => stranger.ask("session.create", stranger.config(id)),
    ...harms,
  },
  byId("sessions.open", "stored", { kind: "resume" }, { bites: ({ answer }) => answer.result?.status === "resumed" }),
];

const UNDELETED = "a CLI broadcasts the end of what was never there";

const ending = [
  ...["session.shutdown", "sessions.close", "session.delete", "sessions.delete"].map((method) =>
    byId(method, "live", {}, harms)),
  byId("session.suspend", "live"),
  ...["session.delete", "sessions.delete"].map((method) => byId(method, "stored", {}, harms)),
  asks("sessions.bulkDelete of a live session", "sessions.bulkDelete", {
    target: "live",
    params: ({ id }) => ({ sessionIds: [id] }),
    ...harms,
    wall: UNDELETED,
  }),
  asks("sessions.bulkDelete of a stored session, hidden among one's own", "sessions.bulkDelete", {
    target: "stored",
    params: ({ id }) => ({ sessionIds: [randomUUID(), id, id] }),
    ...harms,
    wall: UNDELETED,
  }),
  byId("session.destroy", "live", {}, { ...harms, bare: "holds" }),
  byId("session.detach", "live", {}, { ...harms, bare: "holds" }),
  byId("sessions.releaseLock", "live", {}, { ...harms, bare: "any" }),
];

/** Requests without an id are notifications: a CLI does nothing on them. */
const notified = ["session.send", "session.abort", "session.shutdown", "session.delete", "sessions.close", "sessions.delete"].map(
  (method) => ({
    name: `${method} as a notification`,
    target: "busy",
    run: async (stranger, { id }) => {
      stranger.tell({ method, params: { sessionId: id, prompt: "from a stranger" } });
      await stranger.ask("ping", {});
      stranger.asked.pop(); // it tells the time
    },
    ...harms,
    bare: "holds",
  }));

const prefixes = [7, 8, 12, 13, 35].flatMap((length) => [
  {
    name: `session.resume by ${length} characters of a UUID`,
    target: "uuid",
    run: (stranger, { id }) => stranger.ask("session.resume", stranger.config(id.slice(0, length))),
    bites: ({ answer: { result }, target }) => result?.sessionId === target.id,
  },
  asks(`session.delete by ${length} characters of a UUID`, "session.delete", {
    target: "uuid stored",
    params: ({ id }) => ({ sessionId: id.slice(0, length) }),
    bites: ({ target, gate }) => !sessionsOnDisk(gate.cli.home).includes(target.id),
  }),
  asks(`sessions.open by ${length} characters of a UUID`, "sessions.open", {
    target: "uuid stored",
    params: ({ id }) => ({ kind: "resume", sessionId: id.slice(0, length) }),
    bites: ({ answer: { result }, target }) => result?.sessionId === target.id,
  }),
]).concat([8, 35].flatMap((length) => [
  asks(`sessions.delete by ${length} characters of a UUID`, "sessions.delete", {
    target: "uuid stored",
    params: ({ id }) => ({ sessionId: id.slice(0, length) }),
    ...harms,
    bare: "holds",
  }),
  asks(`sessions.bulkDelete by ${length} characters of a UUID`, "sessions.bulkDelete", {
    target: "uuid stored",
    params: ({ id }) => ({ sessionIds: [id.slice(0, length)] }),
    ...harms,
    bare: "holds",
  }),
]));

export const breaking = [...turns, ...settings, ...answers, ...attaching, ...ending, ...notified, ...prefixes];
