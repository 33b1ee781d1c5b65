// Writes a pattern as a WebAssembly module with one function, `match`: it takes the address of a message and
// gives the address behind it, or 0 where the text is not what the pattern takes. What it captures, it leaves
// in memory.

import { FragmentWriter, PatternContext } from './codegen.js';
import { hasCheckedTime, type PatternNode, type Spacing } from './ir.js';
import { SLOT } from './memory-layout.js';
import { type Code, f64, getLocal, i32, select } from './wasm/expressions.js';
import { ModuleWriter } from './wasm/module-writer.js';

/** What to generate code for. */
export interface PatternSource {
  /** The whole message. */
  readonly node: PatternNode;
  readonly spacing: Spacing;
  /** Pairs of captured numbers, of which the first must not be greater, where both are there. */
  readonly lessOrEqual: readonly (readonly [smaller: string, greater: string])[];
  /** Path of a captured number to leave in {@link SLOT.HEARTBEAT}. */
  readonly activeJobs: string | undefined;
}

/** The largest `activeJobs` that can be told: larger ones are cut to it. */
const MAX_ACTIVE_JOBS = 0xffff_fffe;

const NOTHING = i32.const(0);
const setSlot = (offset: number, value: Code): Code => i32.store(NOTHING, value, offset);

/** The module's bytes. It imports `env.memory`, and `env.isTimely` where it checks a timestamp. */
export function generatePattern({
  node,
  spacing,
  lessOrEqual,
  activeJobs,
}: PatternSource): Uint8Array<ArrayBuffer> {
  const module = new ModuleWriter();
  const isTimely = hasCheckedTime(node) ? module.importFunction('isTimely', 2) : undefined;
  const context = new PatternContext(module, spacing, isTimely);
  module.add(
    1,
    (writer) => {
      const message = new FragmentWriter(context, writer);
      const operands = lessOrEqual.map((paths) => paths.map((path) => getLocal(message.capture(path))));
      const jobs = activeJobs === undefined ? undefined : getLocal(message.capture(activeJobs));
      writer.block((miss) => {
        message.write(node, miss);
        message.settle(miss);
        for (const [smaller = [], greater = []] of operands) writer.branchIf(miss, f64.gt(smaller, greater));
        writer.emit(setSlot(SLOT.JOB_START, captured(message, 'start')));
        writer.emit(setSlot(SLOT.JOB_LENGTH, captured(message, 'length')));
        if (jobs !== undefined) {
          const count = i32.trunc_sat_f64_u(jobs);
          const isTooMany = i32.gtU(count, i32.const(MAX_ACTIVE_JOBS));
          const told = setSlot(SLOT.HEARTBEAT, select(i32.const(MAX_ACTIVE_JOBS), count, isTooMany));
          // Where the number is not there, it is NaN, which differs from itself.
          writer.if(i32.eqz(f64.ne(jobs, jobs)), () => writer.emit(told));
        }
        writer.return(getLocal(0));
      });
      return NOTHING;
    },
    'match',
  );
  return module.bytes();
}

/** Where the job id lies: `jobId`, or its older spelling where that is not there. */
function captured({ strings }: FragmentWriter, part: 'start' | 'length'): Code {
  const [newer, older] = [strings.get('jobId'), strings.get('job_id')];
  const partOf = (locals: typeof newer) => (locals === undefined ? NOTHING : getLocal(locals[part]));
  if (newer === undefined) return partOf(older);
  return older === undefined ? partOf(newer) : select(partOf(newer), partOf(older), getLocal(newer.start));
}
