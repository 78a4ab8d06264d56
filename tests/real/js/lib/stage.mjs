// A stage on which scenarios play: an address under test, recording taps in front of it, a model
// server behind. It knows nothing of whether a CLI or fairlead answers there.
import { Bare } from "./frames.mjs";
import { connect, sessionConfig, stopClient } from "./sdk.mjs";
import { startTap } from "./tap.mjs";
import { within } from "./wait.mjs";

/** What one scenario may use. Each connection that it opens is recorded under its own name. */
export class Stage {
  #open = [];
  #names = new Map();
  records = [];

  constructor({ address, model, token, cwd }) {
    Object.assign(this, { address, model, token, cwd });
  }

  async #tap(name) {
    const nth = (this.#names.get(name) ?? 0) + 1;
    this.#names.set(name, nth);
    const tap = await startTap(this.address, nth === 1 ? name : `${name}#${nth}`, (entry) => this.records.push(entry));
    this.#open.push(() => tap.close());
    return tap;
  }

  /** A started SDK client. `client.leave()` stops it, `client.cut()` makes it vanish. */
  async client(name, options = {}) {
    const tap = await this.#tap(name);
    const client = await connect(tap.address, { token: this.token, ...options });
    let left = false;
    client.leave = async () => {
      if (left) return;
      left = true;
      await stopClient(client);
    };
    client.cut = async () => {
      left = true;
      tap.cut();
      await within("the vanished client notices", client.forceStop(), 10_000);
    };
    this.#open.push(() => client.leave());
    return client;
  }

  /** A bare connection, for what the SDK never sends. */
  async bare(name) {
    const tap = await this.#tap(name);
    const bare = await Bare.open(tap.address);
    this.#open.push(() => bare.close());
    return bare;
  }

  config(extra) {
    return sessionConfig(this.model, { workingDirectory: this.cwd, ...extra });
  }

  /** Closes what is open, last first. */
  async close() {
    for (const close of this.#open.splice(0).reverse()) await close();
  }
}

/**
 * Plays every scenario in order at one address; returns a Map from name to its records.
 * `tell(name, ms)` is called after each.
 */
export async function play(scenarios, setting, tell = () => {}) {
  const transcripts = new Map();
  for (const [name, scenario] of Object.entries(scenarios)) {
    const start = Date.now();
    const stage = new Stage(setting);
    try {
      await within(`scenario "${name}" ends`, scenario(stage), 60_000);
    } catch (error) {
      error.message = `scenario "${name}": ${error.message}`;
      throw error;
    } finally {
      await stage.close();
    }
    transcripts.set(name, stage.records);
    tell(name, Date.now() - start);
  }
  return transcripts;
}
