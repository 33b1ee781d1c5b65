// Rejected messages per minute of the last hour, by type, path and code. Bounded, whatever peers send.

import type { Peer } from '../protocol/peer.js';
import type { RejectedMessage } from '../protocol/rejected-message.js';

/** Rejected messages with the same type, code and first issue. */
export interface RejectionGroup {
  /** Error code of the rejection; `other` for all messages beyond the 100 groups. */
  readonly code: string;
  readonly messageType: string | null;
  /** Path of the first issue, with `[*]` for each index; null if there is no issue. */
  readonly path: string | null;
  /** Code of the first issue. */
  readonly issue: string | null;
  /** Since the group was begun. */
  readonly total: number;
  /** ms since 1970. */
  readonly lastSeen: number;
  /** Rejected messages in each of the last 60 minutes, the current one last. */
  readonly counts: readonly number[];
}

const MAX_GROUPS = 100;
const MINUTES = 60;
const MINUTE = 60_000;
/** Types without a schema can have a name of any length. In characters. */
const MAX_TYPE = 128;
const OTHER = 'other';

class Group {
  readonly code: string;
  readonly messageType: string | null;
  readonly path: string | null;
  readonly issue: string | null;
  total = 0;
  lastSeen = 0;
  /** Counts by minute since 1970, modulo an hour. */
  readonly #counts = new Uint32Array(MINUTES);
  /** The latest minute with a count. */
  #minute = 0;

  constructor(code: string, messageType?: string, path?: string, issue?: string) {
    this.code = code;
    this.messageType = messageType ?? null;
    this.path = path ?? null;
    this.issue = issue ?? null;
  }

  add(now: number): void {
    const minute = Math.floor(now / MINUTE);
    this.#expire(minute);
    this.#minute = minute;
    this.#counts[minute % MINUTES] = (this.#counts[minute % MINUTES] ?? 0) + 1;
    this.total++;
    this.lastSeen = now;
  }

  at(now: number): RejectionGroup {
    const minute = Math.floor(now / MINUTE);
    const counts = Array.from({ length: MINUTES }, (_, at) => this.#countOf(minute - MINUTES + 1 + at));
    const { code, messageType, path, issue, total, lastSeen } = this;
    return { code, messageType, path, issue, total, lastSeen, counts };
  }

  #countOf(minute: number): number {
    const isKept = minute <= this.#minute && minute > this.#minute - MINUTES;
    return isKept ? (this.#counts[minute % MINUTES] ?? 0) : 0;
  }

  /** Clears the minutes since the latest count; all if the clock was set back. */
  #expire(minute: number): void {
    const passed = minute - this.#minute;
    if (passed < 0 || passed >= MINUTES) this.#counts.fill(0);
    else for (let at = this.#minute + 1; at <= minute; at++) this.#counts[at % MINUTES] = 0;
  }
}

export class RejectionGroups {
  readonly #groups = new Map<string, Group>();
  readonly #other = new Group(OTHER);
  /** When groups without a rejection within the hour were last removed. */
  #cleanedAt = 0;

  add({ code, messageType, issues: [first] }: RejectedMessage<Peer>): void {
    const now = Date.now();
    const type = messageType?.slice(0, MAX_TYPE);
    const path = first?.path.replaceAll(/\[\d+\]/g, '[*]');
    const key = JSON.stringify([code, type, path, first?.code]);
    let group = this.#groups.get(key);
    if (group === undefined && this.#hasRoom(now)) {
      group = new Group(code, type, path, first?.code);
      this.#groups.set(key, group);
    }
    (group ?? this.#other).add(now);
  }

  /** The largest in the last hour first. */
  list(): RejectionGroup[] {
    const now = Date.now();
    const groups = [...this.#groups.values(), ...(this.#other.total > 0 ? [this.#other] : [])];
    const sumOf = ({ counts }: RejectionGroup) => counts.reduce((sum, count) => sum + count, 0);
    return groups
      .map((group) => group.at(now))
      .sort((a, b) => sumOf(b) - sumOf(a) || b.lastSeen - a.lastSeen);
  }

  /** Whether there is room for another group. At most once a minute, those are removed that were not seen for an hour. */
  #hasRoom(now: number): boolean {
    if (this.#groups.size >= MAX_GROUPS && Math.abs(now - this.#cleanedAt) >= MINUTE) {
      this.#cleanedAt = now;
      for (const [key, { lastSeen }] of this.#groups)
        if (now - lastSeen > MINUTES * MINUTE) this.#groups.delete(key);
    }
    return this.#groups.size < MAX_GROUPS;
  }
}
