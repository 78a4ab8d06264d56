// The same script direct and through fairlead gives the same transcript; and each event that a CLI
// sends on a link reaches its client unchanged and in order.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { startCli } from "./lib/cli.mjs";
import { fixedPool, managedPool, startFairlead } from "./lib/fairlead.mjs";
import { startModel } from "./lib/model.mjs";
import { folder, stopAll } from "./lib/processes.mjs";
import { play } from "./lib/stage.mjs";
import { startTap } from "./lib/tap.mjs";
import { scenarios } from "./scenarios/all.mjs";
import { comparable, differences } from "./transcript.mjs";

const MS_FOR_ALL = 240_000;
let direct;

/** Plays all scenarios at what `open` starts; returns the records and their comparable form by name. */
async function record(open) {
  const model = await startModel();
  const { address, homes, stop } = await open(model);
  const cwd = folder("work");
  const literals = [[model.baseUrl, "<model>"], [cwd, "<cwd>"]];
  const records = await play(scenarios, { address, model, cwd });
  for (const home of homes()) literals.push([home, "<home>"]);
  await stop();
  await model.stop();
  const compared = new Map([...records].map(([name, list]) => [name, comparable(list, literals)]));
  return { records, compared };
}

async function directly(model) {
  const cli = await startCli({ model });
  return { address: cli.address, homes: () => [cli.home], stop: () => cli.stop() };
}

function assertSame(one, other) {
  for (const name of Object.keys(scenarios)) {
    assert.deepEqual(differences(one.compared.get(name), other.compared.get(name)), [], `scenario "${name}"`);
  }
}

describe("the same script", { timeout: MS_FOR_ALL, concurrency: 3 }, () => {
  before(async () => {
    direct = await record(directly);
  });
  after(stopAll);

  test("gives the same transcript at two CLIs: the comparison is sound", async () => {
    assertSame(direct, await record(directly));
  });

  test("gives the same transcript through fairlead and one CLI, and events pass unchanged", async () => {
    const links = [];
    const through = await record(async (model) => {
      const cli = await startCli({ model });
      const tap = await startTap(cli.address, "link", (entry) => links.push(entry));
      const fairlead = await startFairlead({ pool: fixedPool([{ address: tap.address }]) });
      const stop = async () => {
        await fairlead.stop();
        await tap.close();
        await cli.stop();
      };
      return { address: fairlead.address, homes: () => [cli.home], stop };
    });
    assertSame(direct, through);
    assertEventsPassed(links, through.records);
  });

  test("gives the same transcript through fairlead and three managed CLIs", async () => {
    const through = await record(async (model) => {
      const fairlead = await startFairlead({ pool: managedPool(model, { balance: "round_robin" }) });
      const homes = fairlead.clis().map(({ home }) => home);
      return { address: fairlead.address, homes: () => [...homes, fairlead.place.stateDir], stop: () => fairlead.stop() };
    });
    assertSame(direct, through);
  });
});

/** By session and connection: the events in the order in which they were on the wire, as JSON text. */
function eventsBySession(records) {
  const sessions = new Map();
  for (const { conn, link, from, frame } of records) {
    if (from !== "server" || frame?.method !== "session.event") continue;
    const conns = sessions.get(frame.params.sessionId) ?? new Map();
    sessions.set(frame.params.sessionId, conns);
    const carrier = `${conn} ${link}`;
    conns.set(carrier, [...(conns.get(carrier) ?? []), JSON.stringify(frame)]);
  }
  return sessions;
}

// A client that vanished misses the end of what its link still carried.
const CUT = "a turn goes on while one of its two clients vanishes";

function assertEventsPassed(links, transcripts) {
  const carried = eventsBySession(links);
  let compared = 0;
  for (const [name, records] of transcripts) {
    for (const [session, conns] of eventsBySession(records)) {
      const sent = [...(carried.get(session)?.values() ?? [])];
      for (const [conn, got] of conns) {
        const exact = sent.some((events) => events.length >= got.length && got.every((e, n) => e === events[n]));
        assert.ok(exact, `"${name}": ${conn} got the events of ${session} as one link carried them`);
        if (name !== CUT) assert.ok(sent.some((events) => events.length === got.length), `"${name}": ${conn} got all`);
        compared += got.length;
      }
    }
  }
  assert.ok(compared > 500, `${compared} events were compared`);
}
