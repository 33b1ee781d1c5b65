// Declarative business rules. They are data so that two consumers can read them: the slow path builds a rule function
// from them, and the pattern compiler builds the checks into the pattern.

import type { ReportIssue, Rule } from './issues.js';

/** Paths are dotted, start at the message, and pass through objects only. */
export interface DeclarativeRules {
  /** `jobId`, or `job_id` if `jobId` is missing, has at least {@link MIN_JOB_ID_LENGTH} characters. */
  readonly needsJobId?: true;
  /** Numbers that must not be negative, or objects whose values are such numbers. */
  readonly notNegative?: readonly string[];
  readonly integer?: readonly string[];
  /** Pairs of a count and its total: a total that is present and not 0, which means unknown, limits the count. */
  readonly withinTotal?: readonly (readonly [count: string, total: string])[];
}

export const MIN_JOB_ID_LENGTH = 3;

interface Envelope {
  jobId?: string | undefined;
  job_id?: string | undefined;
}

/** Builds a rule that checks the declarative rules on a parsed message. */
export function ruleOf(declarative: DeclarativeRules): Rule {
  const checks: ((message: Envelope, report: ReportIssue) => void)[] = [];
  if (declarative.needsJobId) checks.push(checkJobId);
  for (const path of declarative.integer ?? []) {
    const read = pathReader(path);
    checks.push((message, report) => {
      const value = read(message);
      if (value !== undefined && !Number.isInteger(value)) report(path, 'not_integer', 'must be an integer');
    });
  }
  for (const path of declarative.notNegative ?? []) {
    const read = pathReader(path);
    checks.push((message, report) => {
      if (hasNegative(read(message))) report(path, 'negative', 'must not be negative');
    });
  }
  for (const [count, total] of declarative.withinTotal ?? []) {
    const [readCount, readTotal] = [pathReader(count), pathReader(total)];
    const name = total.slice(total.lastIndexOf('.') + 1);
    checks.push((message, report) => {
      // The schema guarantees numbers. If one is missing, the comparison with undefined is false.
      const limit = readTotal(message) as number;
      if (limit !== 0 && (readCount(message) as number) > limit) {
        report(count, `over_${name}`, `must not be greater than ${name}`);
      }
    });
  }
  return (message, report) => {
    for (const check of checks) check(message, report);
  };
}

function checkJobId(message: Envelope, report: ReportIssue): void {
  const jobId = message.jobId ?? message.job_id;
  if (jobId === undefined) report('jobId', 'job_id_missing', 'jobId is required');
  else if (jobId.length < MIN_JOB_ID_LENGTH) {
    report('jobId', 'job_id_short', `must have at least ${MIN_JOB_ID_LENGTH} characters`);
  }
}

function hasNegative(value: unknown): boolean {
  if (typeof value === 'number') return value < 0;
  return typeof value === 'object' && value !== null && Object.values(value).some((part) => part < 0);
}

function pathReader(path: string): (message: object) => unknown {
  const steps = path.split('.');
  return (message) => {
    let value: unknown = message;
    for (const step of steps) {
      if (typeof value !== 'object' || value === null || !Object.hasOwn(value, step)) return undefined;
      value = (value as Record<string, unknown>)[step];
    }
    return value;
  };
}
