// `npm run bench:e2e`: compares whole systems, one at a time, with the same bytes: crawlers in one process, the broker
// in another, subscribers in a third. Prints tables, writes them as Markdown and JSON, and draws the chart.

import { mkdirSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { chartOf } from './chart.js';
import { type Flags, parseFlags, USAGE, UsageError } from './flags.js';
import {
  type Latency,
  measureLatency,
  measureStartUp,
  measureThroughput,
  type StartUp,
  type Throughput,
} from './measure.js';
import { fleetSystems, measureCrossing, measureForwarding } from './measure-fleet.js';
import { measureConfirming, measureDisk, measureReplaying, measureStoring } from './measure-stores.js';
import {
  confirmingTable,
  type FleetResults,
  forwardingTable,
  latencyTable,
  markdown,
  type Report,
  type Result,
  type Rows,
  replayingTable,
  rowsTable,
  type Stores,
  startUpTable,
  storingTable,
  throughputTable,
  validationTable,
} from './report.js';
import { COMPARISONS, DEFAULT_SYSTEMS, LATENCY, ROWS, type Scenario, START_UP } from './scenarios.js';
import { ENGINE, STORES, type Store } from './stores.js';
import { DROP_IN_SYSTEMS, MISSING, SYSTEMS, type System, type SystemName } from './systems.js';
import { measureValidation } from './validation.js';

/** Exit code for a wrong command line. */
const EXIT_USAGE = 64;

const { custom, isHelp, isSmoke, only, out, rounds, scale } = readFlags();
if (isHelp) {
  process.stdout.write(USAGE);
  process.exit();
}

function readFlags(): Flags {
  try {
    return parseFlags(process.argv.slice(2));
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    process.stderr.write(`bench:e2e: ${error.message}\n`);
    process.exit(EXIT_USAGE);
  }
}

const print = (text: string) => process.stdout.write(`${text}\n`);
const isWanted = (name: string) => custom === undefined && name.toLowerCase().includes(only.toLowerCase());
/** The durable scenarios. */
const STORING = 'durable: 4 publishers, each message confirmed';
const CONFIRMING = 'durable: publishing one message and its confirmation';
const REPLAYING = 'durable: one reader of everything';
/** The scenarios of fleets. */
const FORWARDING = 'fleet: the log of a host, forwarded to the engine';
const CROSSING = 'fleet: one message from a host to another';
const latencyName = (name: string) => `latency at ${name}`;
const names = new Set([
  'validation',
  ...COMPARISONS.map(({ name }) => name),
  START_UP.name,
  'latency',
  ...LATENCY.map(({ name }) => latencyName(name)),
  ...ROWS.map(({ name }) => name),
  FORWARDING,
  CROSSING,
  STORING,
  CONFIRMING,
  REPLAYING,
]);
if (custom === undefined && ![...names].some(isWanted)) {
  process.stderr.write(`No scenario name contains '${only}'. Scenarios:\n`);
  for (const name of names) process.stderr.write(`  ${name}\n`);
  process.exit(EXIT_USAGE);
}
// Without a handler, the process would end without the event 'exit', and leave a broker behind.
process.once('SIGINT', () => process.exit(130));
process.once('SIGTERM', () => process.exit(143));
let failures = 0;

/** Measures the systems alternately, round by round, so that fluctuations of the machine affect all of them. */
async function interleave<M, S extends { readonly name: string }>(
  name: string,
  systems: readonly S[],
  measure: (system: S) => Promise<M>,
): Promise<Result<M, S['name']>> {
  const measured = systems.map(({ name: system }) => ({
    system: system as S['name'],
    rounds: [] as M[],
    failed: '',
  }));
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

/** Omits variants from a smoke run, unless `--only` selects them. */
const isMeasured = ({ isVariant = false }: Pick<Scenario, 'isVariant'>) =>
  !isSmoke || only !== '' || !isVariant;

const systemsNamed = (wanted: readonly SystemName[]) => SYSTEMS.filter(({ name }) => wanted.includes(name));

const alreadyMeasured = new Set<System>();

/** In a smoke run, a scenario is measured with the systems that no other scenario has shown to work, or with Sluice. */
function toMeasure(systems: readonly System[]): readonly System[] {
  if (!isSmoke) return systems;
  const left = systems.filter((system) => !alreadyMeasured.has(system));
  for (const system of left) alreadyMeasured.add(system);
  return left.length > 0 ? left : systems.filter(({ name }) => name === 'Sluice');
}

function throughputOf(scenario: Scenario): Promise<Result<Throughput>> {
  const { isInProcess, name, systems = DEFAULT_SYSTEMS } = scenario;
  return interleave(name, toMeasure(isInProcess ? DROP_IN_SYSTEMS : systemsNamed(systems)), (system) =>
    measureThroughput(system, scenario, scale),
  );
}

print(`${availableParallelism()} cores, Node ${process.version}, ${rounds} rounds, scale ${scale}`);
for (const name of MISSING) print(`not installed: ${name}`);

const validation = isWanted('validation') ? measureValidation(scale) : undefined;
if (validation !== undefined) print(`\n${validationTable(validation)}`);

const comparisons: Result<Throughput>[] = [];
for (const scenario of custom
  ? [custom]
  : COMPARISONS.filter((scenario) => isWanted(scenario.name) && isMeasured(scenario))) {
  const result = await throughputOf(scenario);
  comparisons.push(result);
  print(`\n${result.name}\n${throughputTable(result)}`);
}

const startUp: Result<StartUp>[] = [];
if (isWanted(START_UP.name)) {
  const systems = toMeasure(systemsNamed(START_UP.systems ?? DEFAULT_SYSTEMS));
  const result = await interleave(START_UP.name, systems, (system) =>
    measureStartUp(system, START_UP, scale),
  );
  startUp.push(result);
  print(`\n${result.name}\n${startUpTable(result)}`);
}

const latency: Result<Latency>[] = [];
for (const scenario of LATENCY.filter(({ name }) => isWanted(latencyName(name)))) {
  if (!isMeasured(scenario)) continue;
  const result = await interleave(scenario.name, toMeasure(systemsNamed(scenario.systems)), (system) =>
    measureLatency(system, scenario, scale),
  );
  latency.push(result);
  print(`\n${latencyName(result.name)}\n${latencyTable(result)}`);
}

const rows: Rows[] = [];
for (const { name, scenarios } of ROWS.filter(({ name }) => isWanted(name))) {
  const results: Result<Throughput>[] = [];
  for (const scenario of scenarios.filter(isMeasured)) results.push(await throughputOf(scenario));
  if (results.length === 0) continue;
  rows.push({ name, results });
  print(`\n${name}\n${rowsTable(results)}`);
}

const isDurableSluice = ({ name }: Store) => name === 'Sluice, durable';
const storing = STORES.filter(({ isStoring }) => isStoring);
const stores: Stores = {};
if (isWanted(STORING)) {
  const measured = isSmoke ? STORES.filter(isDurableSluice) : STORES;
  stores.storing = await interleave(STORING, measured, (store) => measureStoring(store, scale));
  print(`\n${STORING}\n${storingTable(stores.storing)}`);
}
if (isWanted(CONFIRMING)) {
  const measured = isSmoke ? STORES.filter(isDurableSluice) : STORES;
  stores.disk = measureDisk();
  stores.confirming = await interleave(CONFIRMING, measured, (store) => measureConfirming(store, scale));
  print(`\n${CONFIRMING}\n${confirmingTable(stores.confirming, stores.disk)}`);
}
if (isWanted(REPLAYING)) {
  const measured = isSmoke ? storing.filter(({ name }) => name !== 'Redis Streams, everysec') : storing;
  stores.replaying = await interleave(REPLAYING, measured, (store) => measureReplaying(store, scale));
  print(`\n${REPLAYING}\n${replayingTable(stores.replaying)}`);
}

const fleet: FleetResults = {};
const fleets = ENGINE === undefined ? [] : fleetSystems(ENGINE).slice(0, isSmoke ? 1 : 2);
if (fleets.length > 0 && isWanted(FORWARDING)) {
  fleet.forwarding = await interleave(FORWARDING, fleets, (system) => measureForwarding(system, scale));
  print(`\n${FORWARDING}\n${forwardingTable(fleet.forwarding)}`);
}
if (fleets.length > 0 && isWanted(CROSSING)) {
  fleet.crossing = await interleave(CROSSING, fleets, (system) => measureCrossing(system, scale));
  print(`\n${CROSSING}\n${confirmingTable(fleet.crossing)}`);
}

const report: Report = {
  node: process.version,
  cores: availableParallelism(),
  rounds,
  scale,
  validation,
  comparisons,
  startUp,
  latency,
  rows,
  stores,
  fleet,
};
mkdirSync(out, { recursive: true });
writeFileSync(join(out, 'end-to-end.json'), `${JSON.stringify(report, undefined, 2)}\n`);
writeFileSync(join(out, 'end-to-end.md'), markdown(report));
const chart = chartOf(report);
if (chart !== undefined) writeFileSync(join(out, 'throughput.svg'), chart);
print(`\nwritten to ${out}`);
if (failures > 0) process.exitCode = 1;
