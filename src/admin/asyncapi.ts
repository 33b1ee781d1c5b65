// The protocol as an AsyncAPI 3 document: what crawlers, applications and the broker say to each other, and which way
// each message goes. Made from the registry, so a schema module's types are in it.

import type { MessageDirection, MessageRegistry, MessageType } from '../messages/message-registry.js';
import { PROTOCOL_VERSION } from '../messages/messages.js';
import { type JsonSchema, jsonSchemaOf, wireTypes } from './json-schemas.js';

interface ChannelPlan {
  readonly name: string;
  readonly title: string;
  readonly directions: MessageDirection;
  /** What the broker does with the channel's messages: operation by name, with its summary. */
  readonly operations: Readonly<Record<string, readonly [action: 'send' | 'receive', summary: string]>>;
}

/** All of them share one socket: a channel is a direction in which messages travel. */
const CHANNELS: readonly ChannelPlan[] = [
  {
    name: 'crawlerMessages',
    title: 'What crawlers report',
    directions: 'crawler',
    operations: {
      receiveFromCrawlers: ['receive', 'Checks each message, and answers those that it rejects'],
      forwardToSubscribers: ['send', 'Forwards the bytes of valid messages to those who have subscribed'],
    },
  },
  {
    name: 'applicationMessages',
    title: 'What applications tell crawlers',
    directions: 'app',
    operations: {
      receiveFromApplications: ['receive', 'Checks each message, and finds the crawlers that it is for'],
      forwardToCrawlers: ['send', 'Forwards the bytes of valid messages to those crawlers'],
    },
  },
  {
    name: 'control',
    title: 'What peers tell the broker',
    directions: 'control',
    operations: { receiveControl: ['receive', 'Acts on the message'] },
  },
  {
    name: 'replies',
    title: 'What the broker tells peers',
    directions: 'broker',
    operations: { sendReplies: ['send', 'Answers control messages, and rejected ones'] },
  },
];

/** @param address where the broker listens: a path, or `host:port` */
export function asyncApiDocument(
  registry: MessageRegistry,
  address: string | undefined,
  version: string,
): JsonSchema {
  const types = wireTypes(registry);
  const channelTypes = (plan: ChannelPlan) => types.filter(({ direction }) => direction === plan.directions);
  return {
    asyncapi: '3.0.0',
    info: {
      title: 'Sluice',
      version,
      description: 'One JSON object a line, in UTF-8, over a stream socket.',
      license: { name: 'MIT' },
    },
    defaultContentType: 'application/json',
    ...(address === undefined ? {} : { servers: { broker: serverOf(address) } }),
    channels: Object.fromEntries(CHANNELS.map((plan) => [plan.name, channelOf(plan, channelTypes(plan))])),
    operations: Object.fromEntries(CHANNELS.flatMap((plan) => operationsOf(plan))),
    components: { messages: Object.fromEntries(types.map((type) => [type.name, messageOf(type)])) },
  };
}

function serverOf(address: string): JsonSchema {
  const isPath = address.includes('/');
  return {
    host: isPath ? 'localhost' : address,
    ...(isPath ? { pathname: address } : {}),
    protocol: isPath ? 'unix' : 'tcp',
    protocolVersion: PROTOCOL_VERSION,
  };
}

function channelOf({ title }: ChannelPlan, types: readonly MessageType[]): JsonSchema {
  return {
    address: null,
    title,
    messages: Object.fromEntries(types.map(({ name }) => [name, { $ref: messagePointer(name) }])),
  };
}

function operationsOf({ name, operations }: ChannelPlan): [string, JsonSchema][] {
  return Object.entries(operations).map(([operation, [action, summary]]) => [
    operation,
    { action, summary, channel: { $ref: `#/channels/${name}` } },
  ]);
}

function messageOf(type: MessageType): JsonSchema {
  // Draft 7 is what AsyncAPI's own schemas extend. The name of the draft has no place inside the document.
  const { $schema: _, ...payload } = jsonSchemaOf(type, 'draft-7');
  const place = `${messagePointer(type.name)}/payload`;
  return { name: type.name, contentType: 'application/json', payload: moved(payload, place) };
}

/** A schema that refers to itself, as it has to be where its root is not the root of the document. */
function moved(schema: unknown, place: string): unknown {
  if (Array.isArray(schema)) return schema.map((part) => moved(part, place));
  if (typeof schema !== 'object' || schema === null) return schema;
  return Object.fromEntries(
    Object.entries(schema).map(([key, value]) => [
      key,
      key === '$ref' && typeof value === 'string' ? value.replace(/^#/, () => place) : moved(value, place),
    ]),
  );
}

/** Where a message is in the document: a JSON pointer in a URI. A schema module may name its types as it likes. */
function messagePointer(name: string): string {
  return `#/components/messages/${encodeURIComponent(name.replaceAll('~', '~0').replaceAll('/', '~1'))}`;
}
