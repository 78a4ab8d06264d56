// Every method of the installed schema, with params made from the schema and the victim's ids wherever an id may
// stand. It knows no method by its meaning; those that a bare CLI should not be asked are named with a reason.
import fs from "node:fs";
import path from "node:path";

// What the SDKs use beside the schema. `session.create` is left out: it makes what it names, and has its own probes.
const BESIDE = [
  ...["resume", "delete", "destroy", "detach", "getMessages", "getMetadata"].map((verb) => [`session.${verb}`, true]),
  ...["session.list", "session.getLastId", "session.getForeground", "session.setForeground", "status.get",
    "auth.getStatus"].map((method) => [method, false]),
];

function schemaFile() {
  const modules = path.join(import.meta.dirname, "..", "..", "node_modules", "@github");
  const found = fs.readdirSync(modules).map((name) => path.join(modules, name, "schemas", "api.schema.json")).filter(fs.existsSync);
  if (found.length === 0) throw new Error("no schema of the CLI: run `make deps`");
  return found[0];
}

/** All methods that a client may call, and those that a server may: [{method, params}], params a schema or nothing. */
export function methods() {
  const api = JSON.parse(fs.readFileSync(schemaFile(), "utf8"));
  const leaves = (node) =>
    typeof node !== "object" || node === null ? []
      : node.rpcMethod ? [{ method: node.rpcMethod, params: node.params ?? undefined }]
        : Object.values(node).flatMap(leaves);
  const session = { type: "object", properties: { sessionId: { type: "string" } }, required: ["sessionId"] };
  const named = ({ method }) => method !== "connect"; // it may end the connection; it has its own probes
  const beside = BESIDE.map(([method, named]) => ({ method, params: named ? session : undefined }));
  return {
    definitions: api.definitions,
    calls: [...leaves(api.server).filter(named), ...leaves(api.session), ...beside],
    questions: [...leaves(api.clientSession), ...leaves(api.clientGlobal)],
  };
}

/** The victim's id that belongs at a property of this name; nothing where no id belongs. */
function idAt(name, ids) {
  if (/^(prefix|mcSessionId)$|session.*id(s)?$/i.test(name)) return ids.id;
  if (/request.*id$|^handle$|selectionId/i.test(name)) return ids.requestId;
  if (/(tool|task|agent|run|instance|process|connection|client).*id(s)?$/i.test(name)) return ids.toolCallId;
  if (/event.*id$|^(id|ids|queueId|messageId)$/i.test(name)) return ids.eventId;
  return undefined;
}

/** A generator of values that a schema allows. `ids` fill every place where an id may stand. */
class Maker {
  constructor(definitions, ids, optional) {
    Object.assign(this, { definitions, ids, optional });
  }

  /** The schema itself, and its parts joined. */
  whole(schema = {}) {
    const named = schema.$ref && { ...this.definitions[schema.$ref.split("/").at(-1)] };
    const parts = (schema.allOf ?? []).map((part) => this.whole(part));
    return [named && this.whole(named), ...parts].filter(Boolean).reduce(
      (sum, part) => ({
        ...part,
        ...sum,
        properties: { ...part.properties, ...sum.properties },
        required: [...(part.required ?? []), ...(sum.required ?? [])],
      }),
      { ...schema, $ref: undefined, allOf: undefined },
    );
  }

  /** Each alternative at the top of `schema`. */
  alternatives(schema) {
    const whole = this.whole(schema);
    const choices = whole.anyOf ?? whole.oneOf;
    return choices ? choices.flatMap((choice) => this.alternatives(choice)) : [whole];
  }

  make(schema, name = "", depth = 0) {
    const it = this.alternatives(schema).find(({ type, not }) => type !== "null" && not === undefined) ?? {};
    if (it.const !== undefined) return it.const;
    if (it.enum) return it.enum[0];
    const id = idAt(name, this.ids);
    const type = Array.isArray(it.type) ? it.type[0] : it.type;
    if (type === "array") return [this.make(it.items, name, depth + 1)];
    if (type === "object" || Object.keys(it.properties ?? {}).length > 0) return this.object(it, depth);
    if (type === "integer" || type === "number") return it.minimum ?? 1;
    if (type === "boolean") return false;
    if (id !== undefined) return id;
    if (/path|directory|cwd|root|destination/i.test(name)) return "/nonexistent/stranger";
    if (/url|uri|host$/i.test(name)) return "http://127.0.0.1:1/";
    if (/^command$/.test(name)) return "true";
    return "stranger";
  }

