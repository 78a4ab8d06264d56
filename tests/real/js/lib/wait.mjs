// Waiting for facts: every wait has a deadline and says what it waited for. Never a bare sleep as proof.
import { setTimeout as sleep } from "node:timers/promises";

/** A deadline that passed; the message says what never became true and how long it was waited for. */
export class DeadlineError extends Error {
  name = "DeadlineError";
}

/**
 * Polls `fact` until it returns something truthy, and returns that.
 * @param {string} what what is waited for, for the error message
 * @param {() => unknown} fact may be async; an error counts as "not yet" and is told at the deadline,
 *   but one that is `final` ends the wait
 */
export async function until(what, fact, { ms = 30_000, every = 25 } = {}) {
  const end = Date.now() + ms;
  let last;
  for (;;) {
    try {
      const value = await fact();
      if (value) return value;
      last = undefined;
    } catch (error) {
      if (error.final) throw error;
      last = error;
    }
    if (Date.now() >= end) {
      const why = last ? `; last error: ${last.message}` : "";
      throw new DeadlineError(`not within ${ms} ms: ${what}${why}`);
    }
    await sleep(every);
  }
}

/** The value of `promise`, or a DeadlineError that names `what` after `ms` milliseconds. */
export async function within(what, promise, ms = 30_000) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new DeadlineError(`not within ${ms} ms: ${what}`)), ms);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** Runs `work`; returns its error and the milliseconds it took. Fails when there was no error. */
export async function failureOf(what, work, ms = 60_000) {
  const start = Date.now();
  let value;
  try {
    value = await within(what, work(), ms);
  } catch (error) {
    if (error instanceof DeadlineError) throw error;
    return { error, ms: Date.now() - start };
  }
  throw new Error(`${what} was meant to fail, but gave ${JSON.stringify(value)}`);
}
