// Positions in the messages of a fleet: up to where those of each host were read.

import { formatPosition, type Position, parsePosition } from '../log/position.js';

export interface FleetPosition {
  /** Sequence number, in the stream of the engine, of the latest batch that was read; 0 if none was. */
  readonly sequence: number;
  /** When the engine stored that batch, in ms since 1970. It shows whether the stream is still the same. */
  readonly time: number;
  /** Position of the next message, by host, in the order of their latest batches. */
  readonly hosts: ReadonlyMap<string, Position>;
}

/** As on the wire: `fleet:7:1767225600000:host-1=0123456789abcdef:42,host-2=…`. */
export function formatFleetPosition({ sequence, time, hosts }: FleetPosition): string {
  const list = [...hosts].map(([host, position]) => `${host}=${formatPosition(position)}`);
  return `fleet:${sequence}:${time}:${list.join(',')}`;
}

/** @param text that has this form */
export function parseFleetPosition(text: string): FleetPosition {
  const [, sequence, time, list = ''] = /^fleet:(\d+):(\d+):(.*)$/.exec(text) ?? [];
  const hosts = new Map<string, Position>();
  for (const entry of list === '' ? [] : list.split(',')) {
    const at = entry.indexOf('=');
    hosts.set(entry.slice(0, at), parsePosition(entry.slice(at + 1)));
  }
  return { sequence: Number(sequence), time: Number(time), hosts };
}
