// The hosts of a fleet, as they report themselves every few seconds.

import * as z from 'zod';
import { decodeJsonText, MAX_DEPTH } from '../wire/safe-json.js';

/** What a broker reports of itself. */
export interface HostReport {
  /** Name of the host. */
  readonly host: string;
  readonly version: string;
  /** Time since the broker was started, in ms. */
  readonly uptime: number;
  readonly connections: number;
  /** Messages received per second. */
  readonly rate: number;
  /** Durable messages that are not forwarded yet; `null` if that is not known. */
  readonly lag: number | null;
}

export interface FleetHost extends HostReport {
  /** Time since its latest report, in ms. */
  readonly silentFor: number;
}

/** How often a broker reports itself, in ms. */
export const REPORT_INTERVAL = 2000;
/** How long a host is listed after its latest report, in ms. */
const LISTED = 5 * 60_000;
/** More are not listed. */
const MAX_HOSTS = 1000;

const reportSchema = z.object({
  host: z.string().regex(/^[\w-]{1,64}$/),
  version: z.string().max(64),
  uptime: z.number().nonnegative(),
  connections: z.number().nonnegative(),
  rate: z.number().nonnegative(),
  lag: z.number().nullable(),
});

export class HostTable {
  readonly #hosts = new Map<string, { readonly report: HostReport; readonly at: number }>();
  readonly #now: () => number;

  /** @param now monotonic clock in ms. Default: `performance.now`. */
  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
  }

  /** Number of hosts, as far as it is known. */
  get size(): number {
    return this.#hosts.size;
  }

  /** Reads the report of a host. What is none is ignored. */
  read(data: Uint8Array): void {
    const decoded = decodeJsonText(Buffer.from(data).toString(), MAX_DEPTH);
    const { success, data: report } = reportSchema.safeParse(decoded.ok ? decoded.value : undefined);
    if (success) this.set(report);
  }

  set(report: HostReport): void {
    if (!this.#hosts.has(report.host)) {
      this.#removeOld();
      if (this.#hosts.size >= MAX_HOSTS) return;
    }
    this.#hosts.set(report.host, { report, at: this.#now() });
  }

  /** The hosts that have reported themselves within 5 minutes, by name. */
  list(): FleetHost[] {
    this.#removeOld();
    const now = this.#now();
    return [...this.#hosts.values()]
      .map(({ report, at }) => ({ ...report, silentFor: now - at }))
      .sort((a, b) => (a.host < b.host ? -1 : 1));
  }

  #removeOld(): void {
    const before = this.#now() - LISTED;
    for (const [host, { at }] of this.#hosts) if (at < before) this.#hosts.delete(host);
  }
}
