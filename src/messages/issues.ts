// Validation issues of a message, converted from zod's issues. zod's own texts can quote the message, so they are
// replaced: an issue has the path, the code, and a text that describes what the schema expected.

import type * as z from 'zod';

/** One validation issue. Never contains a value of the message. */
export interface Issue {
  /** Path of the invalid value, such as `data.entities[3].id`; empty for the message as a whole. */
  path: string;
  code: string;
  message: string;
}

/** Reports one violated rule. `path` is dotted and starts at the message. */
export type ReportIssue = (path: string, code: string, message: string) => void;

/**
 * A business rule: calls `report` once per violation. Gets what the schema has accepted, not what parsing would return.
 * Must not change the message.
 */
export type Rule<M = never> = (message: M, report: ReportIssue) => void;

/** Maximum number of issues reported for one rejected message. */
export const MAX_ISSUES = 8;

/** Maximum bytes of one issue: its three texts, as JSON. Keeps a reply with {@link MAX_ISSUES} issues under 4 KB. */
export const MAX_ISSUE_BYTES = 256;
const MAX_PATH_BYTES = 128;
const MAX_CODE_BYTES = 32;

/** Creates an issue, truncating its texts to {@link MAX_ISSUE_BYTES} in total. */
export function boundedIssue(path: string, code: string, message: string): Issue {
  const issue = { path: truncate(path, MAX_PATH_BYTES), code: truncate(code, MAX_CODE_BYTES), message: '' };
  const rest = MAX_ISSUE_BYTES - jsonBytes(issue.path) - jsonBytes(issue.code);
  return { ...issue, message: truncate(message, rest) };
}

/** Truncates a text so that its JSON string, without the quotes, fits `maxBytes`; an ellipsis marks the cut. */
function truncate(text: string, maxBytes: number): string {
  if (text.length <= maxBytes && jsonBytes(text) <= maxBytes) return text;
  let bytes = jsonBytes(ELLIPSIS);
  let kept = '';
  for (const character of text) {
    bytes += jsonBytes(character);
    if (bytes > maxBytes) break;
    kept += character;
  }
  return kept + ELLIPSIS;
}

const ELLIPSIS = '…';

function jsonBytes(text: string): number {
  return Buffer.byteLength(JSON.stringify(text)) - 2;
}

/**
 * Formats a path as `data.entities[3].id`. A key that no schema defines is the sender's own text, so it appears as `*`.
 * @param knownKeys all keys that schemas define
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

/** @param omittableNulls the issues about a `null` where the key could be left out. Default: none. */
export function fromZodIssues(
  issues: readonly z.core.$ZodIssue[],
  knownKeys: ReadonlySet<string>,
  omittableNulls?: ReadonlySet<z.core.$ZodIssue>,
): Issue[] {
  return issues.slice(0, MAX_ISSUES).map((issue) => {
    const message = omittableNulls?.has(issue) ? NULL_IS_NOT_MISSING : expectation(issue);
    return boundedIssue(formatPath(issue.path, knownKeys), issue.code, message);
  });
}

const NULL_IS_NOT_MISSING = 'null is not the same as a missing field: leave the key out';

function expectation(issue: z.core.$ZodIssue): string {
  switch (issue.code) {
    case 'invalid_type':
      return `expected ${issue.expected}`;
    case 'invalid_value':
      return `expected ${issue.values.slice(0, MAX_ISSUE_BYTES).map(describeValue).join(' or ')}`;
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

/** A value that the schema allows, as text. A long one is shortened to a length that {@link boundedIssue} truncates. */
function describeValue(value: unknown): string {
  const text = typeof value === 'string' ? JSON.stringify(value.slice(0, MAX_ISSUE_BYTES)) : String(value);
  return text.slice(0, MAX_ISSUE_BYTES);
}
