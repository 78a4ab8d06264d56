// What stands between a victim and a stranger. A gate is a function of the model server that gives both an address,
// and the credentials that they need there; whatever it starts is ended by `stop`. An `open` gate keeps nothing off.
import { createHash } from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import { startCli } from "../lib/cli.mjs";
import { fixedPool, startFairlead } from "../lib/fairlead.mjs";
import { folder } from "../lib/processes.mjs";
import { toToml } from "../lib/toml.mjs";

/** Nothing: both talk to one CLI. Everything that is not asked for bites here. */
export async function bare(model) {
  const cli = await startCli({ model });
  const { address } = cli;
  return { victim: { address }, stranger: { address }, cli, open: true, stop: () => cli.stop() };
}

/** A wall: each has a CLI of its own. Nothing can bite here, so what fails here is the test's own fault. */
export async function apart(model) {
  const [one, other] = await Promise.all([startCli({ model }), startCli({ model })]);
  const stop = () => Promise.all([one.stop(), other.stop()]);
  return { victim: { address: one.address }, stranger: { address: other.address }, cli: one, stop };
}

const TOKENS = { victim: `flt_${"v".repeat(40)}`, stranger: `flt_${"s".repeat(40)}` };

/** What a listener needs to know both by their tokens, as two users without a tenant. */
function byToken() {
  const file = path.join(folder("tokens"), "tokens.toml");
  const hash = (token) => createHash("sha256").update(token).digest("hex");
  const token = Object.entries(TOKENS).map(([user, it]) => ({ user, trust: "user", sha256: hash(it) }));
  fs.writeFileSync(file, toToml({ token }, []), { mode: 0o600 });
  return { source: "token", tokens: { file } };
}

// How long fairlead waits for a CLI shows in its answers; this is longer than any stranger waits for them.
const limits = { lookup_timeout: "30s", fleet_timeout: "30s" };

/** fairlead in front of one CLI that both share. */
export async function fairlead(model) {
  const cli = await startCli({ model });
  const gate = await startFairlead({ pool: fixedPool([cli]), identity: byToken(), limits });
  const as = (who) => ({ address: gate.address, token: TOKENS[who] });
  const stop = async () => {
    await gate.stop();
    await cli.stop();
  };
  return { victim: as("victim"), stranger: as("stranger"), cli, stop };
}
