// `npm run bench:e2e`: compares whole systems, one at a time, with the same bytes: crawlers in one process, the broker
// in another, subscribers in a third. Prints tables, writes them as Markdown and JSON, and draws the chart.

import { mkdirSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { chartOf } from './chart.js';
import { type Latency, measureLatency, measureThroughput, type Throughput } from './measure.js';
import {
  latencyTable,
  markdown,
  type Report,
  type Result,
  scalingTable,
  throughputTable,
  validationTable,
} from './report.js';
import { COMPARISONS, RATES, SCALING, type Scenario } from './scenarios.js';
import { DROP_IN_SYSTEMS, MISSING, SYSTEMS, type System } from './systems.js';
import { measureValidation } from './validation.js';

const USAGE = `Compares whole systems.

  npm run bench:e2e -- [--rounds N] [--scale N] [--only TEXT] [--smoke] [--out FOLDER]

  --rounds N     number of rounds; the report contains medians (default: 3)
  --scale N      factor for the number of messages and seconds (default: 1)
  --only TEXT    only scenarios whose name contains this text, e.g. '4 → 1', 'latency' or 'scaling'
  --smoke        a quick check that all of it works: every comparison with Sluice, every other system once, one
                 rate, one scenario of each scaling; 1 round, scale 0.02
  --out FOLDER   folder for end-to-end.json, end-to-end.md and throughput.svg (default: bench/results)
`;

const { values } = parseArgs({
  options: {
    rounds: { type: 'string' },
    scale: { type: 'string' },
    smoke: { type: 'boolean', default: false },
    only: { type: 'string', default: '' },
    out: { type: 'string', default: 'bench/results' },
    help: { type: 'boolean', short: 'h' },
  },
});
const rounds = Number(values.rounds ?? (values.smoke ? 1 : 3));
const scale = Number(values.scale ?? (values.smoke ? 0.02 : 1));
if (values.help || !(rounds >= 1) || !(scale > 0)) {
  process.stdout.write(USAGE);
  process.exit(values.help ? 0 : 64);
}

const print = (text: string) => process.stdout.write(`${text}\n`);
const isWanted = (name: string) => name.toLowerCase().includes(values.only.toLowerCase());
const names = ['validation', ...COMPARISONS.map(({ name }) => name), 'latency', 'scaling'];
if (!names.some(isWanted)) {
  process.stderr.write(`No scenario name contains '${values.only}'. Scenarios:\n`);
  for (const name of names) process.stderr.write(`  ${name}\n`);
  process.exit(64);
}
let failures = 0;

/** Measures the systems alternately, round by round, so that fluctuations of the machine affect all of them. */
async function interleave<M>(
  name: string,
  systems: readonly System[],
  measure: (system: System) => Promise<M>,
): Promise<Result<M>> {
  const measured = systems.map(({ name: system }) => ({ system, rounds: [] as M[], failed: '' }));
  for (let round = 0; round < rounds; round++) {
    for (const [index, system] of systems.entries()) {
      try {
        measured[index]?.rounds.push(await measure(system));
      } catch (error) {
        failures++;
        const failed = error instanceof Error ? error.message : String(error);
        Object.assign(measured[index] ?? {}, { failed });
        print(`  ${name}, ${system.name}: ${failed}`);
      }
    }
  }
  return { name, systems: measured };
}

/** Systems that are measured only in scenarios that name them. */
const SPECIAL: ReadonlySet<string> = new Set(['Sluice, inlineBytes', 'Sluice, watched']);

function systemsOf({ isInProcess, systems }: Scenario): readonly System[] {
  if (isInProcess) return DROP_IN_SYSTEMS;
  return SYSTEMS.filter(({ name }) => systems?.includes(name) ?? !SPECIAL.has(name));
}

const alreadyMeasured = new Set<System>();

/** Omits from a smoke run what another scenario has shown to work. */
function toMeasure(systems: readonly System[]): readonly System[] {
  if (!values.smoke) return systems;
  const left = systems.filter((system) => system.name === 'Sluice' || !alreadyMeasured.has(system));
  for (const system of left) alreadyMeasured.add(system);
  return left;
}

/** Only the first of a row in a smoke run. */
const sample = <T>(row: readonly T[]): readonly T[] => (values.smoke ? row.slice(0, 1) : row);

const throughputOf = (scenario: Scenario): Promise<Result<Throughput>> =>
  interleave(scenario.name, toMeasure(systemsOf(scenario)), (system) =>
    measureThroughput(system, scenario, scale),
  );

print(`${availableParallelism()} cores, Node ${process.version}, ${rounds} rounds, scale ${scale}`);
for (const name of MISSING) print(`not installed: ${name}`);

const validation = isWanted('validation') ? measureValidation(scale) : undefined;
if (validation !== undefined) print(`\n${validationTable(validation)}`);

const comparisons: Result<Throughput>[] = [];
for (const scenario of COMPARISONS.filter(({ name }) => isWanted(name))) {
  const result = await throughputOf(scenario);
  comparisons.push(result);
  print(`\n${result.name}\n${throughputTable(result)}`);
}

const latency: Result<Latency>[] = [];
for (const rate of isWanted('latency') ? sample(RATES) : []) {
  const systems = SYSTEMS.filter(({ name }) => !['Sluice, patterns off', 'Sluice, watched'].includes(name));
  const name = `${rate.toLocaleString('en-US')} messages/s`;
  const result = await interleave(name, toMeasure(systems), (system) => measureLatency(system, rate, scale));
  latency.push(result);
  print(`\nlatency at ${name}\n${latencyTable(result)}`);
}

const scaling: Result<Throughput>[][] = [];
for (const scenarios of isWanted('scaling') ? SCALING : []) {
  const results: Result<Throughput>[] = [];
  for (const scenario of sample(scenarios)) results.push(await throughputOf(scenario));
  scaling.push(results);
  print(`\n${scalingTable(results)}`);
}

const report: Report = {
  node: process.version,
  cores: availableParallelism(),
  rounds,
  scale,
  validation,
  comparisons,
  latency,
  scaling,
};
mkdirSync(values.out, { recursive: true });
writeFileSync(join(values.out, 'end-to-end.json'), `${JSON.stringify(report, undefined, 2)}\n`);
writeFileSync(join(values.out, 'end-to-end.md'), markdown(report));
const chart = chartOf(report);
if (chart !== undefined) writeFileSync(join(values.out, 'throughput.svg'), chart);
print(`\nwritten to ${values.out}`);
if (failures > 0) process.exitCode = 1;
