// Finds differences between messages and the contract: keys, values and types that the schemas do not know. Inspects
// mostly messages on the slow path, a few per range. A new key, value or type first arrives on the slow path, because no
// pattern matches it yet.

import type { DriftFact } from '../dispatch/verdict.js';
import type { Issue } from '../messages/issues.js';
import type { MessageType } from '../messages/message-registry.js';
import { extraKeysOf } from '../pattern/layout.js';
import type { PatternSet } from '../pattern/pattern-set.js';

/** Maximum number of messages of a range that are inspected, since it costs as much as the slow path. */
const MAX_INSPECTED = 16;
/** Minimum time between two samples of the messages that patterns match, in ms. */
const SAMPLE_INTERVAL = 50;
/** Maximum number of facts about the keys of a message. */
const MAX_FACTS = 16;
/**
 * What keys, types and values of enumerations look like: words, perhaps with a short number, of at most 48 characters.
 * Anything else could be a secret and is not shown.
 */
const NAME = /^(?=.{1,48}$)(?!gl[a-z]{2,8}-)[a-z][a-z_-]*\d{0,3}$/i;
const isName = (text: string): boolean => NAME.test(text);

export class DriftDetector {
  #left = 0;
  #sampledAt = Number.NEGATIVE_INFINITY;

  /** Starts a range. */
  reset(): void {
    this.#left = MAX_INSPECTED;
  }

  /** Keys of an accepted message that its schema does not name. */
  unknownKeysOf(type: MessageType, message: object): DriftFact[] {
    return this.#left-- <= 0 ? [] : unknownKeys(type, message);
  }

  /**
   * The same for messages of a range that patterns have matched. Sampled: it takes longer than matching a few messages.
   * @param scan number of the last scan before the range
   */
  sampleMatches(patterns: PatternSet, types: readonly MessageType[], scan: number): DriftFact[] {
    const now = performance.now();
    if (now - this.#sampledAt < SAMPLE_INTERVAL) return [];
    this.#sampledAt = now;
    const facts: DriftFact[] = [];
    for (const { typeIndex, paths } of patterns.extraKeysSince(scan)) {
      facts.push(...keyFacts(types[typeIndex]?.name ?? '', paths));
    }
    return facts;
  }

  /** Values and keys of a rejected message that its schema does not allow or name. @param issues of the message */
  factsOfRejected(type: MessageType, message: unknown, issues: readonly Issue[]): DriftFact[] {
    if (this.#left-- <= 0) return [];
    const facts: DriftFact[] = [];
    for (const { path, code } of issues) {
      const location = { messageType: type.name, path: path.replace(/\[\d+\]/g, '[]') };
      if (code === 'invalid_value') {
        const value = valueAt(message, path);
        const name = typeof value === 'string' && isName(value) ? value : undefined;
        facts.push({ kind: 'unknown_value', ...location, value: name });
      } else if (code === 'invalid_type' && valueAt(message, path) !== undefined) {
        facts.push({ kind: 'unexpected_type', ...location, value: undefined });
      }
    }
    return [...facts, ...unknownKeys(type, message)];
  }

  /** A message type without a schema. Its name appears only if it looks like one. */
  factsOfUnknownType(name: string): DriftFact[] {
    if (this.#left-- <= 0) return [];
    return [{ kind: 'unknown_type', messageType: isName(name) ? name : '*', path: '', value: undefined }];
  }
}

function unknownKeys(
  { name, direction, definition, isOtherVersion }: MessageType,
  message: unknown,
): DriftFact[] {
  // Control messages are the broker's own contract, to which newer clients may add.
  if (direction === 'control' || isOtherVersion) return [];
  return keyFacts(name, extraKeysOf(definition, message));
}

function keyFacts(messageType: string, paths: Iterable<string>): DriftFact[] {
  const facts: DriftFact[] = [];
  for (const path of paths) {
    if (facts.length === MAX_FACTS) break;
    facts.push({ kind: 'unknown_key', messageType, path: publicPath(path), value: undefined });
  }
  return facts;
}

/** A path with `*` in place of keys that do not look like names. */
function publicPath(path: string): string {
  // A key that contains a dot is quoted.
  const steps = path.match(/(?<![^.])"(?:[^"\\]|\\.)*"[^.]*|[^.]+/g) ?? [];
  return steps.map((step) => (isName(step.replace(/(\[\]|\{\})+$/, '')) ? step : '*')).join('.');
}

/** The value at a path such as `data.entities[3].id`; `undefined` if there is none. */
function valueAt(message: unknown, path: string): unknown {
  let value = message;
  for (const step of path.match(/[^.[\]]+/g) ?? []) {
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, step)) return undefined;
    value = (value as Readonly<Record<string, unknown>>)[step];
  }
  return value;
}
