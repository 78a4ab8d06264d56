// What a probe is, and how one is played. A probe is data:
//   name      what it would prove
//   target    the state of the victim's session that it is aimed at (the kinds of victim.mjs); absent: none
//   run       (stranger, target, site, ms): what the stranger does. It is also run, by another stranger, against
//             a target that does not exist: the two must not be told apart. `ms`: see `bites`
//   bites     ({answer, stranger, target, site, gate, same, ms}): whether the stranger got or broke something; `ms`
//             milliseconds are given to what comes only where the probe bites, and is no answer
//   bare      what happens at a CLI alone: "bites" (the default), "holds", or "any" where that is a race or a matter
//             of the CLI's set-up
//   twin      why the answers for what is not there may differ by more than the names asked for; absent: they may not
//   wall      why it bites even where stranger and victim have a CLI each; absent: it does not
//   connect   what the stranger's `connect` asks for
//   spent     the target's state is used up by the probe itself
//   fresh     it changes the CLI for all and comes before everybody: the name of a site that it shares with others
import { Stranger, tells } from "./stranger.mjs";
import { Victim } from "./victim.mjs";

/** Where something has to come, it ends the wait, however busy the machine is; where nothing has to, a while is enough. */
export const EXPECTED = 30_000;
const UNEXPECTED = 2_000;

export const ok = (answer) => answer.result !== undefined && answer.result?.success !== false;

/** The answer itself tells the victim's marker. */
export const told = ({ answer, stranger, target }) =>
  tells(JSON.stringify(answer), target.marker, stranger.asked.flatMap(({ said }) => said));

/** The answer is not that for something that does not exist. */
export const toldApart = ({ same }) => !same;

/** A probe of one request. */
export const asks = (name, method, { params = () => ({}), bites = told, ...rest }) =>
  ({ name, bites, ...rest, run: (stranger, target) => stranger.ask(method, params(target)) });

// Some answers name what they have just made.
const FRESH = /[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}/g;

/** The two records of requests, with the words that differ between the two replaced by their place. */
function named(asked, other) {
  return asked.map(({ method, said, answer }, nth) => {
    const words = said
      .map((word, at) => [word, other[nth]?.said[at], at])
      .filter(([word, twin]) => word !== twin && word.length > 0)
      .sort(([a], [b]) => b.length - a.length);
    const text = words.reduce(
      (rest, [word, , at]) => rest.replaceAll(JSON.stringify(word).slice(1, -1), `<${at}>`),
      JSON.stringify(answer),
    ).replace(FRESH, "<uuid>");
    return `${method}: ${text}`;
  });
}

/** What the stranger was told otherwise than the one who asked for nothing that exists: [nth, text, text]. */
export function differences(stranger, other) {
  const [mine, theirs] = [named(stranger.asked, other.asked), named(other.asked, stranger.asked)];
  const longest = Math.max(mine.length, theirs.length);
  return Array.from({ length: longest }, (_, n) => [n, mine[n], theirs[n]]).filter(([, a, b]) => a !== b);
}

/** Where probes are played: a gate, a model server, and the victims of both. */
export class Site {
  victims = [];

  static async open(gate, model, patience) {
    return Object.assign(new Site(), { gate: await gate(model), model, patience });
  }

  /** One more stranger, which the gate has let in. */
  async stranger(connect) {
    const stranger = await Stranger.open(this.gate.stranger, this.model, connect);
    if (stranger.hello.result?.ok !== true) throw new Error(`the gate refused: ${JSON.stringify(stranger.hello)}`);
    return stranger;
  }

  /** One more victim. */
  async newcomer() {
    const victim = await Victim.open(this.gate.victim, this.model, this.patience);
    this.victims.push(victim);
    return victim;
  }

  async close() {
    await Promise.all(this.victims.map((victim) => victim.close()));
    await this.gate.stop();
  }
}

/**
 * Plays one probe; returns what is to be judged. Never fails on what it finds. `thorough`: also ask for what does not
 * exist, and whether the victim can go on although the probe has bitten.
 */
export async function play(probe, site, { thorough }) {
  const { gate } = site;
  const ms = gate.open && (probe.bare ?? "bites") === "bites" ? EXPECTED : UNEXPECTED;
  const victim = probe.target === undefined ? undefined : (site.victims[0] ?? (await site.newcomer()));
  const target = victim && (probe.target === "nobody" ? victim.nobody() : await victim.target(probe.target));
  const strangers = [];
  const meet = async (aim) => {
    const stranger = await site.stranger(probe.connect);
    strangers.push(stranger);
    await probe.run(stranger, aim, site, ms);
    return stranger;
  };
  try {
    const compared = target && probe.twin === undefined && (thorough || probe.bites === toldApart);
    const other = compared ? await meet(target.twin()) : undefined;
    const stranger = await meet(target);
    const apart = other ? differences(stranger, other) : [];
    const answer = stranger.asked.at(-1)?.answer;
    const bit = Boolean(await probe.bites({ answer, stranger, target, site, gate, same: apart.length === 0, ms }));
    const asked = target?.proof && !probe.spent && (thorough || !bit);
    const harm = asked ? await target.harm() : undefined;
    const leaks = site.victims.flatMap(({ marker }) => stranger.leaks(marker));
    return { bit: bit || harm !== undefined, harm, leaks, apart, asked: stranger.asked };
  } finally {
    strangers.forEach((stranger) => stranger.close());
    if (probe.fresh === undefined) await target?.remove();
  }
}
