// The latest messages of all hosts, for subscriptions to the fleet that begin with them.

import type { Fleet } from '../fleet/fleet.js';
import { controlSchemas } from '../messages/messages.js';
import type { Filter, SubscribeData } from '../routing/filter.js';
import type { LastMessages } from '../routing/last-values.js';
import { countDelimiters } from '../wire/framing.js';
import { decodeJsonText, MAX_DEPTH } from '../wire/safe-json.js';
import type { LastValueReplay } from './last-value-replay.js';
import { SecondLimiter } from './second-limiter.js';

const LAST = 'last';
/** Maximum number of answers per second; other hosts get no messages. */
const MAX_ANSWERS = 20;
/** The last answer of each host. */
const END = Buffer.alloc(0);

export class FleetLastValues {
  readonly #fleet: Fleet;
  readonly #lastValues: LastValueReplay | undefined;
  readonly #filterOf: (data: SubscribeData) => Filter;
  readonly #delimiter: number;
  /** Answers to other hosts. */
  readonly #answers = new SecondLimiter<FleetLastValues>(MAX_ANSWERS);

  constructor(
    fleet: Fleet,
    lastValues: LastValueReplay | undefined,
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
      const messages = (this.#answers.take(this) && this.#own(parsed.data, maxAnswerBytes)) || [];
      // A single message may be longer.
      return [...messages.map(({ bytes }) => bytes).filter(({ length }) => length <= maxAnswerBytes), END];
    });
  }

  /**
   * The latest messages that a subscription begins with, of the hosts that answer in time.
   * @param maxBytes if there are more, the rest is left out
   * @param until when it resolves, hosts that have not answered are left out
   * @returns `undefined` if subscribers request too many of them
   */
  async collect(
    data: SubscribeData,
    maxBytes: number,
    until: Promise<void>,
  ): Promise<LastMessages[] | undefined> {
    const messages = this.#own(data);
    if (messages === undefined) return undefined;
    let size = messages.reduce((sum, { bytes }) => sum + bytes.length, 0);
    const question = Buffer.from(JSON.stringify(data));
    const answers = this.#fleet.requestAll(LAST, question, END);
    const isOver = until.then(() => undefined);
    for (;;) {
      const answer = await Promise.race([answers.next(), isOver]);
      if (answer?.value === undefined) break;
      const bytes = Buffer.from(answer.value);
      size += bytes.length;
      if (size > maxBytes) break;
      messages.push({ bytes, count: countDelimiters(bytes, this.#delimiter) });
    }
    answers.return().catch(() => {});
    return messages;
  }

  #own(data: SubscribeData, partBytes?: number): LastMessages[] | undefined {
    if (this.#lastValues === undefined) return [];
    return this.#lastValues.copy(this.#filterOf(data), () => true, this.#fleet.host, partBytes);
  }
}
