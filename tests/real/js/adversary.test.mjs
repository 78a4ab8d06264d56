// A stranger and a victim on one CLI. Each probe is played at a CLI alone first, where it has to bite (so that it is a
// probe), and then through a gate, where it must get nothing, learn nothing and break nothing.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { breaking } from "./adversary/breaking.mjs";
import { confusing } from "./adversary/confusing.mjs";
import { forging } from "./adversary/forging.mjs";
import { apart, bare, fairlead } from "./adversary/gates.mjs";
import { Site, differences, play } from "./adversary/probe.mjs";
import { reading } from "./adversary/reading.mjs";
import { tells } from "./adversary/stranger.mjs";
import { NOT_BARE, methods, requests, sweep } from "./adversary/sweep.mjs";
import { taking } from "./adversary/taking.mjs";
import { startModel } from "./lib/model.mjs";
import { stopAll } from "./lib/processes.mjs";

const TOGETHER = { reading, breaking, forging, confusing };

/** Plays all probes at `gate`, several at once, those that take a CLI one by one; `judge` gets what came of each. */
function everyProbe(name, gate, { patience, thorough, judge, siteOf, sweeping, which = () => true }) {
  describe(name, { timeout: 240_000 }, () => {
    let model;
    const sites = new Map();
    const siteFor = (key) => sites.get(key) ?? sites.set(key, Site.open(gate, model, patience)).get(key);

    before(async () => {
      model = await startModel();
      await (await siteFor("shared")).newcomer();
    });
    after(stopAll);

    for (const [group, probes] of Object.entries(TOGETHER)) {
      describe(group, { concurrency: 4 }, () => {
        for (const probe of probes.filter(which)) {
          test(probe.name, async () => judge(probe, await play(probe, await siteFor("shared"), { thorough })));
        }
      });
    }

    describe("taking", () => {
      for (const probe of taking) {
        test(probe.name, async () => judge(probe, await play(probe, await siteFor(siteOf(probe)), { thorough })));
      }
    });

    test("every method of the schema, with the victim's ids wherever an id may stand", async () => {
      await sweeping(await siteFor("shared"));
    });
  });
}

/** Two strangers ask everything: one with the ids of what exists, one with those of what does not. */
async function sweepBoth(site, allowed) {
  const victim = await site.newcomer();
  const open = await victim.target("permission");
  const idle = await victim.target("live");
  const [stranger, other] = await Promise.all([site.stranger(), site.stranger()]);
  const list = requests(open, await stranger.own()).filter(allowed);
  await sweep(other, requests(open.twin(), await other.own()).filter(allowed));
  await sweep(stranger, list);
  const told = stranger.asked.filter(({ answer, said }) => tells(JSON.stringify(answer), victim.marker, said));
  const unlike = differences(stranger, other).filter(([nth]) => list[nth].names);
  return { victim, open, idle, stranger, list, told: new Set(told.map(({ method }) => method)), unlike };
}

// What a bare CLI tells in answer to the sweep, at least: if these do not come, the sweep asks for nothing.
const TOLD = [
  "session.getMessages", "session.getMetadata", "session.list", "session.metadata.snapshot", "session.permissions.paths.list",
  "session.workspaces.getWorkspace", "sessions.getMetadata", "sessions.list", "sessions.readPersistedEvents",
];

everyProbe("a CLI alone: the probes bite", bare, {
  patience: 10_000,
  thorough: false,
  siteOf: ({ fresh }) => fresh,
  judge: (probe, { bit, asked }) => {
    const expected = { bites: true, holds: false, any: bit }[probe.bare ?? "bites"];
    assert.equal(bit, expected, `a bare CLI answered ${JSON.stringify(asked.map(({ answer }) => answer)).slice(0, 2_000)}`);
  },
  sweeping: async (site) => {
    const { calls, questions } = methods();
    assert.ok(calls.length >= 360 && questions.length >= 28, `${calls.length} and ${questions.length} methods`);
    const { told, unlike } = await sweepBoth(site, ({ method }) => !NOT_BARE.test(method));
    assert.deepEqual(TOLD.filter((method) => !told.has(method)), []);
    assert.ok(unlike.length >= 200, `${unlike.length} answers tell what exists from what does not`);
  },
});

/** Nothing is got, learnt or broken. */
const holds = {
  patience: 15_000,
  thorough: true,
  siteOf: () => "taken",
  judge: (probe, { bit, harm, leaks, apart: unlike }) => {
    assert.deepEqual(leaks, [], "a byte of the victim's came to the stranger");
    assert.deepEqual(unlike, [], "what is not one's own is told from what does not exist");
    assert.equal(harm, undefined, "the victim can no longer go on");
    assert.equal(bit, false);
  },
  sweeping: async (site, allowed = () => true) => {
    const { victim, open, idle, stranger, unlike } = await sweepBoth(site, allowed);
    assert.deepEqual(stranger.leaks(victim.marker), [], "a byte of the victim's came to the stranger");
    assert.deepEqual(unlike, [], "what is not one's own is told from what does not exist");
    const mute = stranger.asked.filter(({ answer }) => answer.silent || answer.closed).map(({ method }) => method);
    assert.deepEqual(mute, [], "some were never answered");
    assert.deepEqual([await open.harm(), await idle.harm()], [undefined, undefined], "the victim can no longer go on");
  },
};

// A wall proves that a gate can pass: with a CLI for each, the same judge has nothing to say.
if (process.env.ADVERSARY_WALL === "1") {
  const sweeping = (site) => holds.sweeping(site, ({ method }) => !NOT_BARE.test(method));
  everyProbe("a CLI for each: nothing bites", apart, { ...holds, sweeping, which: ({ wall }) => wall === undefined });
}

everyProbe("fairlead: nothing bites", fairlead, holds);
