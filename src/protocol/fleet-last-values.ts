// The latest messages of all hosts, for subscriptions to the fleet that begin with them.

import type { Fleet } from '../fleet/fleet.js';
import { controlSchemas } from '../messages/messages.js';
import type { Filter, SubscribeData } from '../routing/filter.js';
import type { LastMessages, LastValues } from '../routing/last-values.js';
import { decodeJsonText, MAX_DEPTH } from '../wire/safe-json.js';
import { SecondLimiter } from './second-limiter.js';

const LAST = 'last';
/** Maximum number of answers per second; other hosts get no messages. */
const MAX_ANSWERS = 20;
/** The last answer of each host. */
const END = Buffer.alloc(0);

export class FleetLastValues {
  readonly #fleet: Fleet;
  readonly #lastValues: LastValues | undefined;
  readonly #filterOf: (data: SubscribeData) => Filter;
  readonly #delimiter: number;
  /** Answers to other hosts, since each may copy all messages. */
  readonly #answers = new SecondLimiter<FleetLastValues>(MAX_ANSWERS);

  constructor(
    fleet: Fleet,
    lastValues: LastValues | undefined,
    filterOf: (data: SubscribeData) => Filter,
    delimiter: number,
  ) {
    this.#fleet = fleet;
    this.#lastValues = lastValues;
    this.#filterOf = filterOf;
    this.#delimiter = delimiter;
    fleet.handle(LAST, (data) => {
      const decoded = decodeJsonText(Buffer.from(data).toString(), MAX_DEPTH);
      const parsed = controlSchemas.subscribe.shape.data.safeParse(decoded.ok ? decoded.value : undefined);
      if (!parsed.success) return undefined;
      const { maxAnswerBytes } = fleet;
      const messages = this.#answers.take(this) ? this.#own(parsed.data, maxAnswerBytes) : [];
      // A single message may be longer.
      return [...messages.map(({ bytes }) => bytes).filter(({ length }) => length <= maxAnswerBytes), END];
    });
  }

  /**
   * The latest messages that a subscription begins with, of the hosts that answer in time.
   * @param maxBytes if there are more, the rest is left out
   */
  async collect(data: SubscribeData, maxBytes: number): Promise<LastMessages[]> {
    const messages = this.#own(data);
    let size = messages.reduce((sum, { bytes }) => sum + bytes.length, 0);
    const question = Buffer.from(JSON.stringify(data));
    for await (const answer of this.#fleet.requestAll(LAST, question, END)) {
      const bytes = Buffer.from(answer);
      size += bytes.length;
      if (size > maxBytes) break;
      messages.push({ bytes, count: this.#countIn(bytes) });
    }
    return messages;
  }

  #own(data: SubscribeData, partBytes?: number): LastMessages[] {
    const { host } = this.#fleet;
    return this.#lastValues?.select(this.#filterOf(data), this.#delimiter, host, partBytes) ?? [];
  }

  #countIn(bytes: Buffer): number {
    let count = 0;
    for (let at = bytes.indexOf(this.#delimiter); at !== -1; at = bytes.indexOf(this.#delimiter, at + 1))
      count++;
    return count;
  }
}
