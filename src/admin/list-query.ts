// The query of a path that lists something: which part of the list, and in which format.

import { RequestError } from './reply.js';

/** Default and maximum of `limit`, in rows. */
const DEFAULT_LIMIT = 500;
const MAX_LIMIT = 10_000;
const MAX_OFFSET = 1_000_000_000;
/** Maximum length of `search`, in characters. */
const MAX_SEARCH = 256;
const FORMATS = ['json', 'csv'] as const;
const PARAMETERS = ['search', 'offset', 'limit', 'format'];

export interface ListQuery {
  /** In lower case; empty: everything is listed. */
  readonly search: string;
  readonly offset: number;
  readonly limit: number;
  readonly format: (typeof FORMATS)[number];
}

/** Maxima of the parameters `offset` and `limit`. */
export interface ListLimits {
  readonly maxOffset: number;
  readonly maxLimit: number;
}

/**
 * @param others the parameters of the path besides those of all lists
 * @throws RequestError
 */
export function parseListQuery(
  query: URLSearchParams,
  others: readonly string[] = [],
  { maxOffset, maxLimit }: ListLimits = { maxOffset: MAX_OFFSET, maxLimit: MAX_LIMIT },
): ListQuery {
  requireParameters(query, [...PARAMETERS, ...others]);
  const search = query.get('search') ?? '';
  if (search.length > MAX_SEARCH)
    throw new RequestError(400, `search: must have at most ${MAX_SEARCH} characters`);
  return {
    search: search.toLowerCase(),
    offset: integerOf(query, 'offset', 0, 0, maxOffset),
    limit: integerOf(query, 'limit', DEFAULT_LIMIT, 1, maxLimit),
    format: choiceOf(query, 'format', FORMATS) ?? 'json',
  };
}

/**
 * Requires that there are no other parameters than these.
 * @throws RequestError
 */
export function requireParameters(query: URLSearchParams, known: readonly string[]): void {
  for (const name of query.keys())
    if (!known.includes(name)) throw new RequestError(400, `${name}: unknown parameter`);
}

/** @throws RequestError */
export function integerOf(
  query: URLSearchParams,
  name: string,
  missing: number,
  min: number,
  max: number,
): number {
  const text = query.get(name);
  if (text === null) return missing;
  const value = /^\d+$/.test(text) ? Number(text) : Number.NaN;
  if (value >= min && value <= max) return value;
  throw new RequestError(400, `${name}: must be ${min} to ${max}`);
}

/** @throws RequestError */
export function choiceOf<T extends string>(
  query: URLSearchParams,
  name: string,
  choices: readonly T[],
): T | undefined {
  const text = query.get(name);
  if (text === null) return undefined;
  const choice = choices.find((value) => value === text);
  if (choice === undefined) throw new RequestError(400, `${name}: must be ${choices.join(' or ')}`);
  return choice;
}

/** Whether one of these names contains the text. @param search in lower case */
export function matchesSearch(search: string, names: readonly (string | null)[]): boolean {
  return search === '' || names.some((name) => name?.toLowerCase().includes(search));
}
