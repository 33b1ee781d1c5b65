// A rejected message, as tests see it.

import type { Issue } from '../messages/issues.js';

/** A rejected message. */
export interface Rejection {
  /** Such as `SCHEMA_VIOLATION`. */
  readonly code: string;
  readonly messageType?: string | undefined;
  /** What is wrong with it, with paths such as `data.processed`. */
  readonly issues: readonly Issue[];
  /** Number of its line in the connection's stream, from 1. */
  readonly line?: number | undefined;
}

/** What a rejection is called in a list. */
export function nameOfRejection({ code, messageType = 'no type' }: Rejection): string {
  return `${code} (${messageType})`;
}

/** What a rejection is expected to be about. */
export interface ExpectedRejection {
  readonly code?: string;
  readonly messageType?: string;
  /** The path of one of its issues. */
  readonly path?: string;
}

export function matchesRejection(
  { code, messageType, path }: ExpectedRejection,
  rejection: Rejection,
): boolean {
  return (
    (code === undefined || rejection.code === code) &&
    (messageType === undefined || rejection.messageType === messageType) &&
    (path === undefined || rejection.issues.some((issue) => issue.path === path))
  );
}
