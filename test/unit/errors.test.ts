import { readFileSync } from 'node:fs';
import { ERRORS, SluiceError } from 'sluice';
import { describe, expect, test } from 'vitest';
import { describeForLog, WIRE_ERRORS } from '#src/errors.js';

describe('SluiceError', () => {
  test('has the text, severity and category of its code', () => {
    const cause = new Error('why');
    const error = new SluiceError('ADDRESS_IN_USE', '/run/x.sock', { cause });
    expect(error).toBeInstanceOf(Error);
    expect(error).toMatchObject({
      name: 'SluiceError',
      code: 'ADDRESS_IN_USE',
      message: 'Another server is already listening on this address: /run/x.sock',
      severity: 'fatal',
      category: 'lifecycle',
      cause,
    });
    expect(new SluiceError('NOT_RUNNING').message).toBe('The server is not running');
  });
});

describe('describeForLog', () => {
  const thrownBy = (run: () => unknown): unknown => {
    try {
      return run();
    } catch (error) {
      return error;
    }
  };

  test('has name, code and place of an error that may quote a message, but not its text', () => {
    const quoting = thrownBy(() => JSON.parse('NotForYou1'));
    expect(String(quoting)).toContain('NotForYou1');
    expect(describeForLog(quoting)).toMatch(/^SyntaxError at /);
    const multiline = new TypeError('a\n    at NotForYou1');
    expect(describeForLog(Object.assign(multiline, { code: 'ERR_X' }))).toMatch(
      /^TypeError ERR_X at .*errors\.test\.ts/,
    );
    expect(describeForLog(multiline)).not.toContain('NotForYou1');
    expect(describeForLog('NotForYou1')).toBe('a thrown string');
  });

  test('has the text of errors of Sluice and of the system', () => {
    expect(describeForLog(new SluiceError('NOT_RUNNING'))).toBe('The server is not running');
    expect(describeForLog(thrownBy(() => readFileSync('/nowhere')))).toContain("open '/nowhere'");
  });
});

test('the codes of the wire are those of the protocol', () => {
  expect(Object.keys(WIRE_ERRORS).sort()).toEqual(
    [
      'INVALID_JSON',
      'INVALID_UTF8',
      'SCHEMA_VIOLATION',
      'RULE_VIOLATION',
      'UNKNOWN_TYPE',
      'MESSAGE_TOO_LARGE',
      'MESSAGE_TOO_DEEP',
      'FORBIDDEN_KEY',
      'UNSUPPORTED_VERSION',
      'UNAUTHORIZED',
      'NO_RECIPIENT',
      'RATE_LIMITED',
      'REPLACED',
      'SLOW_CONSUMER',
      'VALIDATION_FAILED',
      'SHUTTING_DOWN',
      'LOG_FULL',
      'LOG_UNAVAILABLE',
      'MAX_CONNECTIONS',
    ].sort(),
  );
  expect(Object.values(ERRORS).every(Object.isFrozen)).toBe(true);
});
