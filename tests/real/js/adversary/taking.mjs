// Probes that take a whole CLI: what one client sets, everybody gets. They need a CLI of their own, and the victim
// comes after the stranger. The form of a probe is told in probe.mjs.
import { until } from "../lib/wait.mjs";
import { folder } from "../lib/processes.mjs";
import { EXPECTED } from "./probe.mjs";
import { Stranger } from "./stranger.mjs";

/** A victim comes later and has a turn, until that is over or `isStolen(marker)`; `site.harm` says whether it worked. */
async function later(site, isStolen) {
  const victim = await site.newcomer();
  const turn = victim.target("live").then((target) => target.harm());
  const theft = until("it is stolen", () => isStolen(victim.marker), { ms: EXPECTED });
  site.harm = await Promise.race([turn, theft.then(() => "stolen")]).catch((error) => error.message);
}

const stolen = ({ site: { harm } }) => {
  if (harm !== undefined && harm !== "stolen") throw new Error(`nothing was stolen, but the victim's turn failed: ${harm}`);
  return harm === "stolen";
};
const said = (stranger, method, word) => stranger.heard.some(({ text }) => text.includes(`"${method}`) && text.includes(word));
const prompts = (stranger) => (marker) =>
  ["prompt", "key"].every((what) => said(stranger, "llmInference.", `${what}-${marker}`));
const files = (stranger) => (marker) => said(stranger, "sessionFs.", marker);

export const taking = [
  {
    name: "llmInference.setProvider gets everybody's prompts and keys",
    fresh: "prompts",
    run: async (stranger, target, site) => {
      await stranger.ask("llmInference.setProvider", {});
      await later(site, prompts(stranger));
    },
    bites: stolen,
  },
  {
    name: "sessionFs.setProvider gets everybody's files",
    fresh: "files",
    run: async (stranger, target, site) => {
      const place = folder("loot");
      await stranger.ask("sessionFs.setProvider", { initialCwd: place, sessionStatePath: place, conventions: "posix" });
      await later(site, files(stranger));
    },
    bites: stolen,
  },
  {
    name: "sessions.pruneOld removes everybody's sessions",
    target: "stored",
    fresh: "all",
    twin: "it names nobody",
    run: (stranger) => stranger.ask("sessions.pruneOld", { olderThanDays: 0, includeNamed: true }),
    bites: () => false,
  },
  {
    name: "mcp.config.add plants a server for everybody",
    fresh: "all",
    run: async (stranger) => {
      const config = { type: "local", command: "true", args: [], tools: ["*"] };
      await stranger.ask("mcp.config.add", { name: "planted", config });
    },
    bites: ({ site }) => seesAt(site, "mcp.config.list", "planted"),
  },
  {
    name: "skills.config.setDisabledSkills takes skills from everybody",
    fresh: "all",
    run: (stranger) => stranger.ask("skills.config.setDisabledSkills", { disabledSkills: ["planted"] }),
    bites: ({ site }) => seesAt(site, "user.settings.get", "planted"),
  },
  {
    name: "runtime.shutdown ends the CLI of all",
    fresh: "all",
    run: (stranger) => stranger.ask("runtime.shutdown", {}),
    bites: ({ gate }) =>
      until("the CLI ends", () => !gate.cli.child.running, { ms: gate.open ? EXPECTED : 4_000 }).catch(() => false),
  },
];

/** Whether the CLI says `word` in answer to `method`, asked at the CLI itself: a gate may answer nobody. */
async function seesAt({ gate, model }, method, word) {
  const wire = await Stranger.open({ address: gate.cli.address }, model);
  const answer = await wire.ask(method, {});
  wire.close();
  return JSON.stringify(answer).includes(word);
}
