// The message types, with the rate and the number of the messages that were accepted. The broker counts rejected messages
// by their code, not by their type: many have none.

import type { BrokerStats } from '../../admin/snapshot.js';
import { formatCount, formatShort, UNKNOWN } from '../../formats.js';
import type { Column } from './table.js';

export interface TypeRow {
  readonly type: string;
  /** Messages per second; null for control messages, which are only counted. */
  readonly rate: number | null;
  readonly accepted: number;
}

/** The column by which the types are sorted at first. */
export const TYPE_RATE: Column<TypeRow> = {
  title: 'IN/s',
  key: 'i',
  label: 'in',
  width: 7,
  rank: 0,
  text: ({ rate }) => (rate === null ? UNKNOWN : formatShort(rate)),
  value: ({ rate }) => rate,
};

export const TYPE_COLUMNS: readonly Column<TypeRow>[] = [
  {
    title: 'TYPE',
    key: 'n',
    label: 'type',
    width: 12,
    maxWidth: 40,
    rank: 0,
    isText: true,
    text: ({ type }) => type,
    value: ({ type }) => type,
  },
  TYPE_RATE,
  {
    title: 'ACCEPTED',
    key: 'a',
    label: 'accepted',
    width: 18,
    rank: 0,
    text: ({ accepted }) => formatCount(accepted),
    value: ({ accepted }) => accepted,
  },
];

/** The types of all messages that were accepted so far. */
export function typeRows({ accepted, control, rates }: BrokerStats): TypeRow[] {
  return [
    ...Object.entries(accepted).map(([type, count]) => ({
      type,
      rate: Object.hasOwn(rates.byType, type) ? (rates.byType[type] ?? 0) : 0,
      accepted: count,
    })),
    ...Object.entries(control).map(([type, count]) => ({ type, rate: null, accepted: count })),
  ];
}
