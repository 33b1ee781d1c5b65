// The messages and bytes that subscribers receive of given writes. All streams are known, so both can be computed.

import { BlockPlan, type StreamSettings } from './block-stream.js';
import { subscriptionsOf } from './filters.js';
import { WIRES, type WireName } from './wires.js';

export interface DeliverySettings extends StreamSettings {
  readonly wire: WireName;
  /** Whether the broker forwards only valid messages. */
  readonly validates: boolean;
  /** Number of subscriptions with a filter. Without a filter, `copies` of each message are delivered. */
  readonly subscriptions?: number | undefined;
  readonly copies: number;
  /** The first publisher. Default: 0. */
  readonly first?: number | undefined;
}

export interface Deliveries {
  messages: number;
  bytes: number;
}

/**
 * The deliveries of each phase, of all publishers to all subscribers.
 * @param phases number of blocks that each publisher sends
 */
export function deliveriesOf(settings: DeliverySettings, phases: readonly number[]): Deliveries[] {
  const { content, copies, filter, first = 0, publishers, subscriptions = 0, validates } = settings;
  const { delivered } = WIRES[settings.wire];
  const totals = phases.map(() => ({ messages: 0, bytes: 0 }));
  const topics =
    filter &&
    new Set(subscriptionsOf(filter, subscriptions, content, publishers, first).map(({ topic }) => topic));
  for (let publisher = first; publisher < first + publishers; publisher++) {
    const plan = new BlockPlan(settings, publisher);
    const sizes = new Map(plan.messages.map((message) => [message, Buffer.byteLength(message.line)]));
    const blockAt = (write: number): Deliveries => {
      const sum = { messages: 0, bytes: 0 };
      plan.visit(write, (message, topic) => {
        if ((validates && !message.isValid) || topics?.has(topic) === false) return;
        sum.messages++;
        sum.bytes += delivered(sizes.get(message) ?? 0, topic);
      });
      return sum;
    };
    // Blocks differ only in the jobs, which matter only to a filter by job.
    const constant = plan.isChanging && filter === 'job' ? undefined : blockAt(0);
    let write = 0;
    for (const [phase, count] of phases.entries()) {
      const total = totals[phase] as Deliveries;
      if (constant !== undefined) {
        total.messages += count * copies * constant.messages;
        total.bytes += count * copies * constant.bytes;
      } else {
        for (const end = write + count; write < end; write++) {
          const { messages, bytes } = blockAt(write);
          total.messages += copies * messages;
          total.bytes += copies * bytes;
        }
      }
    }
  }
  return totals;
}
