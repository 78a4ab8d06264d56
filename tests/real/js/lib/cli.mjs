// The real CLI: the native binary of the installed package, never its npm wrapper (the wrapper
// leaves the CLI alive when it is ended).
import fs from "node:fs";
import path from "node:path";
import { Child, folder } from "./processes.mjs";

const modules = path.join(import.meta.dirname, "..", "..", "node_modules");

/** The folder that holds the native `copilot`; put first in PATH it makes `copilot` the real thing. */
export function cliFolder() {
  const flavours = ["", "musl"].map((libc) => `@github/copilot-${process.platform}${libc}-${process.arch}`);
  for (const name of flavours) {
    const found = path.join(modules, name);
    if (fs.existsSync(path.join(found, "copilot"))) return found;
  }
  throw new Error(`no native CLI (${flavours.join(" or ")}): run \`make deps\``);
}

/** The environment in which a CLI works without GitHub: offline, with the model server as provider. */
export function cliEnvironment({ model, home, token, extra = {} }) {
  const env = {
    PATH: process.env.PATH,
    LANG: "C.UTF-8",
    COPILOT_AUTO_UPDATE: "false",
    COPILOT_OFFLINE: "true",
    COPILOT_PROVIDER_BASE_URL: model.baseUrl,
    COPILOT_MODEL: "fake",
    ...extra,
  };
  if (home !== undefined) Object.assign(env, { COPILOT_HOME: home, HOME: home });
  if (token !== undefined) env.COPILOT_CONNECTION_TOKEN = token;
  return env;
}

/**
 * Starts one CLI in its own folder and process group, and waits until it listens.
 * @returns {Promise<{child: Child, pid: number, port: number, address: string, home: string, cwd: string}>}
 */
export async function startCli({ model, home = folder("home"), token, name = "cli" }) {
  const cwd = folder("cwd");
  const args = ["--headless", "--no-auto-update", "--port", "0"]; // it says which one it got
  const env = cliEnvironment({ model, home, token });
  const child = new Child(name, path.join(cliFolder(), "copilot"), args, { cwd, env });
  const [, said] = await child.says(/listening on port (\d+)\s/, { ms: 90_000 });
  const port = Number(said);
  child.name = `${name} on ${port}`;
  return { child, pid: child.pid, port, address: `127.0.0.1:${port}`, home, cwd, token, stop: () => child.stop() };
}

/** The session ids that a CLI home has on disk. */
export function sessionsOnDisk(home) {
  try {
    return fs.readdirSync(path.join(home, "session-state"));
  } catch {
    return [];
  }
}
