// Every error Sluice can raise or send, in one table: wire codes first, then those that only
// reach code that imports Sluice. Texts are fixed: an error never carries a value of a message.

export type ErrorSeverity = 'warning' | 'error' | 'fatal';
export type ErrorCategory =
  | 'framing'
  | 'validation'
  | 'protocol'
  | 'access'
  | 'delivery'
  | 'lifecycle'
  | 'configuration';

export interface ErrorEntry {
  /** What went wrong, for a person. */
  readonly message: string;
  readonly severity: ErrorSeverity;
  readonly category: ErrorCategory;
}

const entry = (category: ErrorCategory, severity: ErrorSeverity, message: string): ErrorEntry =>
  Object.freeze({ message, severity, category });

/** Codes that a peer may receive in an `error` message. */
export const WIRE_ERRORS = Object.freeze({
  INVALID_JSON: entry('framing', 'warning', 'The message is not valid JSON'),
  INVALID_UTF8: entry('framing', 'warning', 'The message is not valid UTF-8'),
  MESSAGE_TOO_LARGE: entry('framing', 'warning', 'The message is longer than maxMessageSize'),
  MESSAGE_TOO_DEEP: entry('framing', 'warning', 'The message nests deeper than 64 levels'),
  FORBIDDEN_KEY: entry('validation', 'warning', 'The message has a key named __proto__'),
  UNKNOWN_TYPE: entry('validation', 'warning', 'No schema is known for the type of the message'),
  SCHEMA_VIOLATION: entry('validation', 'warning', 'The message does not match the schema of its type'),
  RULE_VIOLATION: entry('validation', 'warning', 'The message breaks a business rule of its type'),
  VALIDATION_FAILED: entry('validation', 'error', 'The message could not be validated'),
  UNSUPPORTED_VERSION: entry('protocol', 'error', 'The protocol version is not supported'),
  NO_RECIPIENT: entry('protocol', 'warning', 'No connection can take the message'),
  UNAUTHORIZED: entry('access', 'error', 'The connection is not allowed to do this'),
  MAX_CONNECTIONS: entry('access', 'error', 'The broker has reached maxConnections'),
  RATE_LIMITED: entry('access', 'warning', 'A limit of this connection is reached'),
  SLOW_CONSUMER: entry('delivery', 'error', 'The subscriber does not keep up with its messages'),
  SHUTTING_DOWN: entry('lifecycle', 'warning', 'The broker is shutting down'),
});

/** Codes that only code in the same process sees. */
export const LOCAL_ERRORS = Object.freeze({
  INVALID_OPTION: entry('configuration', 'fatal', 'Invalid option'),
  CONFIG_UNREADABLE: entry('configuration', 'fatal', 'The configuration file cannot be used'),
  SCHEMA_MODULE_INVALID: entry('configuration', 'fatal', 'The schema module cannot be used'),
  SOCKET_PATH_INVALID: entry('configuration', 'fatal', 'The socket path cannot be used'),
  ADDRESS_IN_USE: entry('lifecycle', 'fatal', 'Another server listens on this address'),
  LISTEN_FAILED: entry('lifecycle', 'fatal', 'The server cannot listen'),
  ALREADY_RUNNING: entry('lifecycle', 'error', 'The server was started before'),
  NOT_RUNNING: entry('lifecycle', 'error', 'The server is not running'),
  WORKERS_FAILED: entry('lifecycle', 'fatal', 'The validation workers did not start'),
  VALIDATION_TIMEOUT: entry('validation', 'error', 'A worker spent too long on one message, and was ended'),
  PATTERN_MISMATCH: entry(
    'validation',
    'error',
    'A pattern and the slow path disagree on a message of this type',
  ),
  INVALID_MESSAGE: entry('validation', 'error', 'The message to send is not valid'),
  CONNECTION_FAILED: entry('lifecycle', 'error', 'The connection cannot be made'),
  PROTOCOL_ERROR: entry('protocol', 'error', 'The broker does not follow the protocol'),
  CONNECTION_CLOSED: entry('delivery', 'error', 'The connection is closed'),
  OUTBOX_FULL: entry('delivery', 'error', 'Too much waits for the broker to confirm it'),
  REQUEST_TIMEOUT: entry('delivery', 'error', 'The answer did not come in time'),
  SEND_TIMEOUT: entry('delivery', 'error', 'The peer did not take the message in time'),
});

/** A code that may travel in an `error` message. */
export type WireErrorCode = keyof typeof WIRE_ERRORS;
export type ErrorCode = WireErrorCode | keyof typeof LOCAL_ERRORS;

/** All codes with their text, severity and category. */
export const ERRORS: Readonly<Record<ErrorCode, ErrorEntry>> = Object.freeze({
  ...WIRE_ERRORS,
  ...LOCAL_ERRORS,
});

/**
 * What every public function of Sluice throws or rejects with.
 * `message` is the code's text, with the detail (an option's name, a path, an address) after a colon.
 */
export class SluiceError extends Error {
  override readonly name = 'SluiceError';
  readonly code: ErrorCode;

  constructor(code: ErrorCode, detail?: string, options?: ErrorOptions) {
    super(detail ? `${ERRORS[code].message}: ${detail}` : ERRORS[code].message, options);
    this.code = code;
  }

  get severity(): ErrorSeverity {
    return ERRORS[this.code].severity;
  }

  get category(): ErrorCategory {
    return ERRORS[this.code].category;
  }
}

/** The text of whatever was thrown, for a log or a detail. */
export function describeError(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** Why a file of JSON cannot be read. What JSON.parse says quotes the text, which may have tokens in it. */
export function describeJsonError(error: unknown): string {
  return error instanceof SyntaxError ? 'not JSON' : describeError(error);
}
