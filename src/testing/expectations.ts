// What tests wait for.

import { requireKnownOptions } from '../known-options.js';
import type { MessageMap } from '../messages/messages.js';
import type { Inbox } from './inbox.js';
import { type ExpectedRejection, matchesRejection, type Rejection } from './rejection.js';
import type { ScriptedCrawler } from './scripted-crawler.js';
import type { TestBroker } from './test-broker.js';

export interface WaitOptions {
  /** In ms, or `Infinity`. Default: 4,000. */
  readonly timeout?: number;
}

/** A message that has arrived. */
export interface ArrivedMessage {
  readonly type: string;
  readonly [key: string]: unknown;
}

/** Less than the 5 s after which vitest and jest end a test, without the reason that the error here has. */
const TIMEOUT = 4000;

const EXPECTED: Readonly<Record<keyof ExpectedRejection, true>> = {
  code: true,
  messageType: true,
  path: true,
};

/**
 * Waits for a message: one that a test broker has accepted, or that a scripted crawler has got. One that came before the
 * call counts too, unless an earlier call has returned it. The latest 10,000 are kept.
 * @param match its type, or what it must fulfil
 * @returns the message, parsed, with the schema's defaults
 * @throws SluiceError `REQUEST_TIMEOUT`; its message names the types that came instead, and what was rejected
 */
export function waitForMessage<T extends keyof MessageMap>(
  source: TestBroker | ScriptedCrawler,
  match: T,
  options?: WaitOptions,
): Promise<MessageMap[T]>;
export function waitForMessage<M extends ArrivedMessage = ArrivedMessage>(
  source: TestBroker | ScriptedCrawler,
  match: string | ((message: ArrivedMessage) => boolean),
  options?: WaitOptions,
): Promise<M>;
export async function waitForMessage(
  source: TestBroker | ScriptedCrawler,
  match: string | ((message: ArrivedMessage) => boolean),
  options: WaitOptions = {},
): Promise<ArrivedMessage> {
  const [what, matches] =
    typeof match === 'string'
      ? [`message of type ${match}`, ({ type }: ArrivedMessage) => type === match]
      : ['message that matches', match];
  const messages: Inbox<ArrivedMessage> = source.messages;
  return messages.take(matches, what, timeoutOf(options), () => {
    const rejected = source.rejections.content;
    return rejected === '' ? '' : `; rejected: ${rejected}`;
  });
}

/**
 * Waits until a message is rejected: any that a test broker got, or one of a scripted crawler. One that was rejected before
 * the call counts too, unless an earlier call has returned it.
 * @param expected what it is about. Default: anything.
 * @returns the rejection
 * @throws SluiceError `REQUEST_TIMEOUT`; its message names the rejections that came instead
 */
export async function expectRejected(
  source: TestBroker | ScriptedCrawler,
  expected: ExpectedRejection = {},
  options: WaitOptions = {},
): Promise<Rejection> {
  requireKnownOptions(expected, EXPECTED);
  const details = Object.entries(expected).map(([name, value]) => `${name} ${value}`);
  const what = ['rejection', ...details].join(' ');
  return source.rejections.take(
    (rejection) => matchesRejection(expected, rejection),
    what,
    timeoutOf(options),
  );
}

/** @throws SluiceError `INVALID_OPTION` */
function timeoutOf(options: WaitOptions): number {
  requireKnownOptions(options, { timeout: true });
  return options.timeout ?? TIMEOUT;
}
