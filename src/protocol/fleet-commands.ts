// Messages of applications to crawlers of other hosts. A host that has no recipient asks the others who has one, and
// sends the message to the first that does: messages contain tokens, and only one host may act on them.

import type { FrameRun } from '../delivery/frame-run.js';
import { SluiceError } from '../errors.js';
import type { Fleet } from '../fleet/fleet.js';
import { cloneBytes } from '../memory/copy-bytes.js';
import { type AssignedJob, type JobSeed, jobKey } from '../messages/job-key.js';
import type { MessageType } from '../messages/message-registry.js';
import { assignedJobIds } from '../messages/message-traits.js';
import type { Address, CrawlerRouter } from '../routing/crawler-router.js';
import { decodeJsonText, MAX_DEPTH } from '../wire/safe-json.js';
import type { MessageValidator } from './message-validator.js';
import type { Peer } from './peer.js';

/** Recipient of a message, as one host queries the others. They know its fields by their names. */
interface RecipientQuery {
  readonly type: string;
  /** A crawler's ID or connection ID, if code in the process of the broker names it. */
  readonly crawler?: string | undefined;
  readonly to?: string | undefined;
  readonly job?: string | undefined;
  /** If any crawler would do: whether it must be waiting for a job. */
  readonly isWaiting: boolean;
}

/** Messages that are on their way to other hosts: more are rejected. */
const MAX_PENDING = 1000;
/** Share of the timeout within which hosts with waiting crawlers may answer. */
const WAITING_SHARE = 0.25;
const DELIVERED = Buffer.from('1');
const FIND = 'find';
/** Messages that say for whom they are. */
const DELIVER = 'deliver';
/** Messages after a line that says for whom they are, as JSON: a crawler's ID or connection ID, or `null` for all. */
const DELIVER_TO = 'deliver-to';
const NEWLINE = 10;

/** @typeParam P the type of connections */
export class FleetCommands<P extends Peer> {
  readonly #fleet: Fleet;
  readonly #router: CrawlerRouter<P>;
  readonly #validator: MessageValidator;
  readonly #jobSeed: JobSeed;
  readonly #delimiter: number;
  /** What each sender's next message waits for, so that they stay in order. */
  readonly #latest = new WeakMap<object, Promise<unknown>>();
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
    for (const subject of [DELIVER, `${DELIVER}.${fleet.host}`])
      fleet.handle(subject, (data) => this.#deliver(Buffer.from(data)));
    for (const subject of [DELIVER_TO, `${DELIVER_TO}.${fleet.host}`])
      fleet.handle(subject, (data) => this.#deliverTo(Buffer.from(data)));
  }

  /**
   * Sends a message to crawlers of other hosts, after the earlier ones of the same sender.
   * @param isForAll whether it is for the crawlers of all hosts
   * @returns whether a crawler receives it; `undefined` at once if too many messages are on their way
   */
  send(sender: P, type: MessageType, run: FrameRun, isForAll: boolean): Promise<boolean> | undefined {
    // Copied, since its slab is used again.
    const message = cloneBytes(run.message(0));
    return this.#enqueue(sender, () => this.#send(type, message, isForAll))?.catch(() => false);
  }

  /**
   * Sends a message of code in this process to a crawler of another host, after the earlier ones.
   * @param crawler its ID or connection ID
   * @returns whether it receives it; `undefined` at once if too many messages are on their way
   * @throws SluiceError as {@link #deliverThere}
   */
  sendTo(crawler: string, type: string, message: Buffer): Promise<boolean> | undefined {
    return this.#enqueue(this, () => this.#sendTo(crawler, type, message));
  }

  /** Sends a message of code in this process to the crawlers of all other hosts that are connected to the engine. */
  broadcast(message: Buffer): void {
    this.#fleet.notify(DELIVER_TO, addressed(null, message));
  }

  #enqueue(sender: object, send: () => Promise<boolean>): Promise<boolean> | undefined {
    if (this.#pending >= MAX_PENDING) return undefined;
    this.#pending++;
    const sent = (this.#latest.get(sender) ?? Promise.resolve())
      .then(send)
      .catch((error: unknown) => {
        if (error instanceof SluiceError) throw error;
        // It was not sent: the engine is not connected, or the message is too long for it.
        return false;
      })
      .finally(() => {
        this.#pending--;
      });
    this.#latest.set(
      sender,
      sent.catch(() => {}),
    );
    return sent;
  }

  async #send(type: MessageType, message: Buffer, isForAll: boolean): Promise<boolean> {
    const { requestTimeout } = this.#fleet;
    if (isForAll) return this.#deliverThere(DELIVER, message);
    const { to, job } = addressIn(type, message);
    for (const isWaiting of [true, false]) {
      const timeout = isWaiting ? requestTimeout * WAITING_SHARE : requestTimeout * (1 - WAITING_SHARE);
      const host = await this.#find({ type: type.name, to, job, isWaiting }, timeout);
      if (host !== undefined) return this.#deliverThere(`${DELIVER}.${host}`, message);
    }
    return false;
  }

