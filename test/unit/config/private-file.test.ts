import { spawnSync } from 'node:child_process';
import { chmodSync, chownSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { AccessControl } from 'sluice';
import { describe, expect, test, vi } from 'vitest';
import { requirePrivate, type SecretLocations } from '#src/config/private-file.js';
import { temporaryFolder } from '../../support/broker.js';
import { packageRoot } from '../../support/cli.js';

function secret(mode: number, folder = temporaryFolder()): string {
  const path = join(folder, 'tokens.json');
  writeFileSync(path, '{"app":["a-token-of-an-application"]}');
  chmodSync(path, mode);
  return path;
}

function isAccepted(path: string, locations: SecretLocations = { mounts: '' }): boolean {
  try {
    requirePrivate(path, locations);
    return true;
  } catch {
    return false;
  }
}

const mount = (point: string, options: string, type: string) =>
  `20 1 0:5 / / rw,relatime - overlay overlay rw\n600 20 0:70 / ${point} ${options} shared:9 - ${type} tmpfs rw,size=64k\n`;

test.each([
  [0o600, true],
  [0o400, true],
  [0o640, false],
  [0o604, false],
  [0o644, false],
])('a file of mode %o anywhere is accepted: %s', (mode, expected) => {
  expect(isAccepted(secret(mode))).toBe(expected);
});

test('a file that is not there is named', () => {
  expect(() => requirePrivate('/nowhere.key')).toThrow(
    expect.objectContaining({ code: 'CONFIG_UNREADABLE', message: expect.stringContaining('/nowhere.key') }),
  );
});

describe('a file in a folder that a supervisor fills', () => {
  test.each([
    [0o400, true],
    [0o440, true],
    [0o460, false],
    [0o444, false],
  ])('of systemd, with mode %o, is accepted: %s', (mode, expected) => {
    const path = secret(mode);
    expect(isAccepted(path, { credentials: dirname(path), mounts: '' })).toBe(expected);
  });

  test.each([
    [0o444, true],
    [0o644, true],
    [0o664, false],
    [0o646, false],
  ])('of a container, with mode %o, is accepted: %s', (mode, expected) => {
    const path = secret(mode);
    expect(isAccepted(path, { containerSecrets: [dirname(path)], mounts: '' })).toBe(expected);
  });

  test('is not one beside that folder, nor one that a link there leads to', () => {
    const folder = temporaryFolder();
    mkdirSync(join(folder, 'a'));
    mkdirSync(join(folder, 'ab'));
    const beside = secret(0o440, join(folder, 'ab'));
    symlinkSync(beside, join(folder, 'a/link'));
    const locations = { credentials: join(folder, 'a'), mounts: '' };
    expect(isAccepted(beside, locations)).toBe(false);
    expect(isAccepted(join(folder, 'a/link'), locations)).toBe(false);
    expect(isAccepted(beside, { credentials: '/nowhere', mounts: '' })).toBe(false);
  });

  test('$CREDENTIALS_DIRECTORY names the one of systemd', () => {
    const path = secret(0o440);
    expect(() => AccessControl.load({ tokens: {}, file: path })).toThrow('chmod 600 it');
    vi.stubEnv('CREDENTIALS_DIRECTORY', dirname(path));
    expect(AccessControl.load({ tokens: {}, file: path }).verifyToken('app', 'wrong')).toBe(false);
    vi.unstubAllEnvs();
  });
});

describe('a Kubernetes secret', () => {
  /** A link to a file in a folder that is a link, as the kubelet makes them. */
  function kubernetesSecret(mode: number): string {
    const folder = temporaryFolder();
    mkdirSync(join(folder, '..2026_01_01'));
    secret(mode, join(folder, '..2026_01_01'));
    symlinkSync('..2026_01_01', join(folder, '..data'));
    symlinkSync('..data/tokens.json', join(folder, 'tokens.json'));
    return join(folder, 'tokens.json');
  }

  test.each([
    ['ro,relatime', 'tmpfs', 0o644, true],
    ['ro', 'tmpfs', 0o440, true],
    ['ro', 'ramfs', 0o444, true],
    ['ro', 'tmpfs', 0o666, false],
    ['rw,relatime', 'tmpfs', 0o644, false],
    ['ro,relatime', 'ext4', 0o644, false],
  ])('mounted %s on %s, of mode %o, is accepted: %s', (options, type, mode, expected) => {
    const path = kubernetesSecret(mode);
    expect(isAccepted(path, { mounts: mount(dirname(path), options, type) })).toBe(expected);
  });

  test('is not a file under another mount inside of it, or beside it', () => {
    const path = kubernetesSecret(0o644);
    const inside = `601 20 0:71 / ${dirname(path)}/..2026_01_01 rw - ext4 /dev/sda rw\n`;
    expect(isAccepted(path, { mounts: mount(dirname(path), 'ro', 'tmpfs') + inside })).toBe(false);
    expect(isAccepted(path, { mounts: mount(dirname(path).slice(0, -1), 'ro', 'tmpfs') })).toBe(false);
    expect(isAccepted(path, { mounts: 'nonsense\n\n' })).toBe(false);
  });

  test('may be in a folder with a space in its name', () => {
    const folder = join(temporaryFolder(), 'a b');
    mkdirSync(folder);
    const mounts = mount(folder.replace(' ', '\\040'), 'ro', 'tmpfs');
    expect(isAccepted(secret(0o644, folder), { mounts })).toBe(true);
  });
});

const isRoot = process.geteuid?.() === 0;

test.skipIf(!isRoot)(
  `a file of root's is accepted by another user in its group only${isRoot ? '' : ' (skipped: needs root)'}`,
  () => {
    const folder = temporaryFolder();
    chmodSync(folder, 0o755);
    const path = secret(0o640, folder);
    const [user, group, other] = [54_321, 54_322, 54_323];
    chownSync(path, 0, group);
    const code = `import { requirePrivate } from '${join(packageRoot, 'dist/src/config/private-file.js')}';
      process.setgroups([]); process.setgid(Number(process.argv[1])); process.setuid(${user});
      try { requirePrivate('${path}'); console.log('accepted'); } catch (error) { console.log(error.code); }`;
    const as = (gid: number) =>
      spawnSync(process.execPath, ['--input-type=module', '-e', code, String(gid)], { encoding: 'utf8' });
    expect(as(group).stdout).toBe('accepted\n');
    expect(as(other).stdout).toBe('CONFIG_UNREADABLE\n');
    chmodSync(path, 0o644);
    expect(as(group).stdout).toBe('CONFIG_UNREADABLE\n');
  },
);
