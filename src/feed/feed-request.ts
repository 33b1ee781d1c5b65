// What a reader of the feed asks for, in the query of its address and the header Last-Event-ID.

import { time } from '../config/quantities.js';
import { SluiceError } from '../errors.js';
import { type Position, parsePosition } from '../log/position.js';
import { controlSchemas, POSITION_PATTERN } from '../messages/messages.js';
import type { SubscribeData } from '../routing/filter.js';

export interface FeedRequest {
  readonly data: SubscribeData;
  /** Minimum time between two updates, in ms. */
  readonly every: number;
  /** Whether it begins with the latest message of each job and crawler. */
  readonly last: boolean;
  /** Where it was before. */
  readonly resume: Position | undefined;
}

const SECOND = 1000;
const [MIN_EVERY, MAX_EVERY, DEFAULT_EVERY] = [50, 60 * SECOND, 250];
const everySchema = time(MIN_EVERY, MAX_EVERY);
const PARAMETERS: ReadonlySet<string> = new Set(['types', 'jobs', 'crawlers', 'every', 'last']);

/**
 * @param lastEventId of the header, if there is one
 * @throws SluiceError `INVALID_OPTION`, with the name of the parameter
 */
export function parseFeedRequest(query: URLSearchParams, lastEventId: string | undefined): FeedRequest {
  requireParameters(query, PARAMETERS);
  const data = filterDataOf(query, 'feed');
  const last = query.get('last') ?? 'false';
  if (last !== 'true' && last !== 'false') throw invalidParameter('last', 'must be true or false');
  const isKnown = lastEventId !== undefined && POSITION_PATTERN.test(lastEventId);
  return {
    data,
    every: everyOf(query.get('every')),
    last: last === 'true',
    resume: isKnown ? parsePosition(lastEventId) : undefined,
  };
}

/**
 * Requires that there are no other parameters than these.
 * @throws SluiceError `INVALID_OPTION`
 */
export function requireParameters(query: URLSearchParams, known: ReadonlySet<string>): void {
  for (const name of query.keys()) if (!known.has(name)) throw invalidParameter(name, 'unknown parameter');
}

/**
 * The subscription that the parameters `types`, `jobs` and `crawlers` stand for.
 * @throws SluiceError `INVALID_OPTION`, with the name of the parameter
 */
export function filterDataOf(query: URLSearchParams, id: string): SubscribeData {
  const list = (name: string) => {
    const values = query.getAll(name).flatMap((value) => value.split(','));
    return values.length === 0 ? undefined : values;
  };
  const [types, jobIds, crawlerIds] = [list('types'), list('jobs'), list('crawlers')];
  const data = { id, types, jobIds, crawlerIds, meta: true };
  const parsed = controlSchemas.subscribe.safeParse({ type: 'subscribe', data });
  if (parsed.success) return parsed.data.data;
  const [, name = ''] = parsed.error.issues[0]?.path ?? [];
  const detail = 'has an entry that is empty or too long, or too many';
  throw invalidParameter(NAMES[String(name)] ?? String(name), detail);
}

const NAMES: Readonly<Record<string, string>> = { jobIds: 'jobs', crawlerIds: 'crawlers' };

function everyOf(text: string | null): number {
  if (text === null) return DEFAULT_EVERY;
  const parsed = everySchema.safeParse(/^\d+$/.test(text) ? Number(text) : text);
  if (!parsed.success) throw invalidParameter('every', `must be ${MIN_EVERY}ms to ${MAX_EVERY / SECOND}s`);
  return parsed.data;
}

export function invalidParameter(name: string, detail: string): SluiceError {
  return new SluiceError('INVALID_OPTION', `${name}: ${detail}`);
}