  object(schema, depth) {
    const wanted = Object.entries(schema.properties ?? {}).filter(
      ([name]) => schema.required?.includes(name) || (depth < 4 && (this.optional || idAt(name, this.ids) !== undefined)));
    return Object.fromEntries(wanted.map(([name, part]) => [name, this.make(part, name, depth + 1)]));
  }
}

// Under one's own session this tells how far its own log has come, whatever else is asked.
const OWN_STATE = /^session\.eventLog\.read$/;

// Another type wherever the session's name stands.
const TWISTED = [(id) => [id], (id) => ({ sessionId: id }), () => null, () => 7, (id) => `${id} `];

/**
 * The requests of the sweep for one set of ids: [{method, params, names}]. `own`: a session of the stranger's, under
 * which the victim's other ids are tried (`alone`). `names`: the method is made to take an id that stands in it, so that its
 * answer must not depend on whether there is such a thing. The same for each set, in the same order.
 */
export function requests(ids, own) {
  const { definitions, calls, questions } = methods();
  const all = [...calls, ...questions].flatMap(({ method, params }, nth) => {
    if (params === undefined) return [{}, { sessionId: ids.id }].map((it) => ({ method, params: it, names: false }));
    const full = new Maker(definitions, ids, true);
    const bare = new Maker(definitions, ids, false);
    const made = full.alternatives(params).filter(({ type }) => type !== "null" && type !== undefined)
      .flatMap((choice) => [full.object(choice, 0), bare.object(choice, 0)]);
    const first = made.at(-1) ?? {};
    const twisted = { ...first, sessionId: TWISTED[nth % TWISTED.length](ids.id) };
    const isOther = (name) => name !== "sessionId" && idAt(name, ids) !== undefined;
    const crossed = !OWN_STATE.test(method) && Object.keys(first).some(isOther);
    const under = crossed && own ? [{ ...first, sessionId: own }] : [];
    const texts = [...new Set([...made, twisted, ...under].map((one) => JSON.stringify(one)))];
    const known = [...Object.values(ids), own].filter((id) => typeof id === "string");
    const names = (text) => made.some((one) => known.some((id) => JSON.stringify(one).includes(id))) && text !== "{}";
    const alone = (params) => own !== undefined && params.sessionId === own;
    return texts.map((text) => ({ method, params: JSON.parse(text), names: names(text) }))
      .map((it) => ({ ...it, alone: alone(it.params) }));
  });
  return [...all.filter(({ alone }) => !alone), ...all.filter(({ alone }) => alone)];
}

/**
 * Asks them all, `width` at a time, each for at most `ms` milliseconds; `stranger.asked` has them in their order. Those
 * under the stranger's own session come last and one by one: they would answer for each other's doings.
 */
export async function sweep(stranger, list, { width = 24, ms = 15_000 } = {}) {
  const ask = async (left) => {
    for (const { method, params } of left) await stranger.ask(method, params, { ms });
  };
  const together = list.filter(({ alone }) => !alone).values();
  await Promise.all(Array.from({ length: width }, () => ask(together)));
  await ask(list.filter(({ alone }) => alone));
}

/**
 * What is not asked of a bare CLI: it would end it or the session (each has a probe of its own), start processes, or go
 * to GitHub. Fairlead is asked all of it.
 */
export const NOT_BARE = new RegExp(`^(${[
  "runtime\\.shutdown", "agentRegistry\\.spawn", "sessionFs\\.set", "llmInference\\.set",
  "sessions\\.(pruneOld|bulkDelete|close|delete|open)", "session\\.(suspend|shutdown|delete|destroy|abort)",
  "session\\.(interruptMainTurn|tasks\\.waitForPending|ui\\.elicitation|history\\.|tools\\.set$|permissions\\.handle)",
  "account\\.log", "catalog\\.search", "mcp\\.planInstall", "plugins\\.", "session\\.(plugins|gitHubAuth|visibility)\\.",
  ".*[rR]emote", "session\\.mcp\\.oauth",
].join("|")})`);
