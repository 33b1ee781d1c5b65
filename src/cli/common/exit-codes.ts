// Exit codes of the command line, after BSD's sysexits.

export const EXIT = {
  OK: 0,
  /** Some messages were rejected, or something failed on the way. */
  FAILURE: 1,
  /** Wrong arguments (EX_USAGE). */
  USAGE: 64,
  /** A file cannot be read (EX_NOINPUT). */
  NO_INPUT: 66,
  /** No broker there (EX_UNAVAILABLE). */
  UNAVAILABLE: 69,
  /** A bad option or configuration file (EX_CONFIG). */
  CONFIG: 78,
} as const;
