import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { RejectionGroups } from '#src/admin/rejection-groups.js';
import type { Rejections } from '#src/admin/snapshot.js';
import type { Peer } from '#src/protocol/peer.js';
import { RejectedMessage } from '#src/protocol/rejected-message.js';
import { sharePlainAdminBroker } from '../../support/admin.js';
import { line } from '../../support/messages.js';

const MINUTE = 60_000;
const shared = sharePlainAdminBroker();

describe('the groups of rejected messages', () => {
  beforeEach(() => void vi.useFakeTimers({ toFake: ['Date'], now: 1000 * MINUTE }));
  afterEach(() => void vi.useRealTimers());

  function rejected(messageType: string | undefined, path = 'data.id', issue = 'invalid_type') {
    const details = { code: 'SCHEMA_VIOLATION', messageType, offset: undefined, bytes: 10 } as const;
    const issues = [{ path, code: issue, message: '' }];
    const place = { line: 1, suppressed: 0, isForwarded: false };
    // Groups do not look at the connection.
    return new RejectedMessage<Peer>(
      { ...details, ...place, issues, connection: {} as Peer },
      Buffer.alloc(0),
    );
  }

  function advance(minutes: number) {
    vi.setSystemTime(Date.now() + minutes * MINUTE);
  }

  test('count by type, path and code, whatever the index in a list', () => {
    const groups = new RejectionGroups();
    for (const path of ['data.items[1].id', 'data.items[20].id', 'data.stage'])
      groups.add(rejected('job_progress', path));
    groups.add(rejected('heartbeat', 'data.stage'));
    groups.add(rejected('heartbeat', 'data.stage', 'invalid_value'));
    const found = groups
      .list()
      .map(({ messageType, path, issue, total }) => [messageType, path, issue, total]);
    expect(found[0]).toEqual(['job_progress', 'data.items[*].id', 'invalid_type', 2]);
    expect(found.length).toBe(4);
  });

  test('count per minute, for an hour', () => {
    const groups = new RejectionGroups();
    const countsOf = () => groups.list()[0]?.counts ?? [];
    groups.add(rejected('heartbeat'));
    advance(1);
    groups.add(rejected('heartbeat'));
    groups.add(rejected('heartbeat'));
    expect(countsOf()).toEqual([...Array(58).fill(0), 1, 2]);
    advance(58);
    expect(countsOf()).toEqual([1, 2, ...Array(58).fill(0)]);
    groups.add(rejected('heartbeat'));
    advance(1);
    expect(countsOf()).toEqual([2, ...Array(57).fill(0), 1, 0]);
    advance(200);
    groups.add(rejected('heartbeat'));
    expect(countsOf()).toEqual([...Array(59).fill(0), 1]);
    expect(groups.list()[0]?.total).toBe(5);
    // The clock is set back.
    advance(-30);
    groups.add(rejected('heartbeat'));
    expect(countsOf()).toEqual([...Array(59).fill(0), 1]);
  });

  test('are 100 at most; the rest are one', () => {
    const groups = new RejectionGroups();
    for (let type = 0; type < 150; type++) groups.add(rejected(`type-${type}`));
    const list = groups.list();
    expect(list.length).toBe(101);
    expect(list[0]).toMatchObject({ code: 'other', messageType: null, path: null, issue: null, total: 50 });
    // Those that were not seen for an hour make room.
    advance(61);
    groups.add(rejected('type-new'));
    expect(groups.list().map(({ messageType }) => messageType)).toContain('type-new');
    expect(groups.list().length).toBe(2);
  });
});

test('/api/rejections has the groups and the latest messages', async () => {
  const { connect, read } = shared();
  const peer = await connect();
  peer.write(line({ type: 'nonsense' }).repeat(3) + line({ type: 'heartbeat' }));
  await peer.settled();
  const { groups, latest } = await read<Rejections>('/api/rejections');
  expect(groups[0]).toMatchObject({ code: 'UNKNOWN_TYPE', total: 3, lastSeen: expect.any(Number) });
  expect(groups[0]?.counts.reduce((sum, count) => sum + count, 0)).toBe(3);
  expect(groups[1]).toMatchObject({ code: 'SCHEMA_VIOLATION', messageType: 'heartbeat', total: 1 });
  expect(latest.map(({ code }) => code)).toEqual([
    'SCHEMA_VIOLATION',
    'UNKNOWN_TYPE',
    'UNKNOWN_TYPE',
    'UNKNOWN_TYPE',
  ]);
  expect(latest[0]).toMatchObject({ crawlerId: null, messageType: 'heartbeat', offset: null });
  peer.write('{"a":1,}\n');
  await peer.settled();
  const [invalid] = (await read<Rejections>('/api/rejections')).latest;
  expect(invalid).toMatchObject({ code: 'INVALID_JSON', crawlerId: null, messageType: null, offset: 7 });
});