  async #sendTo(crawler: string, type: string, message: Buffer): Promise<boolean> {
    const host = await this.#find({ type, crawler, isWaiting: false }, this.#fleet.requestTimeout);
    return host !== undefined && this.#deliverThere(`${DELIVER_TO}.${host}`, addressed(crawler, message));
  }

  /** The name of a host that has a recipient. @param timeout in ms */
  async #find(query: RecipientQuery, timeout: number): Promise<string | undefined> {
    const request = this.#fleet.request(FIND, Buffer.from(JSON.stringify(query)), timeout);
    const host = await request.catch(() => undefined);
    return host && Buffer.from(host).toString();
  }

  /**
   * Lets another host deliver a message.
   * @throws SluiceError `SEND_TIMEOUT`, `CONNECTION_CLOSED` if it does not answer: the message may still arrive, so no
   *   further host may get it
   */
  async #deliverThere(subject: string, message: Buffer): Promise<true> {
    const answer = await this.#fleet.request(subject, message, this.#fleet.requestTimeout);
    if (answer === undefined) throw new SluiceError('SEND_TIMEOUT');
    return true;
  }

  /** Answers another host. @returns the name of this one if it has a recipient */
  #answer(data: Uint8Array): Uint8Array | undefined {
    const decoded = decodeJsonText(Buffer.from(data).toString(), MAX_DEPTH);
    const query = (decoded.ok ? decoded.value : undefined) as Partial<RecipientQuery> | null | undefined;
    return this.#hasRecipient(query ?? {}) ? Buffer.from(this.#fleet.host) : undefined;
  }

  #hasRecipient({ type: name, crawler, to, job, isWaiting }: Partial<RecipientQuery>): boolean {
    const type = typeof name === 'string' ? this.#validator.registry.get(name) : undefined;
    if (type?.direction !== 'app') return false;
    if (typeof crawler === 'string') return this.#router.crawler(crawler) !== undefined;
    const address = {
      traits: type.traits,
      to: typeof to === 'string' ? to : undefined,
      job: typeof job === 'string' ? jobKey(job, this.#jobSeed) : undefined,
      assigned: [],
    };
    return this.#router.hasRecipient(address, isWaiting === true);
  }

  /** Delivers a message of another host's application. @returns an answer if a crawler receives it */
  #deliver(message: Buffer): Uint8Array | undefined {
    const type = this.#typeOf(message);
    if (type === undefined) return undefined;
    const { traits } = type;
    const { to, job, assigned } = addressIn(type, message);
    const address: Address = {
      traits,
      to,
      job: job === undefined ? undefined : jobKey(job, this.#jobSeed),
      assigned: this.#jobsOf(assigned),
    };
    return this.#deliverAll(this.#router.find(address, undefined), message, assigned.length);
  }

  /** Delivers a message of code in another host's broker. @returns an answer if a crawler receives it */
  #deliverTo(data: Buffer): Uint8Array | undefined {
    const end = data.indexOf(NEWLINE);
    const decoded = decodeJsonText(data.subarray(0, end).toString(), MAX_DEPTH);
    const message = data.subarray(end + 1);
    const type = this.#typeOf(message);
    const name = decoded.ok ? decoded.value : undefined;
    if (type === undefined || (typeof name !== 'string' && name !== null)) return undefined;
    if (name === null) return this.#deliverAll(this.#router.crawlers(), message, 0);
    const crawler = this.#router.crawler(name);
    if (crawler === undefined) return undefined;
    const { assigned } = addressIn(type, message);
    this.#router.onSent(crawler, type.traits, this.#jobsOf(assigned));
    return this.#deliverAll([crawler], message, assigned.length);
  }

  /** @param assigned number of jobs that the message assigns */
  #deliverAll(recipients: readonly P[], message: Buffer, assigned: number): Uint8Array | undefined {
    const bytes = Buffer.concat([message, Buffer.of(this.#delimiter)]);
    for (const recipient of recipients) {
      recipient.deliver({ bytes, slab: undefined, messages: 1 });
      recipient.workload += assigned;
      recipient.flush();
    }
    return recipients.length === 0 ? undefined : DELIVERED;
  }

  /** The type of an application's message, if it is valid. */
  #typeOf(message: Buffer): MessageType | undefined {
    const result = this.#validator.validate(message, false);
    return result.ok && result.type.direction === 'app' ? result.type : undefined;
  }

  #jobsOf(ids: readonly string[]): AssignedJob[] {
    return ids.map((id) => ({ ...jobKey(id, this.#jobSeed), id }));
  }
}

/** @param crawler `null` for all */
function addressed(crawler: string | null, message: Buffer): Buffer {
  return Buffer.concat([Buffer.from(`${JSON.stringify(crawler)}\n`), message]);
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
