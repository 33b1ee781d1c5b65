// Positions in a log, as consumers get them and cursors keep them.

/** A position in a log. */
export interface Position {
  /** Of the log that the offset refers to: 16 hexadecimal digits. */
  readonly epoch: string;
  /** Offset of the next message. */
  readonly offset: number;
}

/** As on the wire and the command line: `0123456789abcdef:42`. */
export function formatPosition({ epoch, offset }: Position): string {
  return `${epoch}:${offset}`;
}

/** @param text that has this form */
export function parsePosition(text: string): Position {
  const [epoch = '', offset] = text.split(':');
  return { epoch, offset: Number(offset) };
}

/** The epoch of a segment, as in a position. */
export function formatEpoch(epoch: bigint): string {
  return epoch.toString(16).padStart(16, '0');
}
