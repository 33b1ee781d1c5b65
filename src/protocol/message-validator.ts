// Validates a parsed message: known type, schema, business rules, age. Used in the workers, and on its own for single
// messages. Must never change a message or include its values in a result.

import { isUtf8 } from 'node:buffer';
import type { WireErrorCode } from '../errors.js';
import { requireKnownOptions } from '../known-options.js';
import type { Issue } from '../messages/issues.js';
import { boundedIssue, fromZodIssues, MAX_ISSUES } from '../messages/issues.js';
import { MessageRegistry, type MessageType } from '../messages/message-registry.js';
import { isAccepted, issuesOf, omittableNulls } from '../messages/schema-functions.js';
import { parseTimestamp } from '../messages/timestamps.js';
import { errorOffset } from '../wire/error-offset.js';
import { messageStart } from '../wire/framing.js';
import { decodeJson, MAX_DEPTH } from '../wire/safe-json.js';

export interface ValidatorOptions {
  /** The known message types. Default: those of the protocol. */
  registry?: MessageRegistry;
  /** Maximum size of a message given as bytes. Default: 1 MiB. */
  maxMessageSize?: number;
  /** Maximum nesting levels of a message given as bytes. Default: 64. */
  maxDepth?: number;
  /** Maximum age of a message, in ms; 0: no limit. Default: 0. */
  maxMessageAge?: number;
  /** Maximum distance of a timestamp in the future, in ms; 0: no limit. Default: 0. */
  maxClockSkew?: number;
  /** Wall clock in ms since 1970, used only for the age rules. Default: `Date.now`. */
  now?: () => number;
}

const OPTIONS: Readonly<Record<keyof ValidatorOptions, true>> = {
  registry: true,
  maxMessageSize: true,
  maxDepth: true,
  maxMessageAge: true,
  maxClockSkew: true,
  now: true,
};

export interface Acceptance {
  readonly ok: true;
  readonly type: MessageType;
}

export interface Rejection {
  readonly ok: false;
  readonly code: WireErrorCode;
  /** Name of the message's type, if the registry knows it. */
  readonly type: string | undefined;
  readonly issues: readonly Issue[];
  /**
   * Where a message given as bytes stops being JSON or UTF-8, in bytes from its start; whitespace and a byte order mark
   * before it do not count. Only with `INVALID_JSON` and `INVALID_UTF8`, if the issues of the message are wanted.
   */
  readonly offset?: number | undefined;
}

export type ValidationResult = Acceptance | Rejection;

export interface ValidationStatistics {
  readonly accepted: number;
  readonly rejected: number;
  readonly byType: Readonly<Record<string, number>>;
  readonly byCode: Readonly<Record<string, number>>;
}

export function reject(
  code: WireErrorCode,
  type?: string,
  issues: readonly Issue[] = [],
  offset?: number,
): Rejection {
  return { ok: false, code, type, issues, offset };
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
  readonly #acceptances: readonly Acceptance[];

  /** @throws SluiceError `INVALID_OPTION` if there is no such option */
  constructor(options: ValidatorOptions = {}) {
    requireKnownOptions(options, OPTIONS);
    this.registry = options.registry ?? MessageRegistry.builtin();
    this.maxMessageSize = options.maxMessageSize ?? 1024 * 1024;
    this.maxDepth = options.maxDepth ?? MAX_DEPTH;
    this.#maxMessageAge = options.maxMessageAge ?? 0;
    this.#maxClockSkew = options.maxClockSkew ?? 0;
    this.#now = options.now ?? Date.now;
    this.#accepted = new Uint32Array(this.registry.types.length);
    this.#acceptances = this.registry.types.map((type) => ({ ok: true, type }));
  }

  /**
   * Validates one message: the bytes of one JSON object, or a value that `JSON.parse` has returned. Never throws for
   * an invalid message.
   * @param wantsIssues whether a rejection includes its issues. Default: true.
   */
  validate(message: Buffer | unknown, wantsIssues = true): ValidationResult {
    return this.count(
      Buffer.isBuffer(message) ? this.#checkBytes(message, wantsIssues) : this.check(message, wantsIssues),
    );
  }

  /** Validates a parsed value, without counting it. */
  check(message: unknown, wantsIssues = true): ValidationResult {
    const result = this.#check(message, wantsIssues);
    // Rejections without issues are shared by all messages of a batch that break the contract in the same way.
    return result.ok || wantsIssues ? result : reject(result.code, result.type);
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
    if (result.ok) {
      const { index } = result.type;
      this.#accepted[index] = (this.#accepted[index] ?? 0) + 1;
    } else this.#rejected.set(result.code, (this.#rejected.get(result.code) ?? 0) + 1);
    return result;
  }

  /** Returns whether `maxMessageAge` and `maxClockSkew` allow a timestamp; `undefined` if both are off. */
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

  #checkBytes(bytes: Buffer, wantsIssues: boolean): ValidationResult {
    if (bytes.length > this.maxMessageSize) return reject('MESSAGE_TOO_LARGE');
    const start = messageStart(bytes, 0, bytes.length);
    const decoded = isUtf8(bytes)
      ? decodeJson(bytes, start, bytes.length, this.maxDepth)
      : ({ ok: false, code: 'INVALID_UTF8' } as const);
    if (decoded.ok) return this.check(decoded.value, wantsIssues);
    const offset = wantsIssues ? errorOffset(decoded.code, bytes, start, bytes.length) : undefined;
    return reject(decoded.code, undefined, [], offset);
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
    // Only the broker may send these types.
    if (type === undefined || type.direction === 'broker') return reject('UNKNOWN_TYPE');
    try {
      return this.#checkType(type, message, wantsIssues);
    } catch {
      // A rule or a schema of a schema module threw. The error may quote the message, so only the type is passed on.
      return reject('VALIDATION_FAILED', type.name);
    }
  }

  #checkType(type: MessageType, message: object, wantsIssues: boolean): ValidationResult {
    // `validate` returns a boolean without building anything; finding the issues takes a second pass.
    if (!isAccepted(type, message)) {
      return reject('SCHEMA_VIOLATION', type.name, wantsIssues ? this.#schemaIssues(type, message) : []);
    }
    const issues = this.#brokenRules(type, message);
    if (issues !== undefined) return reject('RULE_VIOLATION', type.name, issues);
    return this.#acceptances[type.index] as Acceptance;
  }

  #schemaIssues(type: MessageType, message: object): Issue[] {
    const find = (value: object) => issuesOf(type, value, MAX_ISSUES);
    const issues = find(message);
    return fromZodIssues(issues, this.registry.knownKeys, omittableNulls(message, issues, find));
  }

  #brokenRules(type: MessageType, message: object): Issue[] | undefined {
    let issues: Issue[] | undefined;
    const report = (path: string, code: string, text: string): void => {
      issues ??= [];
      if (issues.length < MAX_ISSUES) issues.push(boundedIssue(path, code, text));
    };
    // The schema has just accepted the message as the type that this rule was written for.
    const rule = type.rule as ((message: object, report: unknown) => unknown) | undefined;
    const result = rule?.(message, report);
    if (isThenable(result)) {
      // Its result would come too late. An unhandled rejection would end the worker.
      Promise.resolve(result).then(ignore, ignore);
      throw new Error('a rule returned a promise');
    }
    if (this.#maxMessageAge > 0 || this.#maxClockSkew > 0) this.#checkAge(message, report);
    return issues;
  }

  #checkAge(message: { timestamp?: unknown }, report: (path: string, code: string, text: string) => void) {
    if (typeof message.timestamp !== 'string') return;
    const age = this.#now() - parseTimestamp(message.timestamp);
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
