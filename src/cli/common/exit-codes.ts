// Exit codes of the command line, after BSD's sysexits.

export const EXIT = {
  OK: 0,
  /** Some messages were rejected, or the command failed. */
  FAILURE: 1,
  /** Invalid arguments (EX_USAGE). */
  USAGE: 64,
  /** The input file cannot be read (EX_NOINPUT). */
  NO_INPUT: 66,
  /** No broker is running (EX_UNAVAILABLE). */
  UNAVAILABLE: 69,
  /** An option or a configuration file is invalid (EX_CONFIG). */
  CONFIG: 78,
} as const;
