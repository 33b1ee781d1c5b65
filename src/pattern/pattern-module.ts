// Generates the WebAssembly module of a pattern. It exports one function, `match`, which receives the address of a
// message and returns the address after it, or 0 if the text does not match. Captured values are written to memory.

import { NodeWriter, PatternContext } from './codegen.js';
import { hasCheckedTime, hasChecks, type PatternNode, type Spacing } from './ir.js';
import { SLOT, SPAN } from './memory-layout.js';
import { type Code, f64, getLocal, i32, select } from './wasm/expressions.js';
import type { FunctionWriter } from './wasm/function-writer.js';
import { ModuleWriter } from './wasm/module-writer.js';

/** The input of the code generator. */
export interface PatternSource {
  /** Name of the message type. */
  readonly name: string;
  /** Matches the whole message. */
  readonly node: PatternNode;
  readonly spacing: Spacing;
  /** Pairs of captured numbers: if both are present, the first must not be greater than the second. */
  readonly withinTotal: readonly (readonly [count: string, total: string])[];
  /** Path of a number to write to {@link SLOT.HEARTBEAT}. */
  readonly activeJobs: string | undefined;
  /** Number of spans to write to the table of spans. */
  readonly spans: number;
}

/** The largest `activeJobs` that the slot can hold; larger values are clamped to it. */
const MAX_ACTIVE_JOBS = 0xffff_fffe;

const NOTHING = i32.const(0);
const setSlot = (offset: number, value: Code): Code => i32.store(NOTHING, value, offset);

/**
 * Generates the module. It imports `env.memory`, and `env.isTimely` if it checks a timestamp.
 *
 *     match(at) {
 *       captured numbers = NaN;
 *       match node;                                 // on failure: CHECKS = 0; return 0
 *       if (total != 0 && count > total) return 0;  // for each pair of withinTotal; false if one is NaN
 *       JOB_START = address of the job id;          // 0 if there is none
 *       JOB_LENGTH = its length;
 *       for (span of spans) SPANS[span] = { start, end };                // 0 and 0 if the member is absent
 *       if (activeJobs is not NaN) HEARTBEAT = min(trunc(activeJobs), MAX_ACTIVE_JOBS);
 *       return at;
 *     }
 */
export function generatePattern({
  name,
  node,
  spacing,
  withinTotal,
  activeJobs,
  spans,
}: PatternSource): ModuleWriter {
  const module = new ModuleWriter(name);
  const isTimely = hasCheckedTime(node) ? module.importFunction('isTimely', 2) : undefined;
  const context = new PatternContext(module, spacing, isTimely);
  const match = module.add('match', ['at'], (writer) => {
    const message = new NodeWriter(context, writer);
    const operands = withinTotal.map((paths) => paths.map((path) => getLocal(message.capture(path))));
    const jobs = activeJobs === undefined ? undefined : getLocal(message.capture(activeJobs));
    writer.block((fail) => {
      message.write(node, fail);
      message.flush(fail);
      for (const [count = [], total = []] of operands) {
        writer.branchIf(fail, i32.and(f64.ne(total, f64.const(0)), f64.gt(count, total)));
      }
      writer.emit(setSlot(SLOT.JOB_START, jobId(message, 'start')));
      writer.emit(setSlot(SLOT.JOB_LENGTH, jobId(message, 'length')));
      writeSpans(message, writer, spans);
      if (jobs !== undefined) {
        const count = i32.trunc_sat_f64_u(jobs);
        const isTooMany = i32.gt_u(count, i32.const(MAX_ACTIVE_JOBS));
        const writeCount = setSlot(SLOT.HEARTBEAT, select(i32.const(MAX_ACTIVE_JOBS), count, isTooMany));
        // NaN, for an absent number, is not equal to itself.
        writer.if(i32.eqz(f64.ne(jobs, jobs)), () => writer.emit(writeCount));
      }
      writer.return(getLocal(0));
    });
    if (hasChecks(node)) writer.emit(setSlot(SLOT.CHECKS, NOTHING));
    return NOTHING;
  });
  module.export(match);
  return module;
}

function writeSpans(message: NodeWriter, writer: FunctionWriter, count: number): void {
  if (count === 0) return;
  const row = writer.local('row');
  writer.set(row, i32.load(NOTHING, SLOT.SPANS));
  for (let span = 0; span < count; span++) {
    const captured = message.spans.get(span);
    writer.emit(
      i32.store(getLocal(row), localOrZero(captured?.start), span * SPAN.SIZE * 4 + SPAN.START * 4),
    );
    writer.emit(i32.store(getLocal(row), localOrZero(captured?.end), span * SPAN.SIZE * 4 + SPAN.END * 4));
  }
}

/** The value of a local that is only written if the pattern has its member. */
function localOrZero(local: number | undefined): Code {
  return local === undefined ? NOTHING : getLocal(local);
}

/** The address or length of the job id: of `jobId`, or of the older key `job_id` if `jobId` is absent. */
function jobId({ strings }: NodeWriter, part: 'start' | 'length'): Code {
  const [newer, older] = [strings.get('jobId'), strings.get('job_id')];
  const partOf = (locals: typeof newer) => localOrZero(locals?.[part]);
  if (newer === undefined) return partOf(older);
  return older === undefined ? partOf(newer) : select(partOf(newer), partOf(older), getLocal(newer.start));
}
