// The real curl: one call, and what it got.
import fs from "node:fs";
import path from "node:path";
import { Child, folder } from "./processes.mjs";
import { within } from "./wait.mjs";

const NAMES = "%{http_code} %{http_version} %{num_connects} %{exitcode}\n";

/**
 * Runs curl with these arguments. `answers` has one entry for each response, in order: {status, headers, body};
 * `connects` how many connections it made.
 */
export async function curl(args, { input } = {}) {
  const dir = folder("curl");
  const [heads, body, stdin] = ["heads", "body", "stdin"].map((name) => path.join(dir, name));
  const more = [];
  if (input !== undefined) {
    fs.writeFileSync(stdin, input);
    more.push("--upload-file", stdin);
  }
  const child = new Child("curl", "curl", [
    "--silent", "--show-error", "--max-time", "60", "--dump-header", heads, "--output", body, "--write-out", NAMES, ...more, ...args,
  ]);
  const { code, error } = await within("curl ends", child.exited, 70_000);
  if (error?.code === "ENOENT") throw new Error("curl is missing: run `make deps`, or `apt-get install curl`");
  await child.stop();
  const last = child.stdout.trim().split("\n").at(-1)?.split(" ") ?? [];
  return {
    code,
    stderr: child.stderr,
    status: Number(last[0]),
    version: last[1],
    connects: child.stdout.trim().split("\n").map((line) => Number(line.split(" ")[2])),
    heads: headsOf(fs.existsSync(heads) ? fs.readFileSync(heads, "latin1") : ""),
    body: fs.existsSync(body) ? fs.readFileSync(body) : Buffer.alloc(0),
  };
}

/** Each head that curl saw: its status and its fields, in lower case. */
function headsOf(text) {
  const blocks = text.split(/\r?\n\r?\n/).filter((block) => block.startsWith("HTTP/"));
  return blocks.map((block) => {
    const [first, ...lines] = block.split(/\r?\n/);
    const fields = lines.map((line) => line.split(/:\s*(.*)/s)).map(([name, value]) => [name.toLowerCase(), value ?? ""]);
    return { status: Number(first.split(" ")[1]), fields };
  });
}
