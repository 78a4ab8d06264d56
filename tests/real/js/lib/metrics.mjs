// The Prometheus text format, read just far enough for tests.

/** Samples of an exposition, with sums over what matches. */
export function parseMetrics(text) {
  const samples = [...text.matchAll(/^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)$/gm)].map(([, name, labels, value]) => ({
    name,
    labels: Object.fromEntries([...(labels ?? "").matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)].map(([, k, v]) => [k, v])),
    value: Number(value),
  }));
  const select = (name, labels = {}) =>
    samples.filter((s) => s.name === name && Object.entries(labels).every(([key, value]) => s.labels[key] === value));
  return {
    samples,
    select,
    /** The sum of all samples of `name` that carry `labels`; undefined when there is none. */
    sum: (name, labels) => {
      const found = select(name, labels);
      return found.length ? found.reduce((total, { value }) => total + value, 0) : undefined;
    },
  };
}
