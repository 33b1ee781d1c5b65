// Files that contain secrets: only the broker, and whoever provides the file, may read or write them. Supervisors that
// hand out secrets make their files readable in other ways than `chmod 600`:
//
// - systemd (LoadCredential=): 0440, owned by root, with an access control list for the service, whose mask is what the
//   group's bits show. In $CREDENTIALS_DIRECTORY.
// - Kubernetes: links to files of mode 0644, or 0440 with fsGroup. In a tmpfs that is mounted read-only in the pod.
// - Docker and Podman: 0444, in /run/secrets.
// - Administrators: 0640, owned by root, in the group of the service.

import { readFileSync, realpathSync, type Stats, statSync } from 'node:fs';
import { relative } from 'node:path';
import { SluiceError } from '../errors.js';
import { readConfiguration } from './text-file.js';

/** Permission bits. */
const GROUP_AND_OTHERS = 0o077;
const OTHERS_OR_GROUP_WRITES = 0o027;
const GROUP_OR_OTHERS_WRITE = 0o022;
const ROOT = 0;

/** What the rules depend on besides the file. */
export interface SecretLocations {
  /** Folder of the credentials that systemd passes to this service. Default: $CREDENTIALS_DIRECTORY. */
  readonly credentials?: string | undefined;
  /** Folders of secrets in containers. Default: /run/secrets and /var/run/secrets. */
  readonly containerSecrets?: readonly string[];
  /** The mounts of this process, in the format of /proc/self/mountinfo. Default: that file. */
  readonly mounts?: string;
}

/**
 * @param locations for tests
 * @throws SluiceError `CONFIG_UNREADABLE` if there is no such file, or users other than its owner may read or write it,
 *   unless its permissions are those that a supervisor gives to secrets
 */
export function requirePrivate(path: string, locations: SecretLocations = {}): void {
  const isPrivate = readConfiguration(path, () => {
    const stats = statSync(path);
    return (stats.mode & GROUP_AND_OTHERS) === 0 || isHandedOut(realpathSync(path), stats, locations);
  });
  if (isPrivate) return;
  throw new SluiceError(
    'CONFIG_UNREADABLE',
    `${path}: must be secret, but users other than its owner may read or write it; chmod 600 it`,
  );
}

function isHandedOut(path: string, stats: Stats, locations: SecretLocations): boolean {
  const {
    credentials = process.env.CREDENTIALS_DIRECTORY,
    containerSecrets = ['/run/secrets', '/var/run/secrets'],
    mounts,
  } = locations;
  if ((stats.mode & OTHERS_OR_GROUP_WRITES) === 0 && (isGivenToOurGroup(stats) || isBelow(path, credentials)))
    return true;
  if ((stats.mode & GROUP_OR_OTHERS_WRITE) !== 0) return false;
  return (
    containerSecrets.some((folder) => isBelow(path, folder)) ||
    isOnReadOnlyMemory(path, mounts ?? readMounts())
  );
}

/** Whether root has made the file readable for a group of this process, which is not root's. */
function isGivenToOurGroup({ uid, gid }: Stats): boolean {
  const groups = [process.getegid?.(), ...(process.getgroups?.() ?? [])];
  return uid === ROOT && process.geteuid?.() !== ROOT && groups.includes(gid);
}

/** @param path without links */
function isBelow(path: string, folder: string | undefined): boolean {
  if (!folder) return false;
  try {
    const inFolder = relative(realpathSync(folder), path);
    return inFolder !== '' && !/^\.\.(?:\/|$)/.test(inFolder);
  } catch {
    // There is no such folder.
    return false;
  }
}

/** Whether the file is in a file system in memory that is mounted read-only. */
function isOnReadOnlyMemory(path: string, mounts: string): boolean {
  let deepest = { point: '', isReadOnlyMemory: false };
  for (const line of mounts.split('\n')) {
    // id, parent, device, root, mount point, options, optional fields, '-', type, source, options; see proc(5).
    const [before = '', after = ''] = line.split(' - ');
    const [, , , , point = '', options = ''] = before.split(' ').map(unescapeMount);
    const isAbove = point === '/' || path.startsWith(`${point}/`) || path === point;
    // A later mount at the same point hides the earlier one.
    if (point === '' || !isAbove || point.length < deepest.point.length) continue;
    const isMemory = /^(?:tmpfs|ramfs) /.test(after);
    deepest = { point, isReadOnlyMemory: isMemory && options.split(',').includes('ro') };
  }
  return deepest.isReadOnlyMemory;
}

/** Spaces and the like are octal in the list of mounts. */
function unescapeMount(text: string): string {
  return text.replaceAll(/\\([0-7]{3})/g, (_, octal: string) =>
    String.fromCharCode(Number.parseInt(octal, 8)),
  );
}

function readMounts(): string {
  try {
    return readFileSync('/proc/self/mountinfo', 'utf8');
  } catch {
    // Only Linux has it.
    return '';
  }
}
