// Sessions: how many messages of a client are decided, over several connections, so that it does not send them again.

import { MAX_SESSIONS } from '../log/log-store.js';
import { type MessageLog, NEVER } from '../log/message-log.js';
import { LruMap } from '../lru-map.js';
import type { Peer, PeerSession } from './peer.js';

/** A client, over several connections. */
export class Session<P extends Peer> implements PeerSession {
  readonly id: string;
  /** Number of decided messages (stored or rejected), without control messages. On the wire: `line`. */
  decided: number;
  /** Offset in the log after its latest message; 0 if none is stored. */
  loggedEnd = 0;
  isInterrupted = false;
  /** The latest connection. */
  connection: P | undefined;
  /** Number of older connections with messages that are not decided. */
  undecided = 0;
  /** Called once there are none. */
  onDecided: (() => void) | undefined;
  /** The current run: its first sequence number, and the number of decided messages before it. */
  #sequence = 0;
  #before = 0;

  constructor(id: string, decided: number) {
    this.id = id;
    this.decided = decided;
  }

  /** Counts the messages of a run. @param firstSequence of those that will be accepted */
  countRun(firstSequence: number, count: number): void {
    this.#sequence = firstSequence;
    this.#before = this.decided;
    this.decided += count;
  }

  /** Number of decided messages before one of the current run. @param sequence of the message */
  decidedBefore(sequence: number): number {
    return this.#before + sequence - this.#sequence;
  }
}

/** @typeParam P the type of connections */
export class Sessions<P extends Peer> {
  readonly #log: MessageLog;
  readonly #sessions = new LruMap<string, Session<P>>(MAX_SESSIONS);
  /** Of connections, also if their messages are no longer counted. */
  readonly #byConnection = new WeakMap<P, Session<P>>();

  constructor(log: MessageLog) {
    this.#log = log;
  }

  /**
   * Continues a session, or begins one, on a new connection. An older connection of it is closed.
   * @param onReady called once everything that older connections have sent is decided and durable, unless the connection was
   *   closed meanwhile, or the session continued on another one
   * @param onReplaced called with the older connection, to close it. What it has not received by now must not be read: the
   *   client will send it again.
   */
  resume(
    id: string,
    connection: P,
    onReady: (session: Session<P>) => void,
    onReplaced: (previous: P) => void,
  ): void {
    const session = this.#sessions.get(id) ?? new Session<P>(id, this.#log.decidedOf(id));
    this.#sessions.set(id, session);
    const previous = session.connection;
    session.connection = connection;
    this.#byConnection.set(connection, session);
    const begin = (): void => {
      if (session.connection !== connection) return;
      if (connection.isOpen) {
        if (session.isInterrupted) session.decided = this.#log.decidedOf(id);
        session.isInterrupted = false;
        connection.session = session;
        onReady(session);
      } else session.connection = undefined;
    };
    session.onDecided = () => {
      // What is not durable may still be lost, and the client must then send it again.
      if (session.loggedEnd <= this.#log.durable) begin();
      else if (this.#log.beginPassing()) this.#pass(session, connection, onReady);
      else this.#log.onceMessageDurable(session.loggedEnd - 1, begin);
    };
    if (previous === undefined || previous === connection) return this.#decide(session);
    session.undecided++;
    previous.stopReading();
    onReplaced(previous);
    previous.lane.after(() => {
      previous.session = undefined;
      session.undecided--;
      this.#decide(session);
    });
  }

  /**
   * The disk has failed: nothing of this connection is stored, and it is closed when the disk works again. Its client then
   * sends what is not stored by then.
   */
  #pass(session: Session<P>, connection: P, onReady: (session: Session<P>) => void): void {
    session.isInterrupted = true;
    session.decided = this.#log.decidedOf(session.id);
    if (!connection.isOpen) return;
    connection.loggedEnd = NEVER;
    connection.session = session;
    onReady(session);
  }

  /** A connection of the session begins once all messages of those before it are decided. */
  #decide(session: Session<P>): void {
    const { onDecided } = session;
    if (session.undecided > 0) return;
    session.onDecided = undefined;
    onDecided?.();
  }

  /** Forgets a closed connection, all of whose messages are settled. */
  release(connection: P): void {
    const session = this.#byConnection.get(connection);
    if (session?.connection === connection) session.connection = undefined;
  }
}
