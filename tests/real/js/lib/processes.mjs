// Children in process groups of their own, and the promise that none outlives the test file.
// Never signals a process that it did not start.
import { spawn } from "node:child_process";
import { randomInt } from "node:crypto";
import fs from "node:fs";
import net from "node:net";
import os from "node:os";
import path from "node:path";
import { until, within } from "./wait.mjs";

const alive = new Set();
const folders = new Set();
const marks = new Set();

/**
 * One child process with its own group; its output is kept (the last 256 KiB of each stream). The file that
 * TEST_OUTPUT names gets the output of all.
 */
export class Child {
  constructor(name, command, args, options) {
    this.name = name;
    this.stdout = "";
    this.stderr = "";
    this.process = spawn(command, args, { stdio: ["ignore", "pipe", "pipe"], detached: true, ...options });
    this.pid = this.process.pid;
    for (const stream of ["stdout", "stderr"]) {
      this.process[stream].setEncoding("utf8");
      this.process[stream].on("data", (text) => {
        this[stream] = (this[stream] + text).slice(-262_144);
        if (process.env.TEST_OUTPUT) fs.appendFileSync(process.env.TEST_OUTPUT, text);
      });
    }
    this.exited = new Promise((done) => {
      this.process.once("error", (error) => done({ code: null, signal: null, error }));
      this.process.once("exit", (code, signal) => done({ code, signal }));
    }).then((end) => {
      this.end = end;
      return end;
    });
    alive.add(this);
  }

  get running() {
    return this.end === undefined;
  }

  /** Signals the process alone. */
  signal(name) {
    if (this.running) process.kill(this.pid, name);
  }

  /** Signals the whole group, also when its leader has ended. False when nobody is left. */
  signalGroup(name) {
    try {
      process.kill(-this.pid, name);
      return true;
    } catch (error) {
      if (error.code === "ESRCH" || this.pid === undefined) return false;
      throw error;
    }
  }

  /** Waits until `mark` (string or RegExp) is in the output; fails at once when the process ends before. */
  async says(mark, { ms = 60_000, stream = "stdout" } = {}) {
    const found = () => (mark instanceof RegExp ? mark.exec(this[stream]) : this[stream].includes(mark));
    return await until(`${this.name} says ${mark}`, () => {
      const hit = found();
      if (!hit && !this.running) this.failed();
      return hit;
    }, { ms });
  }

  failed() {
    const { code, signal, error } = this.end;
    const why = error ? error.message : `code ${code}, signal ${signal}`;
    const tail = `${this.stdout}${this.stderr}`.slice(-4000);
    throw Object.assign(new Error(`${this.name} ended (${why}):\n${tail}`), { final: true });
  }

  /** TERM, then KILL after `grace` milliseconds; the group is gone when this returns. */
  async stop({ grace = 15_000 } = {}) {
    this.signalGroup("SIGCONT");
    if (this.running) this.signal("SIGTERM");
    try {
      await within(`${this.name} ends after TERM`, this.exited, grace);
    } catch {
      this.signalGroup("SIGKILL");
      await within(`${this.name} ends after KILL`, this.exited, 10_000);
    }
    this.signalGroup("SIGKILL");
    alive.delete(this);
    return this.end;
  }
}

/** Ends every child that still runs and removes the temporary folders. For `after` hooks. */
export async function stopAll() {
  await Promise.all([...alive].reverse().map((child) => child.stop()));
  killMarked();
  for (const folder of folders) fs.rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
  folders.clear();
}

// The last net, for a test file that is ended before its hooks ran.
process.once("exit", () => {
  for (const child of alive) child.signalGroup("SIGKILL");
  killMarked();
});
for (const name of ["SIGINT", "SIGTERM", "SIGHUP"]) process.once(name, () => process.exit(1));

/** A new temporary folder, removed by `stopAll`. */
export function folder(purpose) {
  const made = fs.mkdtempSync(path.join(os.tmpdir(), `fairlead-${purpose}-`));
  folders.add(made);
  return made;
}

// Below those that Linux gives to whoever names none (from 32768 on, ip_local_port_range): none of these is given to somebody
// else between here and the bind.
const PORTS = { first: 20_000, last: 32_767 };
const given = new Set();

/** A TCP port on loopback that was free a moment ago, and that nobody was given before. */
export async function freePort() {
  for (;;) {
    const port = randomInt(PORTS.first, PORTS.last + 1);
    if (given.has(port)) continue;
    given.add(port);
    if (await isFree(port)) return port;
  }
}

function isFree(port) {
  return new Promise((done, fail) => {
    const server = net.createServer();
    server.once("error", (error) => (error.code === "EADDRINUSE" ? done(false) : fail(error)));
    server.listen(port, "127.0.0.1", () => server.close(() => done(true)));
  });
}

const readProc = (pid, file) => {
  try {
    return fs.readFileSync(`/proc/${pid}/${file}`, "utf8");
  } catch {
    return undefined; // it ended, or is not ours to read
  }
};

/** True while `pid` exists and is no zombie. */
export function isAlive(pid) {
  const stat = readProc(pid, "stat");
  return stat !== undefined && !/^\d+ \(.*\) [ZX]/s.test(stat);
}

/** From now on `stopAll` also ends what carries this mark: grandchildren whose parent lost them. */
export function sweep(mark) {
  marks.add(mark);
  return mark;
}

function killMarked() {
  for (const mark of marks) {
    for (const { pid } of processesMarked(mark)) {
      try {
        process.kill(pid, "SIGKILL");
      } catch {
        // it ended by itself
      }
    }
  }
}

/** Every process whose environment or command line holds `mark`: {pid, command, home}. Reads /proc only. */
export function processesMarked(mark) {
  return fs
    .readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid && isAlive(name))
    .map((name) => ({
      pid: Number(name),
      command: (readProc(name, "cmdline") ?? "").split("\0").filter(Boolean),
      environ: (readProc(name, "environ") ?? "").split("\0"),
    }))
    .filter((p) => p.command.some((arg) => arg.includes(mark)) || p.environ.some((e) => e.includes(mark)))
    .map(({ pid, command, environ }) => ({
      pid,
      command,
      home: environ.find((e) => e.startsWith("COPILOT_HOME="))?.slice("COPILOT_HOME=".length),
    }));
}
