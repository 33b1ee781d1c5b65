// Turns zod's issues into ours. zod's own texts can repeat what the sender wrote, so none is
// passed on: an issue tells the path, the code, and what the schema expected.

import type * as z from 'zod';
import type { Issue } from './issue.js';

/** How many issues one refused message reports. */
export const MAX_ISSUES = 8;

/**
 * `data.entities[3].id`. A key that no schema names is the sender's own text, so it shows as `*`.
 * @param knownKeys every key that a schema names
 */
export function formatPath(path: readonly PropertyKey[], knownKeys: ReadonlySet<string>): string {
  let text = '';
  for (const step of path) {
    if (typeof step === 'number') text += `[${step}]`;
    else {
      const key = typeof step === 'string' && knownKeys.has(step) ? step : '*';
      text += text === '' ? key : `.${key}`;
    }
  }
  return text;
}

export function fromZodIssues(issues: readonly z.core.$ZodIssue[], knownKeys: ReadonlySet<string>): Issue[] {
  return issues.slice(0, MAX_ISSUES).map((issue) => ({
    path: formatPath(issue.path, knownKeys),
    code: issue.code,
    message: expectation(issue),
  }));
}

function expectation(issue: z.core.$ZodIssue): string {
  switch (issue.code) {
    case 'invalid_type':
      return `expected ${issue.expected}`;
    case 'invalid_value':
      return `expected ${issue.values.map((value) => JSON.stringify(value)).join(' or ')}`;
    case 'too_small':
      return `expected ${issue.origin} ${issue.inclusive ? 'at least' : 'over'} ${issue.minimum}`;
    case 'too_big':
      return `expected ${issue.origin} ${issue.inclusive ? 'at most' : 'under'} ${issue.maximum}`;
    case 'invalid_format':
      return `expected ${issue.format}`;
    case 'not_multiple_of':
      return `expected a multiple of ${issue.divisor}`;
    case 'invalid_union':
      return 'matches none of the allowed forms';
    case 'unrecognized_keys':
      return 'has keys that are not allowed';
    default:
      return 'is not valid';
  }
}
