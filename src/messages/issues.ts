// What is wrong with a message. Turns zod's issues into ours. zod's own texts can repeat what the sender wrote, so none is
// passed on: an issue tells the path, the code, and what the schema expected.

import type * as z from 'zod';

/** One thing wrong with a message. Never holds a value of the message. */
export interface Issue {
  /** Where, as `data.entities[3].id`; empty for the message as a whole. */
  path: string;
  code: string;
  message: string;
}

/** Notes one broken rule. `path` is dotted, from the message's top. */
export type ReportIssue = (path: string, code: string, message: string) => void;

/** A business rule: calls `report` once for each thing that is wrong. Must not change the message. */
export type Rule<M = never> = (message: M, report: ReportIssue) => void;

/** How many issues one rejected message reports. */
export const MAX_ISSUES = 8;

/** Bytes of one issue as it is sent: its three texts, in JSON. A reply with all its issues stays under 4 KB. */
export const MAX_ISSUE_BYTES = 256;
const MAX_PATH_BYTES = 128;
const MAX_CODE_BYTES = 32;

/** An issue whose texts are cut to {@link MAX_ISSUE_BYTES} together. */
export function boundedIssue(path: string, code: string, message: string): Issue {
  const issue = { path: clip(path, MAX_PATH_BYTES), code: clip(code, MAX_CODE_BYTES), message: '' };
  const rest = MAX_ISSUE_BYTES - jsonBytes(issue.path) - jsonBytes(issue.code);
  return { ...issue, message: clip(message, rest) };
}

/** Cuts a text to a number of bytes as a JSON string, without its quotes; an ellipsis stands for what is cut. */
function clip(text: string, maxBytes: number): string {
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
  return issues
    .slice(0, MAX_ISSUES)
    .map((issue) => boundedIssue(formatPath(issue.path, knownKeys), issue.code, expectation(issue)));
}

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

/** A value of a schema; enough of a long one that it is cut. */
function describeValue(value: unknown): string {
  const text = typeof value === 'string' ? JSON.stringify(value.slice(0, MAX_ISSUE_BYTES)) : String(value);
  return text.slice(0, MAX_ISSUE_BYTES);
}
