// `npm run bench:e2e`: whole systems, one after the other, same bytes: crawlers in one process, the
// broker in another, subscribers in a third. Medians of several rounds, interleaved.
//
// Options by environment: MESSAGES (of all crawlers together), ROUNDS, SUBSCRIBERS.

import { writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { type Measurement, measure } from './measure.js';
import { MISSING, SYSTEMS } from './systems.js';

const PUBLISHERS = 4;
/** A whole number of blocks for each publisher. */
const messages = Math.ceil(Number(process.env.MESSAGES ?? 1_000_000) / 8000) * 8000;
const rounds = Number(process.env.ROUNDS ?? 3);
const subscribers = Number(process.env.SUBSCRIBERS ?? 1);

const results = new Map<string, Measurement[]>(SYSTEMS.map(({ name }) => [name, []]));
process.stdout.write(
  `${PUBLISHERS} → ${subscribers}, ${messages} messages, ${rounds} rounds, ${availableParallelism()} cores, Node ${process.version}\n`,
);
for (const name of MISSING) process.stdout.write(`  not found here: ${name}\n`);
for (let round = 1; round <= rounds; round++) {
  for (const system of SYSTEMS) {
    try {
      const result = await measure(system, { publishers: PUBLISHERS, subscribers, messages });
      results.get(system.name)?.push(result);
      process.stdout.write(`  round ${round}: ${system.name.padEnd(30)} ${result.seconds.toFixed(2)} s\n`);
    } catch (error) {
      process.stdout.write(`  round ${round}: ${system.name.padEnd(30)} failed: ${String(error)}\n`);
    }
  }
}

const medians = SYSTEMS.filter(({ name }) => results.get(name)?.length).map(({ name }) => ({
  name,
  ...medianOf(results.get(name) ?? []),
}));
const baseline = medians.find(({ name }) => name === 'plain Node server');
process.stdout.write(
  `\n${'system'.padEnd(30)} ${'messages/s'.padStart(12)} ${'MB/s'.padStart(8)} ${'CPU-s/million'.padStart(14)} ${'peak RSS'.padStart(10)} ${'time, plain = 1'.padStart(16)}\n`,
);
for (const { name, seconds, bytes, cpuSeconds, peakRss } of medians) {
  const ratio = baseline === undefined ? Number.NaN : seconds / baseline.seconds;
  process.stdout.write(
    `${[
      name.padEnd(30),
      Math.round(messages / seconds)
        .toLocaleString('en-US')
        .padStart(12),
      (bytes / seconds / 1e6).toFixed(0).padStart(8),
      ((cpuSeconds / messages) * 1e6).toFixed(2).padStart(14),
      `${(peakRss / 1e6).toFixed(0)} MB`.padStart(10),
      ratio.toFixed(2).padStart(16),
    ].join(' ')}\n`,
  );
}
if (process.argv[2] !== undefined) {
  const report = { publishers: PUBLISHERS, subscribers, messages, rounds, node: process.version, medians };
  writeFileSync(process.argv[2], `${JSON.stringify(report, undefined, 2)}\n`);
}

function medianOf(measurements: readonly Measurement[]): Measurement {
  const middle = (field: keyof Measurement): number =>
    measurements.map((measurement) => measurement[field]).sort((a, b) => a - b)[
      Math.floor(measurements.length / 2)
    ] ?? 0;
  return {
    seconds: middle('seconds'),
    bytes: middle('bytes'),
    cpuSeconds: middle('cpuSeconds'),
    peakRss: middle('peakRss'),
  };
}
