// The protocol as an AsyncAPI 3 document: the messages between crawlers, applications and the broker, and their
// directions. Generated from the registry, so it includes a schema module's types.

import type { MessageDirection, MessageRegistry, MessageType } from '../messages/message-registry.js';
import { PROTOCOL_VERSION } from '../messages/messages.js';
import { type JsonSchema, jsonSchemaOf, pointerPart, rebaseRefs, wireTypes } from './json-schemas.js';

interface ChannelPlan {
  readonly name: string;
  readonly title: string;
  readonly directions: MessageDirection;
  /** The broker's operations on the channel's messages by name, each with a summary. */
  readonly operations: Readonly<Record<string, readonly [action: 'send' | 'receive', summary: string]>>;
}

/** All channels share one socket: a channel is a direction of messages. */
const CHANNELS: readonly ChannelPlan[] = [
  {
    name: 'crawlerMessages',
    title: 'Messages from crawlers',
    directions: 'crawler',
    operations: {
      receiveFromCrawlers: ['receive', 'Validates each message, and replies to rejected ones'],
      forwardToSubscribers: ['send', 'Forwards the original bytes of valid messages to subscribers'],
    },
  },
  {
    name: 'applicationMessages',
    title: 'Messages from applications to crawlers',
    directions: 'app',
    operations: {
      receiveFromApplications: [
        'receive',
        'Validates each message, and finds the crawlers that it is addressed to',
      ],
      forwardToCrawlers: ['send', 'Forwards the original bytes of valid messages to those crawlers'],
    },
  },
  {
    name: 'control',
    title: 'Control messages from peers',
    directions: 'control',
    operations: { receiveControl: ['receive', 'Executes the message'] },
  },
  {
    name: 'replies',
    title: 'Replies from the broker',
    directions: 'broker',
    operations: { sendReplies: ['send', 'Replies to control messages and to rejected messages'] },
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
      description: 'One JSON object per line, in UTF-8, over a stream socket.',
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
  // AsyncAPI's own schemas extend draft 7. `$schema` is not allowed inside the document.
  const { $schema: _, ...payload } = jsonSchemaOf(type, 'draft-7');
  const pointer = `${messagePointer(type.name)}/payload`;
  return { name: type.name, contentType: 'application/json', payload: rebaseRefs(payload, pointer) };
}

/** The position of a message in the document, as a JSON pointer in a URI. */
function messagePointer(name: string): string {
  return `#/components/messages/${pointerPart(name)}`;
}
