// The comparison of transcripts can fail: a recorded run, changed in one place, is never equal to
// itself. Each kind of change is tried at many places; the seed is printed and can be set (SEED=n).
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { startCli } from "./lib/cli.mjs";
import { startModel } from "./lib/model.mjs";
import { folder, stopAll } from "./lib/processes.mjs";
import { play } from "./lib/stage.mjs";
import { asking } from "./scenarios/asking.mjs";
import { sessions, sharing } from "./scenarios/sessions.mjs";
import { turns } from "./scenarios/turns.mjs";
import { comparable, differences } from "./transcript.mjs";

const SEED = Number(process.env.SEED ?? Date.now() % 1_000_000);
const TRIES = 60;

/** mulberry32: a small seeded generator of numbers in [0, 1). */
function generator(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

const PLAYED = [
  [turns, "two queued sends wait for the running turn"],
  [asking, "a client tool is called and answers"],
  [asking, "hooks are asked before and after"],
  [sessions, "two sessions of one client run at the same time"],
  [sharing, "two clients on one session see the same turn"],
];
// Hints are kept as facts, once each: a copy may be lost. What races the turn is kept per type.
const HINTS = ["session.background_tasks_changed", "session.indexed_search", "session.skills_loaded"];
const isEvent = ({ frame }) => frame?.method === "session.event" && !HINTS.includes(frame.params.event.type);
const isCounted = ({ frame }) => frame !== undefined && (frame.method === undefined || frame.id !== undefined);

describe(`a changed transcript is told from its original (SEED=${SEED})`, () => {
  const random = generator(SEED);
  const pick = (list) => list[Math.floor(random() * list.length)];
  let transcripts;

  before(async () => {
    const model = await startModel();
    const cli = await startCli({ model });
    const chosen = Object.fromEntries(PLAYED.map(([group, name]) => [name, group[name]]));
    transcripts = [...(await play(chosen, { address: cli.address, model, cwd: folder("work") }))];
    await stopAll();
  });
  after(stopAll);

  /** Changes a copy by `change` (false: not possible there) until TRIES changes were told apart. */
  function eachIsTold(change) {
    let told = 0;
    for (let attempt = 0; told < TRIES; attempt += 1) {
      assert.ok(attempt < TRIES * 50, `only ${told} places to change`);
      const [name, records] = pick(transcripts);
      const changed = structuredClone(records);
      const what = change(changed);
      if (!what) continue;
      const found = differences(comparable(records), comparable(changed), 1);
      assert.equal(found.length, 1, `"${name}": ${what}`);
      told += 1;
    }
  }

  test("an unchanged one is equal", () => {
    for (const [, records] of transcripts) {
      assert.deepEqual(comparable(structuredClone(records)), comparable(records));
    }
  });

  test("when an event is dropped", () => {
    eachIsTold((records) => {
      const victim = pick(records.filter(isEvent));
      records.splice(records.indexOf(victim), 1);
      return `dropped ${victim.frame.params.event.type}`;
    });
  });

  test("when a request or an answer is dropped", () => {
    eachIsTold((records) => {
      const victim = pick(records.filter(isCounted));
      records.splice(records.indexOf(victim), 1);
      return `dropped ${victim.frame.method ?? "an answer"} of ${victim.from}`;
    });
  });

  test("when an event comes twice", () => {
    eachIsTold((records) => {
      const victim = pick(records.filter(isEvent));
      records.splice(records.indexOf(victim), 0, structuredClone(victim));
      return `doubled ${victim.frame.params.event.type}`;
    });
  });

  test("when two neighbouring events of a turn are swapped", () => {
    const racing = /^(hook\.|session\.(managed|mcp|title|tools))/;
    const ofTurn = (record) => isEvent(record) && !racing.test(record.frame.params.event.type);
    eachIsTold((records) => {
      const one = pick(records.filter(ofTurn));
      const { sessionId } = one.frame.params;
      const same = records.filter((r) => ofTurn(r) && r.conn === one.conn && r.frame.params.sessionId === sessionId);
      const other = same[same.indexOf(one) + 1];
      // Two of one type without content of their own differ by their ids alone, which are new each run.
      if (!other || one.frame.params.event.type === other.frame.params.event.type) return false;
      [one.frame, other.frame] = [other.frame, one.frame];
      return `swapped ${one.frame.params.event.type} and ${other.frame.params.event.type}`;
    });
  });

  test("when one of several mentions of an id is changed", () => {
    const uuid = /[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/g;
    eachIsTold((records) => {
      const victim = pick(records.filter((record) => isEvent(record) || isCounted(record)));
      const ids = JSON.stringify(victim.frame).match(uuid) ?? [];
      const id = ids.length > 0 && pick(ids);
      if (!id) return false;
      // A mention that is the only one, and a parentId that depends on a race, prove nothing.
      const seen = records.filter(({ frame }) => frame && JSON.stringify(withoutParent(frame)).includes(id));
      if (seen.length < 2 || !JSON.stringify(withoutParent(victim.frame)).includes(id)) return false;
      const foreign = id.replace(/^./, (digit) => (digit === "0" ? "1" : "0"));
      victim.frame = JSON.parse(JSON.stringify(victim.frame).replaceAll(id, foreign));
      return `changed an id in ${victim.frame.method ?? "an answer"} ${victim.frame.params?.event?.type ?? ""}`;
    });
  });

  test("when a frame names another session", () => {
    eachIsTold((records) => {
      const victim = pick(records.filter((r) => (isEvent(r) || isCounted(r)) && r.frame.params?.sessionId));
      if (!victim) return false;
      victim.frame.params.sessionId += "x";
      return `renamed the session of ${victim.frame.method}`;
    });
  });

  test("when an answer is moved to another request", () => {
    eachIsTold((records) => {
      const one = pick(records.filter(({ from, frame }) => from === "server" && frame && !frame.method));
      const other = pick(records.filter(({ from, frame, conn }) =>
        from === "server" && frame && !frame.method && conn === one.conn && frame !== one.frame));
      if (!other || JSON.stringify(shape(one.frame)) === JSON.stringify(shape(other.frame))) return false;
      [one.frame.id, other.frame.id] = [other.frame.id, one.frame.id];
      return `swapped the ids of two answers`;
    });
  });

  test("when an event goes to another connection", () => {
    eachIsTold((records) => {
      const conns = [...new Set(records.map(({ conn }) => conn))];
      const victim = pick(records.filter(isEvent));
      const other = conns.find((conn) => conn !== victim.conn) ?? "somebody else";
      victim.conn = other;
      return `moved ${victim.frame.params.event.type} to ${other}`;
    });
  });

  test("when a field is removed", () => {
    const unseen = new Set(["parentId"]); // replaced, where it depends on a race
    eachIsTold((records) => {
      const victim = pick(records.filter((record) => isEvent(record) || isCounted(record)));
      const places = [];
      const collect = (value) => {
        if (value === null || typeof value !== "object") return;
        for (const key of Object.keys(value)) {
          if (!Array.isArray(value) && !unseen.has(key)) places.push([value, key]);
          collect(value[key]);
        }
      };
      collect(victim.frame.params ?? victim.frame.result ?? {});
      if (places.length === 0) return false;
      const [object, key] = pick(places);
      delete object[key];
      return `removed ${key} from ${victim.frame.method ?? "an answer"}`;
    });
  });
});

const withoutParent = (frame) =>
  JSON.parse(JSON.stringify(frame, (key, value) => (key === "parentId" ? undefined : value)));

/** What an answer says, apart from what is new in each run. */
const shape = ({ id, ...answer }) =>
  JSON.parse(JSON.stringify(answer), (_, value) => (typeof value === "string" && /[0-9]/.test(value) ? "" : value));
