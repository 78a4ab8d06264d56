// Just enough TOML to write a config for a test. Reads none.

const scalar = (value) => {
  if (Array.isArray(value)) return `[${value.map(scalar).join(", ")}]`;
  if (typeof value === "string") return JSON.stringify(value);
  if (typeof value === "object") {
    return `{ ${Object.entries(value).map(([key, item]) => `${JSON.stringify(key)} = ${scalar(item)}`).join(", ")} }`;
  }
  return String(value);
};

const isTable = (value) => value !== null && typeof value === "object" && !Array.isArray(value);
const isTables = (value) => Array.isArray(value) && value.length > 0 && value.every(isTable);

/**
 * TOML text of a plain object: objects become tables, arrays of objects become arrays of tables,
 * except under the keys in `inline`, which stay on their line.
 */
export function toToml(root, inline = ["env", "token", "upstreams"]) {
  const lines = [];
  const table = (object, path) => {
    const own = ([key, value]) => inline.includes(key) || !(isTable(value) || isTables(value));
    const entries = Object.entries(object).filter(([, value]) => value !== undefined);
    for (const [key, value] of entries.filter(own)) lines.push(`${key} = ${scalar(value)}`);
    for (const [key, value] of entries.filter((entry) => !own(entry))) {
      const name = [...path, key].join(".");
      for (const item of isTable(value) ? [value] : value) {
        lines.push("", isTable(value) ? `[${name}]` : `[[${name}]]`);
        table(item, [...path, key]);
      }
    }
  };
  table(root, []);
  return `${lines.join("\n").trim()}\n`;
}
