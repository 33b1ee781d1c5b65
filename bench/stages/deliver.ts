// Deliver: cuts a run into the pieces of a subscriber, and writes them to its socket.

import { Writable } from 'node:stream';
import type { Bench } from 'tinybench';
import { cutRun, SELECTED, Selection, wholeRun } from '../../src/delivery/frame-run.js';
import { Outbox } from '../../src/delivery/outbox.js';
import { Traffic } from '../../src/traffic/traffic.js';
import { batchOf, runOf } from './batch.js';

const MESSAGES = 500;

/** A socket that accepts everything immediately. */
function sink(): Writable {
  return new Writable({
    write(_bytes, _encoding, done) {
      done();
    },
    writev(_chunks, done) {
      done();
    },
  });
}

/** Selects one message of each `step`. */
function select(step: number): Selection {
  const selection = new Selection();
  for (let index = 0; index < MESSAGES; index += step) selection.add(index, SELECTED);
  return selection;
}

export function add(bench: Bench): ReadonlyMap<string, number> {
  const lines = new Traffic({ seed: 1 }).block(MESSAGES);
  const objects = new Traffic({ seed: 1 }).block(MESSAGES, '');
  const delimited = runOf(batchOf(lines));
  const undelimited = runOf(batchOf(objects), true);
  const everySecond = select(2);
  const all = select(1);
  const events = { onSlow() {}, onDropped() {}, onBlocked() {}, onUnread() {}, onWritten() {} };
  const outboxes = Array.from({ length: 10 }, () => new Outbox(sink(), 1 << 26, events));
  const tasks: Record<string, () => void> = {
    'cut a whole run': () => void wholeRun(delimited),
    'cut half of the messages': () => void cutRun(delimited, everySecond),
    'cut undelimited messages': () => void cutRun(undelimited, all),
    'write a whole run to 10': () => {
      const piece = wholeRun(delimited);
      for (const outbox of outboxes) {
        outbox.deliver(piece);
        outbox.flush(0);
      }
    },
  };
  for (const [name, run] of Object.entries(tasks)) bench.add(name, run);
  return new Map(Object.keys(tasks).map((name) => [name, MESSAGES]));
}
