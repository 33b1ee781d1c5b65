// Says whether a parsed message is valid: known type, schema, business rules, age.
// Runs in the workers, and alone on one message. Must never change a message or repeat its values.

import { isUtf8 } from 'node:buffer';
import * as z from 'zod';
import type { WireErrorCode } from '../errors.js';
import { findIssues } from '../messages/issue-finder.js';
import type { Issue } from '../messages/issues.js';
import { boundedIssue, fromZodIssues, MAX_ISSUES } from '../messages/issues.js';
import { MessageRegistry, type MessageType } from '../messages/message-registry.js';
import { decodeJson, MAX_DEPTH } from '../wire/safe-json.js';

export interface ValidatorOptions {
  /** The types to know; default: the protocol's own. */
  registry?: MessageRegistry;
  /** Longest message, in bytes; default 1 MiB. Applies where bytes are given. */
  maxMessageSize?: number;
  /** Deepest nesting, in levels; default 64. Applies where bytes are given. */
  maxDepth?: number;
  /** Reject messages older than this many ms; default 0: never. */
  maxMessageAge?: number;
  /** Reject messages more than this many ms in the future; default 0: never. */
  maxClockSkew?: number;
  /** Wall clock in ms since 1970, for the age rules alone; default `Date.now`. */
  now?: () => number;
}

export interface Acceptance {
  readonly ok: true;
  readonly type: MessageType;
}

export interface Rejection {
  readonly ok: false;
  readonly code: WireErrorCode;
  /** Name of the message's type where the registry knows it. */
  readonly type: string | undefined;
  readonly issues: readonly Issue[];
}

export type ValidationResult = Acceptance | Rejection;

export interface ValidationStatistics {
  readonly accepted: number;
  readonly rejected: number;
  readonly byType: Readonly<Record<string, number>>;
  readonly byCode: Readonly<Record<string, number>>;
}

export function reject(code: WireErrorCode, type?: string, issues: readonly Issue[] = []): Rejection {
  return { ok: false, code, type, issues };
}

export class MessageValidator {
  readonly registry: MessageRegistry;
  readonly maxMessageSize: number;
  readonly maxDepth: number;
  readonly #maxMessageAge: number;
  readonly #maxClockSkew: number;
  readonly #now: () => number;
  readonly #accepted: Uint32Array;
  readonly #rejected = new Map<WireErrorCode, number>();
  readonly #accept: readonly Acceptance[];

  constructor(options: ValidatorOptions = {}) {
    this.registry = options.registry ?? MessageRegistry.builtin();
    this.maxMessageSize = options.maxMessageSize ?? 1024 * 1024;
    this.maxDepth = options.maxDepth ?? MAX_DEPTH;
    this.#maxMessageAge = options.maxMessageAge ?? 0;
    this.#maxClockSkew = options.maxClockSkew ?? 0;
    this.#now = options.now ?? Date.now;
    this.#accepted = new Uint32Array(this.registry.types.length);
    this.#accept = this.registry.types.map((type) => ({ ok: true, type }));
  }

  /**
   * Validates one message: the bytes of one JSON object, or an already parsed value.
   * Never throws for a bad message.
   * @param wantsIssues whether a rejection by the schema tells the issues; default: yes
   */
  validate(message: Buffer | unknown, wantsIssues = true): ValidationResult {
    return this.count(
      Buffer.isBuffer(message) ? this.#checkBytes(message) : this.check(message, wantsIssues),
    );
  }

  /** Validates a parsed value, without counting it. */
  check(message: unknown, wantsIssues = true): ValidationResult {
    try {
      return this.#check(message, wantsIssues);
    } catch {
      // A rule or a schema of a schema module threw. What it threw may quote the message: it is dropped.
      return reject('VALIDATION_FAILED');
    }
  }

