// What fairlead promises when it has to say no: codes, reasons and events, as a client hears them.
import assert from "node:assert/strict";

export const CODES = {
  upstream_lost: -32040,
  no_upstream: -32041,
  access_denied: -32042,
  method_denied: -32043,
  draining: -32047,
  session_lost: -32049,
};

/** Fails unless `error` is the typed refusal `reason`. Takes the SDK's errors and those of Bare. */
export function assertRefused(error, ...reasons) {
  const codes = reasons.map((reason) => CODES[reason]);
  assert.ok(codes.includes(error.code), `wanted ${reasons} (${codes}), got ${error.code}: ${error.message}`);
  const reason = reasons[codes.indexOf(error.code)];
  assert.equal(error.data?.reason, reason);
  assert.equal(typeof error.data?.retryable, "boolean");
  if (reason === "access_denied") assert.match(error.message, /Session not found/);
}
