// What the dead letters keep of messages that failed too often, and of rejected ones.

import type { DeadLetter } from '../log/dead-letters.js';
import { formatPosition } from '../log/position.js';
import { typeNameOf } from '../log/stored-messages.js';
import type { Peer } from './peer.js';
import { redactedSample, SAMPLE_BYTES } from './redaction.js';
import type { RejectedMessage } from './rejected-message.js';
import type { FailedMessage } from './work-group.js';

/** The reason of a message that failed too often in a group. */
const MAX_DELIVERIES = 'MAX_DELIVERIES';
/** Issues that are kept. */
const MAX_ISSUES = 5;

export function deadLetterOf(message: FailedMessage, epoch: string): DeadLetter {
  const { group, run, index, start, end, typeIndex } = message;
  const { id = '', crawlerId } = run.sender ?? {};
  const content = run.body.subarray(start, end);
  return {
    at: Date.now(),
    reason: MAX_DELIVERIES,
    group,
    position: formatPosition({ epoch, offset: run.header.first + index }),
    messageType: typeNameOf(run, typeIndex),
    connectionId: id,
    ...(crawlerId == null ? {} : { crawlerId }),
    bytes: content.length,
    sample: redactedSample(content.subarray(0, SAMPLE_BYTES)),
    content: content.toString('base64'),
  };
}

/** @param content the whole message, if it is to be kept */
export function deadLetterOfRejected(
  rejection: RejectedMessage<Peer>,
  content: Buffer | undefined,
): DeadLetter {
  const { connection, code, messageType, issues, bytes, sample } = rejection;
  return {
    at: Date.now(),
    reason: code,
    messageType,
    connectionId: connection.id,
    crawlerId: connection.crawlerId,
    bytes,
    issues: issues.slice(0, MAX_ISSUES).map(({ path, code: issueCode }) => ({ path, code: issueCode })),
    sample,
    content: content?.toString('base64'),
  };
}