  /** Accepted and rejected messages so far, by type and by error code. */
  get statistics(): ValidationStatistics {
    const counts = this.registry.types.map(({ name, index }) => [name, this.#accepted[index] ?? 0] as const);
    const accepted = counts.reduce((sum, [, count]) => sum + count, 0);
    const byType = Object.fromEntries(counts.filter(([, count]) => count > 0));
    const rejected = [...this.#rejected.values()].reduce((sum, count) => sum + count, 0);
    return { accepted, rejected, byType, byCode: Object.fromEntries(this.#rejected) };
  }

  /** Adds a result to the statistics. */
  count<R extends ValidationResult>(result: R): R {
    if (result.ok) this.countAccepted(result.type.index);
    else this.#rejected.set(result.code, (this.#rejected.get(result.code) ?? 0) + 1);
    return result;
  }

  /** Adds a message that a pattern has accepted. */
  countAccepted(typeIndex: number): void {
    this.#accepted[typeIndex] = (this.#accepted[typeIndex] ?? 0) + 1;
  }

  /** Whether `maxMessageAge` and `maxClockSkew` allow the timestamp; undefined when both are off. */
  get isTimely(): ((timestamp: string) => boolean) | undefined {
    if (this.#maxMessageAge === 0 && this.#maxClockSkew === 0) return undefined;
    return (timestamp) => {
      let isTimely = true;
      this.#checkAge({ timestamp }, () => {
        isTimely = false;
      });
      return isTimely;
    };
  }

  #checkBytes(bytes: Buffer): ValidationResult {
    if (bytes.length > this.maxMessageSize) return reject('MESSAGE_TOO_LARGE');
    if (!isUtf8(bytes)) return reject('INVALID_UTF8');
    const decoded = decodeJson(bytes, 0, bytes.length, this.maxDepth);
    return decoded.ok ? this.check(decoded.value) : reject(decoded.code);
  }

  #check(message: unknown, wantsIssues: boolean): ValidationResult {
    if (typeof message !== 'object' || message === null || Array.isArray(message)) {
      return reject('SCHEMA_VIOLATION', undefined, [
        { path: '', code: 'invalid_type', message: 'expected object' },
      ]);
    }
    const name = (message as { type?: unknown }).type;
    if (typeof name !== 'string') {
      return reject('SCHEMA_VIOLATION', undefined, [
        { path: 'type', code: 'invalid_type', message: 'expected string' },
      ]);
    }
    const type = this.registry.get(name);
    // What only the broker says is nobody else's to send.
    if (type === undefined || type.direction === 'broker') return reject('UNKNOWN_TYPE');
    return this.#checkType(type, message, wantsIssues);
  }

  #checkType(type: MessageType, message: object, wantsIssues: boolean): ValidationResult {
    // `validate` answers yes or no without building anything; the details cost a second look.
    if (!isValid(type.schema, message)) {
      if (!wantsIssues) return reject('SCHEMA_VIOLATION', type.name);
      const issues = findIssues(type.schema, message, MAX_ISSUES);
      return reject('SCHEMA_VIOLATION', type.name, fromZodIssues(issues, this.registry.knownKeys));
    }
    const issues = this.#brokenRules(type, message);
    if (issues !== undefined) return reject('RULE_VIOLATION', type.name, issues);
    return this.#accept[type.index] as Acceptance;
  }

  #brokenRules(type: MessageType, message: object): Issue[] | undefined {
    let issues: Issue[] | undefined;
    const report = (path: string, code: string, text: string): void => {
      issues ??= [];
      if (issues.length < MAX_ISSUES) issues.push(boundedIssue(path, code, text));
    };
    // The schema has just accepted the message as the type that this rule was written for.
    const rule = type.rule as ((message: object, report: unknown) => unknown) | undefined;
    const answer = rule?.(message, report);
    if (isThenable(answer)) {
      // What it would find, it would find too late. Nobody else looks at its failure, which would end the worker.
      Promise.resolve(answer).then(ignore, ignore);
      throw new Error('a rule gave a promise');
    }
    if (this.#maxMessageAge > 0 || this.#maxClockSkew > 0) this.#checkAge(message, report);
    return issues;
  }

  #checkAge(message: { timestamp?: unknown }, report: (path: string, code: string, text: string) => void) {
    if (typeof message.timestamp !== 'string') return;
    const age = this.#now() - Date.parse(message.timestamp);
    if (this.#maxMessageAge > 0 && age > this.#maxMessageAge) {
      report('timestamp', 'too_old', 'is older than maxMessageAge');
    }
    if (this.#maxClockSkew > 0 && -age > this.#maxClockSkew) {
      report('timestamp', 'in_future', 'is further in the future than maxClockSkew');
    }
  }
}

function isThenable(value: unknown): value is PromiseLike<unknown> {
  const isObject = (typeof value === 'object' && value !== null) || typeof value === 'function';
  return isObject && 'then' in value && typeof value.then === 'function';
}

function ignore(): void {}

/** Whether a schema accepts a message. */
function isValid(schema: z.ZodType, message: object): boolean {
  try {
    return z.validate(schema, message);
  } catch (error) {
    // zod passes all issues of a record as the arguments of one call: over some 100,000 of them, V8 throws this.
    if (error instanceof RangeError && findIssues(schema, message, MAX_ISSUES).length === MAX_ISSUES)
      return false;
    throw error;
  }
}
