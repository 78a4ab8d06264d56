// fairlead itself, as its users start it: a binary, a TOML file, signals, /readyz and /metrics.
import { randomUUID } from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import { cliEnvironment, cliFolder, sessionsOnDisk } from "./cli.mjs";
import { parseMetrics } from "./metrics.mjs";
import { Child, folder, freePort, processesMarked, sweep } from "./processes.mjs";
import { toToml } from "./toml.mjs";
import { until } from "./wait.mjs";

const ROOT = path.resolve(import.meta.dirname, "..", "..", "..", "..");

/** The binary under test: FAIRLEAD_BIN, or the debug build in the target folder. */
export function binary() {
  const target = path.resolve(ROOT, process.env.CARGO_TARGET_DIR ?? "target");
  const found = process.env.FAIRLEAD_BIN ?? path.join(target, "debug", "fairlead");
  if (!fs.existsSync(found)) throw new Error(`no fairlead at ${found}: run \`make build\`, or set FAIRLEAD_BIN`);
  return found;
}

/** Names a user in session ids such as `user-alice-chat`. */
export const BY_USER = { source: "session_id", pattern: "^user-(?<user>.+)-[^-]+$" };

/** A pool of CLIs that fairlead starts itself. `mark` finds its processes again. */
export function managedPool(model, { count = 3, home = "cli", mark = sweep(randomUUID()), ...pool } = {}) {
  const { PATH, ...env } = cliEnvironment({ model, extra: { FAIRLEAD_TEST_MARK: mark } });
  const command = ["copilot", "--headless", "--no-auto-update", "--port", "{port}"];
  return { name: "copilots", ...pool, managed: { command, count, home, env } };
}

/** A pool of CLIs that the test started. */
export function fixedPool(clis, pool = {}) {
  return { name: "copilots", upstreams: clis.map(({ address }) => address), ...pool };
}

// How often other ports are tried, if somebody took one meanwhile.
const TRIES = 5;
const TAKEN = /cannot listen at .*Address already in use/;

/**
 * Starts fairlead in front of `pool` and waits until /readyz answers 200; without `ready`, until /livez does.
 * `again` takes over folders, ports and pool of an earlier start, as a restart by an operator does.
 */
export async function startFairlead({ pool, identity, listener, limits, drain, env = {}, again, ready = true }) {
  const stays = again ?? {
    stateDir: folder("state"),
    config: path.join(folder("conf"), "fairlead.toml"),
    pool,
    identity,
    listener,
    limits,
    drain,
  };
  for (let tries = again ? 1 : TRIES; ; tries -= 1) {
    const place = again ?? { ...stays, port: await freePort(), metricsPort: await freePort() };
    const fairlead = new Fairlead(launch(place, env), place);
    try {
      await fairlead.answers(ready ? "/readyz" : "/livez");
      return fairlead;
    } catch (error) {
      await fairlead.stop();
      if (tries === 1 || !TAKEN.test(error.message)) throw error;
    }
  }
}

/** The process, by a config file for this place. */
function launch(place, env) {
  const { stateDir, port, metricsPort, config } = place;
  const at = { name: "main", bind: `127.0.0.1:${port}`, protocol: "jsonrpc", pool: place.pool.name };
  const toml = toToml({
    state_dir: stateDir,
    runtime: { workers: 1 },
    metrics: { bind: `127.0.0.1:${metricsPort}` },
    limits: place.limits,
    drain: place.drain,
    listener: [{ ...at, ...place.listener, identity: place.identity && [place.identity] }],
    pool: [place.pool],
  });
  fs.writeFileSync(config, toml);
  const PATH = `${cliFolder()}${path.delimiter}${process.env.PATH}`;
  const environment = { PATH, HOME: stateDir, RUST_BACKTRACE: "1", FAIRLEAD_LOG: process.env.FAIRLEAD_LOG ?? "info", ...env };
  return new Child("fairlead", binary(), ["run", "--config", config], { env: environment });
}

class Fairlead {
  constructor(child, place) {
    Object.assign(this, { child, place });
    this.address = `127.0.0.1:${place.port}`;
    this.mark = place.pool.managed?.env.FAIRLEAD_TEST_MARK;
  }

  get pid() {
    return this.child.pid;
  }

  /** The HTTP status of a path on the metrics listener; undefined when nobody answers. */
  async status(where) {
    const url = `http://127.0.0.1:${this.place.metricsPort}${where}`;
    return await fetch(url, { signal: AbortSignal.timeout(2_000) }).then(
      async (answer) => {
        await answer.body?.cancel();
        return answer.status;
      },
      () => undefined,
    );
  }

  /** Waits until a path of the metrics listener is answered with 200; fails when the process ends before. */
  async answers(where, ms = 90_000) {
    await until(`fairlead answers ${where}`, async () => {
      if (!this.child.running) this.child.failed();
      return (await this.status(where)) === 200;
    }, { ms });
  }

  /** The text of /metrics. */
  async exposition() {
    const url = `http://127.0.0.1:${this.place.metricsPort}/metrics`;
    return await (await fetch(url, { signal: AbortSignal.timeout(5_000) })).text();
  }

  async metrics() {
    return parseMetrics(await this.exposition());
  }

  /** The CLIs that it runs now: {pid, home}. Only the CLI processes, not what they start. */
  clis() {
    return processesMarked(this.mark).filter(({ command }) => command.includes("--headless"));
  }

  /** The one CLI that has the session on disk in a home of its own. */
  cliOf(sessionId) {
    const holders = this.clis().filter(({ home }) => sessionsOnDisk(home).includes(sessionId));
    if (holders.length !== 1) throw new Error(`${holders.length} CLIs have ${sessionId}`);
    return holders[0];
  }

  signal(name) {
    this.child.signal(name);
  }

  stop() {
    return this.child.stop({ grace: 40_000 });
  }
}
