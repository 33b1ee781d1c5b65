// Paths of the fields that handlers read, such as `data.items.0.url`, and the fields that are to be delivered without
// parsing messages on the main thread.

import { SluiceError } from '../errors.js';
import type { MessageRegistry } from './message-registry.js';

/** Paths to deliver, by the name of the message type. */
export type FieldPaths = ReadonlyMap<string, readonly string[]>;

/** The type under which fields of all types of crawlers' messages are registered. */
const ALL_TYPES = '*';
const MAX_PATHS = 16;
const MAX_PATH_LENGTH = 256;

/** The keys and array indices of a path. */
export function segmentsOf(path: string): readonly string[] {
  return path.split('.');
}

/**
 * The value at a path: own members of objects and elements of arrays.
 * @param from index of the first segment to follow
 * @returns `undefined` if there is none
 */
export function valueAt(value: unknown, segments: readonly string[], from = 0): unknown {
  let current = value;
  for (let index = from; index < segments.length; index++) {
    const segment = segments[index] ?? '';
    if (typeof current !== 'object' || current === null || !Object.hasOwn(current, segment)) return undefined;
    if (Array.isArray(current) && segment === 'length') return undefined;
    current = (current as Readonly<Record<string, unknown>>)[segment];
  }
  return current;
}

/** The fields that handlers and `projectFields` have named. A field that was added twice must be removed twice. */
export class FieldTable {
  /** How often each path was added, by the type and path. */
  readonly #counts = new Map<string, Map<string, number>>();

  /**
   * Adds fields of a type, or of all types of crawlers' messages (`*`).
   * @throws SluiceError `INVALID_OPTION`; nothing is added then
   */
  add(type: string, paths: readonly string[]): void {
    if (!Array.isArray(paths) || !paths.every(isPath)) {
      throw new SluiceError(
        'INVALID_OPTION',
        `fields: must be paths of at most ${MAX_PATH_LENGTH} characters`,
      );
    }
    const changed = new Set([...this.#pathsOf(type), ...paths]);
    const others = type === ALL_TYPES ? [ALL_TYPES, ...this.#counts.keys()] : [ALL_TYPES];
    for (const other of others) {
      const { size } = new Set([...changed, ...this.#pathsOf(other)]);
      if (size > MAX_PATHS)
        throw new SluiceError('INVALID_OPTION', `fields: more than ${MAX_PATHS} of a type`);
    }
    const counts = this.#counts.get(type) ?? new Map<string, number>();
    this.#counts.set(type, counts);
    for (const path of paths) counts.set(path, (counts.get(path) ?? 0) + 1);
  }

  remove(type: string, paths: readonly string[]): void {
    const counts = this.#counts.get(type);
    for (const path of paths) {
      const count = counts?.get(path) ?? 0;
      if (count > 1) counts?.set(path, count - 1);
      else counts?.delete(path);
    }
  }

  /** The fields of each type that applications receive. */
  resolve(registry: MessageRegistry): FieldPaths {
    const resolved = new Map<string, readonly string[]>();
    for (const { name, direction } of registry.types) {
      if (direction !== 'crawler' && direction !== 'app') continue;
      const shared = direction === 'crawler' ? this.#pathsOf(ALL_TYPES) : [];
      const paths = new Set([...shared, ...this.#pathsOf(name)]);
      if (paths.size > 0) resolved.set(name, [...paths]);
    }
    return resolved;
  }

  #pathsOf(type: string): Iterable<string> {
    return this.#counts.get(type)?.keys() ?? [];
  }
}

function isPath(path: unknown): boolean {
  return typeof path === 'string' && path.length <= MAX_PATH_LENGTH;
}
