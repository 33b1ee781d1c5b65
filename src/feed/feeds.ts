// The streams of the feed that are open.

import type { FrameRun } from '../delivery/frame-run.js';
import { SluiceError } from '../errors.js';
import type { MessageLog } from '../log/message-log.js';
import type { Position } from '../log/position.js';
import type { MessageRegistry } from '../messages/message-registry.js';
import type { Filter, SubscribeData } from '../routing/filter.js';
import type { LastMessages } from '../routing/last-values.js';
import { Feed, PART_BYTES } from './feed.js';
import { parseFeedRequest } from './feed-request.js';
import { FeedMemory, FeedRun } from './feed-run.js';

/** What the feed needs of the broker. */
export interface FeedSource {
  readonly registry: MessageRegistry;
  readonly delimiter: number;
  readonly log: MessageLog | undefined;
  filterOf(data: SubscribeData): Filter;
  /**
   * The latest messages that a filter matches, in parts; `undefined` if too many are requested.
   * @param hasRoom whether there is room for this many bytes
   * @param partBytes maximum bytes of a part, unless a single message is longer
   */
  lastMessages(
    filter: Filter,
    hasRoom: (bytes: number) => boolean,
    partBytes: number,
  ): readonly LastMessages[] | undefined;
  /** Calls a function with all forwarded messages, or no longer. */
  listen(onMessages: ((run: FrameRun) => void) | undefined): void;
  onError(error: unknown): void;
}

export const MAX_FEEDS = 100;
/**
 * Memory of what all streams hold, besides the part that each has sent and its reader has not taken: beyond it, those that
 * are not read lose their messages.
 */
const MAX_HELD = 128 * 1024 * 1024;
/** Time without reading after which a stream loses its messages to one that begins with last values, in ms. */
const UNREAD_TIME = 10_000;
/** Reading stored messages for a reader that comes back takes about 1 µs each on the main thread: no more than these. */
const MAX_MISSED = 100_000;
const HEADERS = {
  'content-type': 'text/event-stream',
  'cache-control': 'no-store',
  // nginx would collect events otherwise.
  'x-accel-buffering': 'no',
};

export class Feeds {
  readonly #source: FeedSource;
  /** With their requests: the signal of one that is not referenced any more no longer reports that it is aborted. */
  readonly #feeds = new Map<Feed, Request | undefined>();
  readonly #memory = new FeedMemory();
  /** Settles when the log is not being read for a stream. */
  #reading: Promise<void> = Promise.resolve();

  constructor(source: FeedSource) {
    this.#source = source;
  }

  /** @throws SluiceError `INVALID_OPTION` if a parameter is wrong; `RATE_LIMITED` if there are too many streams */
  #open(query: URLSearchParams, lastEventId: string | undefined): Feed {
    const { data, every, last, resume } = parseFeedRequest(query, lastEventId);
    if (this.#feeds.size >= MAX_FEEDS) throw new SluiceError('RATE_LIMITED', `${MAX_FEEDS} streams are open`);
    const { registry, delimiter, log } = this.#source;
    const filter = this.#source.filterOf(data);
    const missed = log === undefined || resume === undefined ? undefined : missedSince(log, resume);
    const isBehind = missed !== undefined && missed > MAX_MISSED;
    // What it goes on with contains the latest messages.
    const hasRoom = (bytes: number) => this.#makeRoom(bytes, performance.now() - UNREAD_TIME);
    const hasFirst = isBehind || (last && missed === undefined);
    const values = hasFirst ? this.#source.lastMessages(filter, hasRoom, PART_BYTES) : [];
    // A browser that returns would give up after an error: it only gets the gap.
    const first = values ?? (isBehind ? [] : undefined);
    if (first === undefined) throw new SluiceError('RATE_LIMITED', 'too many streams begin with last values');
    const feed: Feed = new Feed({
      filter,
      registry,
      delimiter,
      every,
      first,
      isBehind,
      memory: this.#memory,
      log,
      resume: isBehind ? undefined : resume,
      takeTurn: (read) => this.#takeTurn(read),
      onHeld: () => this.#makeRoom(0),
      onClosed: () => this.#remove(feed),
      onError: (error) => this.#source.onError(error),
    });
    if (this.#feeds.size === 0)
      this.#source.listen((forwarded) => {
        const run = new FeedRun(forwarded, registry);
        for (const open of this.#feeds.keys()) open.take(run);
        this.#makeRoom(0);
      });
    this.#feeds.set(feed, undefined);
    return feed;
  }

  /** Answers a request with a stream, or with what is wrong with it. */
  respond(request: Request): Response {
    try {
      const feed = this.#open(
        new URL(request.url).searchParams,
        request.headers.get('last-event-id') ?? undefined,
      );
      this.#feeds.set(feed, request);
      request.signal.addEventListener('abort', () => feed.close(), { once: true });
      if (request.signal.aborted) feed.close();
      return new Response(feed.stream, { headers: HEADERS });
    } catch (error) {
      if (!(error instanceof SluiceError)) throw error;
      return Response.json({ error: error.message }, { status: error.code === 'INVALID_OPTION' ? 400 : 503 });
    }
  }

  /** Ends all streams. */
  close(): void {
    for (const feed of [...this.#feeds.keys()]) feed.close();
  }

  /**
   * Makes room for bytes by dropping messages of streams: first of the one that was not read for the longest time; of those
   * that are read, of the one that holds the most.
   * @param before drops only messages of streams that were not read since then. Default: of any.
   * @returns whether there is room
   */
  #makeRoom(bytes: number, before = Number.POSITIVE_INFINITY): boolean {
    while (this.#memory.bytes + bytes > MAX_HELD) {
      let found: Feed | undefined;
      for (const feed of this.#feeds.keys()) {
        if (feed.heldBytes === 0 || feed.unreadSince > before) continue;
        const [since, foundSince] = [feed.unreadSince, found?.unreadSince ?? Number.POSITIVE_INFINITY];
        if (since < foundSince || (since === foundSince && feed.heldBytes > (found?.heldBytes ?? 0)))
          found = feed;
      }
      if (found === undefined) return false;
      found.drop();
    }
    return true;
  }

  /** Many readers come back at once after a restart: they would read the log at once. */
  #takeTurn(read: () => Promise<void>): Promise<void> {
    const turn = this.#reading.then(read);
    this.#reading = turn.catch(() => {});
    return turn;
  }

  #remove(feed: Feed): void {
    this.#feeds.delete(feed);
    if (this.#feeds.size === 0) this.#source.listen(undefined);
  }
}

/** Number of messages in the log after a position: all, if it is not of this log. */
function missedSince(log: MessageLog, { epoch, offset }: Position): number {
  const isSameLog = epoch === log.epoch && offset <= log.end;
  return log.end - Math.max(isSameLog ? offset : 0, log.first);
}
