import { MessageRegistry } from 'sluice';
import { describe, expect, test } from 'vitest';
import { FieldTable, segmentsOf, valueAt } from '#src/messages/field-paths.js';

const numbered = (count: number, prefix = 'f') =>
  Array.from({ length: count }, (_, index) => `${prefix}${index}`);

describe('valueAt', () => {
  const message = { a: { b: [{ c: 1 }, 'text'], n: null }, '': { '': 2 }, 'a.b': 3 };
  test.each([
    ['a.b.0.c', 1],
    ['a.b.1', 'text'],
    ['a.n', null],
    ['.', 2],
    ['a.b.2', undefined],
    ['a.b.00', undefined],
    ['a.b.-1', undefined],
    ['a.b.length', undefined],
    ['a.b.1.length', undefined],
    ['a.b.1.0', undefined],
    ['a.n.x', undefined],
    ['constructor', undefined],
    ['a.toString', undefined],
    ['__proto__', undefined],
  ])('%s', (path, expected) => {
    expect(valueAt(message, segmentsOf(path))).toBe(expected);
  });
});

describe('FieldTable', () => {
  test('resolves * to the types that crawlers send, and others by name', () => {
    const fields = new FieldTable();
    fields.add('*', ['jobId']);
    fields.add('job_progress', ['data.total', 'jobId']);
    fields.add('shutdown', ['data.reason']);
    fields.add('hello', ['data.role']);
    fields.add('no_such_type', ['a']);
    const resolved = fields.resolve(MessageRegistry.builtin());
    expect(resolved.get('heartbeat')).toEqual(['jobId']);
    expect(resolved.get('job_progress')).toEqual(['jobId', 'data.total']);
    expect(resolved.get('shutdown')).toEqual(['data.reason']);
    expect([resolved.has('hello'), resolved.has('no_such_type'), resolved.has('error')]).toEqual([
      false,
      false,
      false,
    ]);
  });

  test('removes a field when everyone who added it has', () => {
    const fields = new FieldTable();
    fields.add('heartbeat', ['a']);
    fields.add('heartbeat', ['a', 'b']);
    fields.remove('heartbeat', ['a', 'b']);
    expect(fields.resolve(MessageRegistry.builtin()).get('heartbeat')).toEqual(['a']);
    fields.remove('heartbeat', ['a', 'c']);
    expect(fields.resolve(MessageRegistry.builtin()).size).toBe(0);
  });

  test.each<[string, (fields: FieldTable) => void]>([
    ['17 of a type', (fields) => fields.add('heartbeat', numbered(17))],
    ['17 of a type and of all', (fields) => fields.add('heartbeat', numbered(1, 'g'))],
    ['17 of all and of a type', (fields) => fields.add('*', numbered(1, 'g'))],
    ['a path of 257 characters', (fields) => fields.add('job_request', ['x'.repeat(257)])],
    ['a path that is no string', (fields) => fields.add('job_request', [1 as unknown as string])],
    ['paths that are no list', (fields) => fields.add('job_request', 'jobId' as unknown as string[])],
  ])('rejects %s, and adds nothing', (_, add) => {
    const fields = new FieldTable();
    fields.add('heartbeat', numbered(8));
    fields.add('*', numbered(8, 'all'));
    const before = fields.resolve(MessageRegistry.builtin());
    expect(() => add(fields)).toThrow(expect.objectContaining({ code: 'INVALID_OPTION' }));
    expect(fields.resolve(MessageRegistry.builtin())).toEqual(before);
  });

  test('accepts 16 fields of 256 characters, and those that are there already', () => {
    const fields = new FieldTable();
    const paths = numbered(16, 'x'.repeat(254)).map((path) => path.slice(-256));
    fields.add('heartbeat', paths);
    fields.add('heartbeat', paths);
    fields.add('*', paths);
    expect(fields.resolve(MessageRegistry.builtin()).get('heartbeat')).toHaveLength(16);
  });
});
