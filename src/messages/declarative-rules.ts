// Business rules that are said rather than programmed, so that two can read them: the slow path turns
// them into a rule, and the pattern compiler into a pattern.

import type { ReportIssue, Rule } from './issues.js';

/** Paths are dotted, from the message's top, through objects only. */
export interface DeclarativeRules {
  /** `jobId`, or `job_id` where that is missing, has at least {@link MIN_JOB_ID_LENGTH} characters. */
  readonly needsJobId?: true;
  /** Numbers, or objects whose values are numbers, that must not be negative. */
  readonly notNegative?: readonly string[];
  readonly integer?: readonly string[];
  /** Pairs of numbers of which the first must not be greater than the second, where both are there. */
  readonly lessOrEqual?: readonly (readonly [smaller: string, greater: string])[];
}

export const MIN_JOB_ID_LENGTH = 3;

interface Envelope {
  jobId?: string | undefined;
  job_id?: string | undefined;
}

/** The rule that checks conditions on a parsed message. */
export function ruleOf(conditions: DeclarativeRules): Rule {
  const checks: ((message: Envelope, report: ReportIssue) => void)[] = [];
  if (conditions.needsJobId) checks.push(checkJobId);
  for (const path of conditions.integer ?? []) {
    const read = reader(path);
    checks.push((message, report) => {
      const value = read(message);
      if (value !== undefined && !Number.isInteger(value)) report(path, 'not_integer', 'must be an integer');
    });
  }
  for (const path of conditions.notNegative ?? []) {
    const read = reader(path);
    checks.push((message, report) => {
      if (hasNegative(read(message))) report(path, 'negative', 'must not be negative');
    });
  }
  for (const [smaller, greater] of conditions.lessOrEqual ?? []) {
    const [readSmaller, readGreater] = [reader(smaller), reader(greater)];
    const name = greater.slice(greater.lastIndexOf('.') + 1);
    checks.push((message, report) => {
      // The schema has made them numbers; where one is missing, the comparison is false.
      if ((readSmaller(message) as number) > (readGreater(message) as number)) {
        report(smaller, `over_${name}`, `must not be greater than ${name}`);
      }
    });
  }
  return (message, report) => {
    for (const check of checks) check(message, report);
  };
}

function checkJobId(message: Envelope, report: ReportIssue): void {
  const jobId = message.jobId ?? message.job_id;
  if (jobId === undefined) report('jobId', 'job_id_missing', 'a jobId is needed');
  else if (jobId.length < MIN_JOB_ID_LENGTH) {
    report('jobId', 'job_id_short', `must have at least ${MIN_JOB_ID_LENGTH} characters`);
  }
}

function hasNegative(value: unknown): boolean {
  if (typeof value === 'number') return value < 0;
  return typeof value === 'object' && value !== null && Object.values(value).some((part) => part < 0);
}

function reader(path: string): (message: object) => unknown {
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
