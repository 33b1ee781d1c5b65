// Reads the job ID of a message on the main thread: only once per job and crawler, since workers send job keys.

import { type JobSeed, jobKey } from '../messages/job-key.js';
import { MAX_CONTROL_BYTES } from '../messages/messages.js';

const PREFIX = Buffer.from('"jobId":"');
const QUOTE = 0x22;

/** What is read of a parsed message. */
export interface Message {
  readonly jobId?: unknown;
  readonly job_id?: unknown;
  readonly data?: unknown;
}

/** The job ID of a message if it is written as usual, found without parsing. The parameters are those of {@link jobIdIn}. */
export function quickJobIdIn(message: Buffer, low: number, high: number, seed: JobSeed): string | undefined {
  const start = message.indexOf(PREFIX) + PREFIX.length;
  if (start < PREFIX.length) return undefined;
  const id = message.toString('utf8', start, message.indexOf(QUOTE, start));
  const found = jobKey(id, seed);
  // Otherwise it is another key of this name, or has escapes.
  return (found.low | 0) === low && (found.high | 0) === high ? id : undefined;
}

/**
 * The job ID in the envelope of a valid message; `undefined` if finding it would require parsing more than 64 KiB.
 * @param low lower half of the job's key, as a signed integer
 * @param high upper half of that key
 */
export function jobIdIn(message: Buffer, low: number, high: number, seed: JobSeed): string | undefined {
  const found = quickJobIdIn(message, low, high, seed);
  if (found !== undefined) return found;
  if (message.length > MAX_CONTROL_BYTES) return undefined;
  return jobIdOf(JSON.parse(message.toString()) as Message);
}

/** The job ID in the envelope of a valid message. */
export function jobIdOf({ jobId, job_id }: Message): string | undefined {
  const id = jobId ?? job_id;
  return typeof id === 'string' ? id : undefined;
}
