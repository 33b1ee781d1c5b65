// The table of all errors: first the codes that are sent to peers, then those that only programs that use Sluice see.
// The texts are constant: an error never contains a value of a message.

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
  /** Human-readable description. */
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
  MESSAGE_TOO_LARGE: entry('framing', 'warning', 'The message exceeds maxMessageSize'),
  MESSAGE_TOO_DEEP: entry('framing', 'warning', 'The message is nested more than 64 levels deep'),
  FORBIDDEN_KEY: entry('validation', 'warning', 'The message contains a key named __proto__'),
  UNKNOWN_TYPE: entry(
    'validation',
    'warning',
    'The message type has no schema, or only the broker may send it',
  ),
  SCHEMA_VIOLATION: entry('validation', 'warning', 'The message does not match the schema of its type'),
  RULE_VIOLATION: entry('validation', 'warning', 'The message violates a business rule of its type'),
  VALIDATION_FAILED: entry('validation', 'error', 'The message could not be validated'),
  UNSUPPORTED_VERSION: entry('protocol', 'error', 'The protocol version is not supported'),
  NO_RECIPIENT: entry('protocol', 'warning', 'No connection can receive the message'),
  UNAUTHORIZED: entry('access', 'error', 'The token is missing or invalid, or the role does not permit this'),
  MAX_CONNECTIONS: entry('access', 'error', 'The broker has reached maxConnections'),
  RATE_LIMITED: entry('access', 'warning', 'The connection has exceeded a limit'),
  SLOW_CONSUMER: entry('delivery', 'error', 'The subscriber does not keep up with its messages'),
  LOG_FULL: entry('delivery', 'warning', 'The durable log has no room for the message'),
  LOG_UNAVAILABLE: entry('delivery', 'error', 'The durable log is unavailable'),
  SHUTTING_DOWN: entry('lifecycle', 'warning', 'The broker is shutting down'),
  REPLACED: entry('lifecycle', 'error', 'A newer connection with the same crawlerId has taken over'),
});

/** Codes that are raised in the process itself and never sent to a peer. */
export const LOCAL_ERRORS = Object.freeze({
  INVALID_OPTION: entry('configuration', 'fatal', 'Invalid option'),
  CONFIG_UNREADABLE: entry('configuration', 'fatal', 'A file that an option names cannot be used'),
  SCHEMA_MODULE_INVALID: entry('configuration', 'fatal', 'The schema module cannot be used'),
  SOCKET_PATH_INVALID: entry('configuration', 'fatal', 'The socket path cannot be used'),
  ADDRESS_IN_USE: entry('lifecycle', 'fatal', 'Another server is already listening on this address'),
  LISTEN_FAILED: entry('lifecycle', 'fatal', 'The server failed to listen'),
  SOCKET_FILE_LOST: entry('lifecycle', 'error', 'The socket file was removed or replaced'),
  ALREADY_RUNNING: entry('lifecycle', 'error', 'Already started or connected'),
  NOT_RUNNING: entry('lifecycle', 'error', 'The server is not running'),
  NOT_INSTALLED: entry(
    'lifecycle',
    'fatal',
    'Sluice is bundled, and the same version is not installed beside the bundle',
  ),
  WORKERS_FAILED: entry('lifecycle', 'fatal', 'The validation workers failed to start'),
  VALIDATION_TIMEOUT: entry(
    'validation',
    'error',
    'A worker took too long to validate one message and was terminated',
  ),
  LOG_UNUSABLE: entry('configuration', 'fatal', 'The folder of the durable log cannot be used'),
  LOG_OUTDATED: entry('lifecycle', 'error', 'The durable log lacks messages that it had'),
  LOG_IN_USE: entry('lifecycle', 'fatal', 'Another broker is using the folder of the durable log'),
  FLEET_CLIENT_MISSING: entry(
    'configuration',
    'fatal',
    'The option fleet needs packages that are not installed',
  ),
  FLEET_HOST_IN_USE: entry('lifecycle', 'error', 'Another broker of the fleet has the same fleetHost'),
  FLEET_UNAVAILABLE: entry('lifecycle', 'error', 'The engine of the fleet cannot be used'),
  PATTERN_MISMATCH: entry(
    'validation',
    'error',
    'A pattern and the slow path disagree on a message of this type',
  ),
  INVALID_MESSAGE: entry('validation', 'error', 'The message to send is invalid'),
  CONNECTION_FAILED: entry('lifecycle', 'error', 'The connection could not be established'),
  PROTOCOL_ERROR: entry('protocol', 'error', 'The broker violated the protocol'),
  CONNECTION_CLOSED: entry('delivery', 'error', 'The connection is closed'),
  OUTBOX_FULL: entry('delivery', 'error', 'Too many published bytes await confirmation by the broker'),
  REQUEST_TIMEOUT: entry('delivery', 'error', 'The request timed out'),
  SEND_TIMEOUT: entry('delivery', 'error', 'Sending the message to the peer timed out'),
});

/** A code that may appear in an `error` message. */
export type WireErrorCode = keyof typeof WIRE_ERRORS;
export type ErrorCode = WireErrorCode | keyof typeof LOCAL_ERRORS;

/** All codes with their text, severity and category. */
export const ERRORS: Readonly<Record<ErrorCode, ErrorEntry>> = Object.freeze({
  ...WIRE_ERRORS,
  ...LOCAL_ERRORS,
});

/**
 * The error that every public function of Sluice throws or rejects with.
 * `message` is the text of the code, followed by a colon and the detail (an option's name, a path, an address) if any.
 */
export class SluiceError extends Error {
  override readonly name = 'SluiceError';
  readonly code: ErrorCode;

  constructor(code: ErrorCode, detail?: string, options?: { cause?: unknown }) {
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

/** The message of any thrown value, for a log or an error detail. */
export function describeError(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/**
 * What a log may contain of a thrown value. The message of an error of other code, such as a listener or a rule, may quote
 * a message: `JSON.parse` quotes what it cannot parse. Such an error is described by its name, code and place.
 */
export function describeForLog(error: unknown): string {
  if (!(error instanceof Error)) return `a thrown ${error === null ? 'null' : typeof error}`;
  const { name, message, stack = '' } = error;
  const { code, syscall } = error as NodeJS.ErrnoException;
  // Sluice's own errors contain no values, and those of the system only paths and addresses.
  if (error instanceof SluiceError || syscall !== undefined) return message;
  const at = stack.indexOf(message);
  const [, place] = /^ +at (.*)$/m.exec(at === -1 ? '' : stack.slice(at + message.length)) ?? [];
  return [name, code, place && `at ${place}`].filter(Boolean).join(' ');
}

/** Why a JSON file cannot be read. Omits the message of JSON.parse: it quotes the text, which may contain tokens. */
export function describeJsonError(error: unknown): string {
  return error instanceof SyntaxError ? 'not JSON' : describeError(error);
}
