import { SlabPool } from 'sluice';
import { expect, test } from 'vitest';
import { Chunk, Lane } from '#src/dispatch/lane.js';
import { type MessageLog, NEVER } from '#src/log/message-log.js';
import type { Peer } from '#src/protocol/peer.js';
import { type Session, Sessions } from '#src/protocol/sessions.js';

/** A connection of the same session as all others. */
class Connection {
  isOpen = true;
  loggedEnd = 0;
  session: Session<Peer> | undefined;
  /** Whether a newer connection of the session has closed it. */
  isReplaced = false;
  /** Called when nothing more is read. */
  stopReading: () => void = () => {};
  /** `session.line` of its `welcome`. */
  welcome: number | undefined;
  readonly lane: Lane = new Lane(
    () => {
      this.session?.countRun(1, 10);
      return true;
    },
    () => expect.unreachable(),
  );

  constructor(sessions: Sessions<Peer>) {
    const peer = this as unknown as Peer;
    sessions.resume(
      's',
      peer,
      ({ decided }) => {
        this.welcome = decided;
      },
      (previous) => {
        (previous as unknown as Connection).isReplaced = true;
      },
    );
  }

  /** Receives 10 messages. @returns settles them */
  receive(): () => void {
    const chunk = new Chunk(this.lane, { slab: new SlabPool(8192).acquire(1), start: 0, end: 1 }, 0);
    this.lane.push(chunk);
    return () => {
      chunk.failed = true;
      this.lane.advance();
    };
  }
}

test('a connection waits for the messages of all before it, also of those that a lost one has waited for', () => {
  const log = { durable: 0, decidedOf: () => 0 } as unknown as MessageLog;
  const sessions = new Sessions<Peer>(log);
  const first = new Connection(sessions);
  expect(first.welcome).toBe(0);
  const settle = first.receive();
  first.isOpen = false;
  const second = new Connection(sessions);
  second.isOpen = false;
  const third = new Connection(sessions);
  expect(third.welcome).toBeUndefined();
  settle();
  expect([second.welcome, third.welcome]).toEqual([undefined, 10]);
  third.receive()();
  expect(third.session?.decided).toBe(20);
});

test('an older connection is read no further, also if nothing can be sent to it, and what it has received counts', () => {
  const log = { durable: 0, decidedOf: () => 0 } as unknown as MessageLog;
  const sessions = new Sessions<Peer>(log);
  const first = new Connection(sessions);
  first.isOpen = false;
  let settle = (): void => {};
  first.stopReading = () => {
    settle = first.receive();
  };
  const second = new Connection(sessions);
  expect([first.isReplaced, second.welcome]).toEqual([true, undefined]);
  settle();
  expect(second.welcome).toBe(10);
});

test('after messages that were not stored, a connection waits until those before them are, and goes on after these', () => {
  let onDurable: () => void = () => {};
  const log = {
    durable: 0,
    decidedOf: () => log.durable,
    beginPassing: () => false,
    onceMessageDurable: (_: number, callback: () => void) => {
      onDurable = callback;
    },
  };
  const sessions = new Sessions<Peer>(log as unknown as MessageLog);
  const first = new Connection(sessions);
  first.receive()();
  const { session } = first;
  if (session === undefined) return expect.unreachable();
  // Of 10 messages, 4 are in the log.
  session.loggedEnd = 4;
  session.isInterrupted = true;
  first.isOpen = false;
  sessions.release(first as unknown as Peer);
  const second = new Connection(sessions);
  expect(second.welcome).toBeUndefined();
  log.durable = 4;
  onDurable();
  expect([second.welcome, second.session?.isInterrupted]).toEqual([4, false]);
});

test('while a failed disk lets messages pass, a connection is welcomed, and nothing of it is stored', () => {
  const log = {
    durable: 0,
    decidedOf: () => log.durable,
    beginPassing: () => true,
    onceMessageDurable: () => {},
  };
  const sessions = new Sessions<Peer>(log as unknown as MessageLog);
  const first = new Connection(sessions);
  first.receive()();
  // Of 10 messages, 4 wait for the disk.
  if (first.session !== undefined) first.session.loggedEnd = 4;
  first.isOpen = false;
  sessions.release(first as unknown as Peer);
  const second = new Connection(sessions);
  expect([second.welcome, second.session?.isInterrupted, second.loggedEnd]).toEqual([0, true, NEVER]);
});
