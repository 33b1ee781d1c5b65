import { resolveOptions } from 'sluice';
import { describe, expect, test } from 'vitest';
import { formatAdminAddress, isLoopback, parseAdminAddress } from '#src/config/addresses.js';

describe('an address of an admin server', () => {
  test.each([
    ['127.0.0.1:9464', { host: '127.0.0.1', port: 9464 }],
    [':9464', { host: '127.0.0.1', port: 9464 }],
    ['localhost:0', { host: 'localhost', port: 0 }],
    ['[::1]:80', { host: '::1', port: 80 }],
    ['/run/admin.sock', { path: '/run/admin.sock' }],
    ['./admin.sock', { path: './admin.sock' }],
    ['admin.sock', { path: 'admin.sock' }],
  ])('%s', (text, address) => {
    expect(parseAdminAddress(text)).toEqual(address);
  });

  test.each(['', 'admin', '9464', 'host:', 'host:99999', '::1:80', 'a b:1'])('not %j', (text) => {
    expect(parseAdminAddress(text)).toBeUndefined();
    expect(() => resolveOptions({ admin: text })).toThrow(/^Invalid option: admin: must be host:port/);
  });

  test('that is a URL, or too long for a socket, is rejected with a word on that', () => {
    expect(() => resolveOptions({ admin: 'http://127.0.0.1:9464' })).toThrow(/admin: must be .*, not a URL$/);
    expect(() => resolveOptions({ admin: `/run/${'x'.repeat(103)}` })).toThrow(
      /admin: must be at most 107 bytes/,
    );
    const longest = `/run/${'x'.repeat(102)}`;
    expect(resolveOptions({ admin: longest }).admin).toBe(longest);
  });

  test('is written as it is read', () => {
    for (const text of ['127.0.0.1:9464', '[::1]:80', '/run/admin.sock']) {
      const address = parseAdminAddress(text);
      expect(address && formatAdminAddress(address)).toBe(text);
    }
  });

  test('that others can reach has to be allowed', () => {
    const local = ['127.0.0.1', '127.9.9.9', '::1', '0:0:0:0:0:0:0:1', '::ffff:127.0.0.1', '::ffff:7f00:1'];
    expect([...local, 'localhost', 'LocalHost', 'localhost.'].every(isLoopback)).toBe(true);
    const remote = ['0.0.0.0', '::', '10.0.0.1', '::ffff:10.0.0.1', 'example.com', '127.evil.example'];
    expect([...remote, '', '.', 'localhost.example', 'localhost..', '127.1'].some(isLoopback)).toBe(false);
    expect(() => resolveOptions({ admin: '0.0.0.0:1' })).toThrow(
      expect.objectContaining({
        code: 'INVALID_OPTION',
        message: expect.stringContaining('adminAllowRemote'),
      }),
    );
    expect(resolveOptions({ admin: '0.0.0.0:1', adminAllowRemote: true }).admin).toBe('0.0.0.0:1');
  });
});
