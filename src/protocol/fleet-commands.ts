// Messages of applications to crawlers of other hosts. A host that has no recipient asks the others who has one, and
// sends the message to the first that does: messages contain tokens, and only one host may act on them.

import type { FrameRun } from '../delivery/frame-run.js';
import type { Fleet } from '../fleet/fleet.js';
import { type JobSeed, jobKey } from '../messages/job-key.js';
import type { MessageType } from '../messages/message-registry.js';
import { assignedJobIds } from '../messages/message-traits.js';
import type { Address, CrawlerRouter } from '../routing/crawler-router.js';
import { decodeJsonText, MAX_DEPTH } from '../wire/safe-json.js';
import type { MessageValidator } from './message-validator.js';
import type { Peer } from './peer.js';

/** Whom a message is for, as one host asks the others. */
interface Question {
  readonly type: string;
  readonly to?: string | undefined;
  readonly job?: string | undefined;
  /** Whether only a crawler that waits for a job comes into question, if any crawler would do. */
  readonly isWaiting: boolean;
}

/** Messages that are on their way to other hosts: more are rejected. */
const MAX_PENDING = 1000;
/** Share of the timeout within which hosts with waiting crawlers may answer. */
const WAITING_SHARE = 0.25;
const DELIVERED = Buffer.from('1');
const FIND = 'find';
const DELIVER = 'deliver';

/** @typeParam P the type of connections */
export class FleetCommands<P extends Peer> {
  readonly #fleet: Fleet;
  readonly #router: CrawlerRouter<P>;
  readonly #validator: MessageValidator;
  readonly #jobSeed: JobSeed;
  readonly #delimiter: number;
  /** What each sender's next message waits for, so that they stay in order. */
  readonly #latest = new WeakMap<P, Promise<unknown>>();
  #pending = 0;

  constructor(
    fleet: Fleet,
    router: CrawlerRouter<P>,
    validator: MessageValidator,
    jobSeed: JobSeed,
    delimiter: number,
  ) {
    this.#fleet = fleet;
    this.#router = router;
    this.#validator = validator;
    this.#jobSeed = jobSeed;
    this.#delimiter = delimiter;
    fleet.handle(FIND, (data) => this.#answer(data));
    fleet.handle(DELIVER, (data) => this.#deliver(data));
    fleet.handle(`${DELIVER}.${fleet.host}`, (data) => this.#deliver(data));
  }

  /**
   * Sends a message to crawlers of other hosts, after the earlier ones of the same sender.
   * @param isForAll whether it is for the crawlers of all hosts
   * @returns whether a crawler receives it; `undefined` at once if too many messages are on their way
   */
  send(sender: P, type: MessageType, run: FrameRun, isForAll: boolean): Promise<boolean> | undefined {
    if (this.#pending >= MAX_PENDING) return undefined;
    this.#pending++;
    // Copied, since its slab is used again.
    const message = Buffer.from(run.message(0));
    const sent = (this.#latest.get(sender) ?? Promise.resolve())
      .then(() => this.#send(type, message, isForAll))
      .catch(() => false)
      .finally(() => {
        this.#pending--;
      });
    this.#latest.set(sender, sent);
    return sent;
  }

  async #send(type: MessageType, message: Buffer, isForAll: boolean): Promise<boolean> {
    const { requestTimeout } = this.#fleet;
    if (isForAll) return (await this.#fleet.request(DELIVER, message, requestTimeout)) !== undefined;
    const { to, job } = addressIn(type, message);
    for (const isWaiting of [true, false]) {
      const question: Question = { type: type.name, to, job, isWaiting };
      const timeout = isWaiting ? requestTimeout * WAITING_SHARE : requestTimeout * (1 - WAITING_SHARE);
      const host = await this.#fleet.request(FIND, Buffer.from(JSON.stringify(question)), timeout);
      if (host === undefined) continue;
      const subject = `${DELIVER}.${Buffer.from(host).toString()}`;
      if ((await this.#fleet.request(subject, message, requestTimeout)) !== undefined) return true;
    }
    return false;
  }

  /** Answers another host. @returns the name of this one if it has a recipient */
  #answer(data: Uint8Array): Uint8Array | undefined {
    const decoded = decodeJsonText(Buffer.from(data).toString(), MAX_DEPTH);
    const { type: name, to, job, isWaiting } = (decoded.ok ? decoded.value : {}) as Partial<Question>;
    const type = typeof name === 'string' ? this.#validator.registry.get(name) : undefined;
    if (type?.direction !== 'app') return undefined;
    const address = {
      traits: type.traits,
      to: typeof to === 'string' ? to : undefined,
      job: typeof job === 'string' ? jobKey(job, this.#jobSeed) : undefined,
      assigned: [],
    };
    return this.#router.hasRecipient(address, isWaiting === true) ? Buffer.from(this.#fleet.host) : undefined;
  }

  /** Delivers a message of another host's application. @returns an answer if a crawler receives it */
  #deliver(data: Uint8Array): Uint8Array | undefined {
    const message = Buffer.from(data);
    const result = this.#validator.validate(message, false);
    if (!result.ok || result.type.direction !== 'app') return undefined;
    const { traits } = result.type;
    const { to, job, assigned } = addressIn(result.type, message);
    const address: Address = {
      traits,
      to,
      job: job === undefined ? undefined : jobKey(job, this.#jobSeed),
      assigned: assigned.map((id) => ({ ...jobKey(id, this.#jobSeed), id })),
    };
    const recipients = this.#router.find(address, undefined);
    const bytes = Buffer.concat([message, Buffer.of(this.#delimiter)]);
    for (const recipient of recipients) {
      recipient.deliver({ bytes, slab: undefined, messages: 1 });
      recipient.workload += assigned.length;
      recipient.flush();
    }
    return recipients.length === 0 ? undefined : DELIVERED;
  }
}

/** Whom a valid message is for, and the IDs of its jobs. */
function addressIn({ traits }: MessageType, message: Buffer) {
  const decoded = decodeJsonText(message.toString(), MAX_DEPTH);
  const value = (decoded.ok ? decoded.value : {}) as {
    readonly to?: unknown;
    readonly jobId?: unknown;
    readonly job_id?: unknown;
    readonly data?: { readonly job_id?: unknown };
  };
  const named = traits.namesJob ? value.data?.job_id : undefined;
  const job = [named, value.jobId, value.job_id].find((id) => typeof id === 'string');
  return {
    to: typeof value.to === 'string' ? value.to : undefined,
    job: typeof job === 'string' ? job : undefined,
    assigned: assignedJobIds(traits, value),
  };
}
