// Every scenario, in the order in which it is played.
import { asking } from "./asking.mjs";
import { refusals, sessions, sharing } from "./sessions.mjs";
import { turns } from "./turns.mjs";

export const scenarios = { ...turns, ...asking, ...sessions, ...sharing, ...refusals };
