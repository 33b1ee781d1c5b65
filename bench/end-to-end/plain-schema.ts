// The schemas of the protocol, as a server that parses everything would use them: one union, told apart by type.

import * as z from 'zod';
import { controlSchemas, crawlerSchemas } from '../../src/protocol/messages.js';

const { heartbeat, job_request, ...others } = crawlerSchemas;

export const messageSchema = z.discriminatedUnion('type', [
  heartbeat,
  job_request,
  ...Object.values(others),
  controlSchemas.subscribe,
]);
