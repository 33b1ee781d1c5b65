// What is published on channels of node:diagnostics_channel.

import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { onTestFinished } from 'vitest';

/** What a channel publishes during the test. */
export function eventsOf(channel: string): unknown[] {
  const events: unknown[] = [];
  const add = (event: unknown) => void events.push(event);
  subscribe(channel, add);
  onTestFinished(() => void unsubscribe(channel, add));
  return events;
}
