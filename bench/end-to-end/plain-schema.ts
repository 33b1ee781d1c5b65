// The protocol's schemas and rules as a server that parses everything would use them: one union, discriminated by type,
// followed by the rules. It also has the types of user-schemas.ts.

import * as z from 'zod';
import type { Rule } from '../../src/messages/issues.js';
import { MessageRegistry } from '../../src/messages/message-registry.js';
import { controlSchemas, crawlerSchemas } from '../../src/messages/messages.js';
import { schemas as userSchemas } from './user-schemas.js';

const { heartbeat, job_request, ...others } = crawlerSchemas;

export const messageSchema = z.discriminatedUnion('type', [
  heartbeat,
  job_request,
  ...Object.values(others),
  controlSchemas.subscribe,
  ...Object.values(userSchemas),
]);

export type PlainMessage = z.infer<typeof messageSchema>;

const registry = MessageRegistry.builtin();

/** @returns the message with its defaults; `undefined` if it is invalid */
export function validateMessage(value: unknown): PlainMessage | undefined {
  const result = messageSchema.safeParse(value);
  if (!result.success) return undefined;
  let isBroken = false;
  // The schema has just accepted the message as the type that this rule was written for.
  const rule = registry.get(result.data.type)?.rule as Rule<PlainMessage> | undefined;
  rule?.(result.data, () => {
    isBroken = true;
  });
  return isBroken ? undefined : result.data;
}
