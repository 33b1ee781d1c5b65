// Messages for tests to send, as lines.

import { FIXTURES as VALID, type FixtureType as ValidType } from '#src/testing/fixtures.js';

export { VALID, type ValidType };

/** A valid message with changed data: `undefined` removes a field. */
export function changed(type: ValidType, data: object, envelope: object = {}): Record<string, unknown> {
  return { ...VALID[type], ...envelope, data: { ...VALID[type].data, ...data } };
}

/** A message as a line. */
export function line(message: object): string {
  return `${JSON.stringify(message)}\n`;
}
