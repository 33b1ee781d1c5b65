// A crawler that does what a test says.

import '../async-dispose.js';
import type { AnyMessage } from '../client/broker-lines.js';
import type { PublishedMessage } from '../client/published-message.js';
import { SluiceClient } from '../client/sluice-client.js';
import { SluiceError } from '../errors.js';
import { requireKnownOptions } from '../known-options.js';
import { withTimeout } from '../timeout.js';
import { Inbox } from './inbox.js';
import { nameOfRejection, type Rejection } from './rejection.js';

/** A message that a scripted crawler sends: one of the protocol's, or of a type of a schema module. */
export type ScriptedMessage = PublishedMessage | { readonly type: string; readonly [key: string]: unknown };

/** What a crawler sends when it gets a message. A returned promise is awaited. */
export type Answer = (
  message: AnyMessage,
) =>
  | ScriptedMessage
  | readonly ScriptedMessage[]
  | undefined
  | Promise<ScriptedMessage | readonly ScriptedMessage[] | undefined>;

export interface CrawlerScript {
  /** Default: `crawler`. */
  readonly crawlerId?: string;
  /** The token of its `hello`, if the broker requires one. */
  readonly token?: string;
  /** What it answers, by the type of the message that it gets. */
  readonly answers?: Readonly<Record<string, Answer>>;
}

const SCRIPT: Readonly<Record<keyof CrawlerScript, true>> = { crawlerId: true, token: true, answers: true };

/** In ms: the `requestTimeout` of a client, after which its `close` no longer waits either. */
const CLOSE_TIMEOUT = 10_000;

/** A crawler that does what a test says. */
export class ScriptedCrawler {
  /** Its connection, for what the methods here do not do. */
  readonly client: SluiceClient<{ readonly type: string; readonly [key: string]: unknown }>;
  /** @internal Messages that were sent to it. */
  readonly messages = new Inbox<AnyMessage>(({ type }) => type);
  /** @internal */
  readonly rejections = new Inbox<Rejection>(nameOfRejection);
  /** Those since the latest {@link send} began. */
  #rejected: Rejection[] = [];
  /** Settled when what {@link send} and {@link sendRaw} have sent so far is checked. */
  #sent: Promise<void> = Promise.resolve();

  /** @internal */
  constructor(socketPath: string, script: CrawlerScript) {
    requireKnownOptions(script, SCRIPT);
    const { crawlerId = 'crawler', token, answers = {} } = script;
    const hello = { role: 'crawler', crawlerId, ...(token === undefined ? {} : { token }) } as const;
    this.client = new SluiceClient({ socketPath, reconnect: false, hello });
    this.client.on('message', ({ message }) => {
      this.messages.add(message);
      const { type } = message;
      if (Object.hasOwn(answers, type)) void this.#answer(message, answers[type] as Answer);
    });
    this.client.on('rejected', ({ code, messageType, issues = [], line }) => {
      const rejection = { code, messageType, issues, line };
      this.#rejected.push(rejection);
      this.rejections.add(rejection);
    });
  }

  /**
   * Sends messages, after those of earlier calls. Resolves when the broker has accepted them. What {@link client}
   * publishes while this waits may be sent before them. Like answers, it may be taken for one of them if it is rejected.
   * @throws SluiceError if one was rejected: with the code of the rejection, such as `SCHEMA_VIOLATION`; or with
   *   `INVALID_MESSAGE` if the broker has not reported it, since it sends at most `maxErrorReplies` per second
   */
  send(...messages: readonly ScriptedMessage[]): Promise<void> {
    return this.#inTurn(() => this.#send(messages));
  }

  /** Sends text as it is, such as lines that are not valid. Resolves when the broker has checked them. */
  sendRaw(text: string | Buffer): Promise<void> {
    return this.#inTurn(() => {
      this.client.publishRaw(text);
      return this.client.flush();
    });
  }

  /** Disconnects, when the broker has checked what was sent, or cannot for 10 s. */
  async close(): Promise<void> {
    await withTimeout(this.#sent, CLOSE_TIMEOUT, () => {});
    await this.client.close();
  }

  /** Disconnects at the end of the block, for `await using`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** The caller gets a promise of its own: a rejection that it does not handle is reported. */
  async #inTurn(send: () => Promise<void>): Promise<void> {
    const sent = this.#sent.then(send);
    this.#sent = sent.catch(() => {});
    await sent;
  }

  async #send(messages: readonly ScriptedMessage[]): Promise<void> {
    // The rejections of answers that were sent before are no longer due then.
    await this.client.flush();
    this.#rejected = [];
    const before = this.client.rejectedByBroker;
    for (const message of messages) this.client.publish(message);
    await this.client.flush();
    const [rejected] = this.#rejected;
    if (rejected !== undefined) {
      const issues = rejected.issues.map(({ path, message }) => `${path} ${message}`);
      throw new SluiceError(
        rejected.code as SluiceError['code'],
        [rejected.messageType, ...issues].join('; '),
      );
    }
    if (this.client.rejectedByBroker > before)
      throw new SluiceError(
        'INVALID_MESSAGE',
        'rejected without an error reply: see the option maxErrorReplies',
      );
  }

  async #answer(message: AnyMessage, answer: Answer): Promise<void> {
    const answers = (await answer(message)) ?? [];
    // The test, or the connection, may have ended while the answer was awaited.
    if (this.client.state === 'closing' || this.client.state === 'closed') return;
    for (const one of 'type' in answers ? [answers] : answers) this.client.publish(one);
  }
}

/**
 * Connects a crawler to a broker.
 * @param broker a test broker, or any other, by its socket
 * @throws SluiceError as {@link SluiceClient.connect}, or `INVALID_OPTION`
 */
export async function scriptedCrawler(
  broker: { readonly socketPath: string },
  script: CrawlerScript = {},
): Promise<ScriptedCrawler> {
  const crawler = new ScriptedCrawler(broker.socketPath, script);
  await crawler.client.connect();
  return crawler;
}
