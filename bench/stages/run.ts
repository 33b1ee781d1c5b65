// `npm run bench`: measures each stage separately with tinybench. Prints a table and writes it as JSON.

import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { Bench } from 'tinybench';
import * as deliver from './deliver.js';
import * as dispatch from './dispatch.js';
import * as frame from './frame.js';
import * as record from './record.js';
import * as route from './route.js';
import * as validate from './validate.js';

/** A stage and its measurements. */
interface Stage {
  /** Adds the tasks. Returns the number of messages that each task processes per run. */
  add(bench: Bench): ReadonlyMap<string, number> | Promise<ReadonlyMap<string, number>>;
  /** Releases the resources of the tasks. */
  close?(): Promise<void>;
}

const STAGES: readonly (readonly [name: string, stage: Stage])[] = [
  ['frame', frame],
  ['validate', validate],
  ['dispatch', dispatch],
  ['record', record],
  ['route', route],
  ['deliver', deliver],
];

/** Duration of each measurement, in ms, unless it is given. */
const DEFAULT_TIME = 500;
/** Minimum number of runs of each task in that time; proportionally fewer in a shorter one. */
const ITERATIONS = 64;
/** Time and runs of the warm-up, as a share of the measurement's. */
const WARM_UP = 1 / 5;

const USAGE = `Measures each stage separately.

  npm run bench -- [--time MS] [--only STAGE] [--out FOLDER]

  --time MS      duration of each measurement (default: ${DEFAULT_TIME})
  --only STAGE   one of ${STAGES.map(([name]) => name).join(', ')}
  --out FOLDER   folder for stages.json (default: bench/results)
`;

const { values } = parseArgs({
  options: {
    time: { type: 'string', default: String(DEFAULT_TIME) },
    only: { type: 'string' },
    out: { type: 'string', default: 'bench/results' },
    help: { type: 'boolean', short: 'h' },
  },
});
const time = Number(values.time);
const chosen = STAGES.filter(([name]) => values.only === undefined || values.only === name);
if (values.help || !(time > 0) || chosen.length === 0) {
  process.stdout.write(USAGE);
  process.exit(values.help ? 0 : 64);
}

interface Row {
  readonly stage: string;
  readonly task: string;
  /** Median. */
  readonly nanosecondsPerMessage: number;
  /** Relative margin of error of the mean, in percent. */
  readonly margin: number;
}

const iterations = Math.ceil(ITERATIONS * Math.min(1, time / DEFAULT_TIME));
const rows: Row[] = [];
for (const [name, stage] of chosen) {
  const bench = new Bench({
    time,
    iterations,
    warmupTime: time * WARM_UP,
    warmupIterations: Math.ceil(iterations * WARM_UP),
  });
  const messages = await stage.add(bench);
  await bench.run();
  await stage.close?.();
  process.stdout.write(`\n${name.padEnd(44)}${'ns per message'.padStart(16)}\n`);
  for (const { name: task, result } of bench.tasks) {
    if (result.state !== 'completed') throw new Error(`${task} did not complete: ${result.state}`);
    const nanosecondsPerMessage = (result.latency.p50 * 1e6) / (messages.get(task) ?? 1);
    rows.push({ stage: name, task, nanosecondsPerMessage, margin: result.latency.rme });
    process.stdout.write(
      `  ${task.padEnd(42)}${nanosecondsPerMessage.toFixed(1).padStart(16)} ± ${result.latency.rme.toFixed(1)} %\n`,
    );
  }
}
mkdirSync(values.out, { recursive: true });
const file = join(values.out, 'stages.json');
writeFileSync(file, `${JSON.stringify({ node: process.version, rows }, undefined, 2)}\n`);
process.stdout.write(`\nwritten to ${file}\n`);
