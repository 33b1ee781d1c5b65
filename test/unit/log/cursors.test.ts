import { expect, onTestFinished, test, vi } from 'vitest';
import { Cursors, LOG_CURSORS, lowestOffset, MAX_CURSORS } from '#src/log/cursors.js';
import { SimulatedDisk } from '../../support/simulated-disk.js';

const EPOCH = '0123456789abcdef';
const noError = (error: unknown) => {
  throw error;
};

test('cursors are there after a restart, whatever their names are', async () => {
  const disk = new SimulatedDisk();
  const cursors = await Cursors.open(LOG_CURSORS, disk, noError);
  const names = ['a', '__proto__', 'ü "quoted"', '1'];
  for (const [offset, name] of names.entries()) cursors.set(name, { epoch: EPOCH, offset });
  cursors.set('b', { epoch: EPOCH, offset: 5 });
  cursors.delete('b');
  await cursors.close();
  const again = await Cursors.open(
    LOG_CURSORS,
    disk.afterPowerFailure(() => 0),
    noError,
  );
  expect(again.size).toBe(names.length);
  for (const [offset, name] of names.entries()) expect(again.get(name)).toEqual({ epoch: EPOCH, offset });
});

test('after a power failure at any moment, they are those of one of the last saves', async () => {
  for (let calls = 0; calls < 40; calls++) {
    const disk = new SimulatedDisk();
    const cursors = await Cursors.open(LOG_CURSORS, disk, noError);
    cursors.set('a', { epoch: EPOCH, offset: 1 });
    await cursors.close();
    disk.callsLeft = calls;
    const save = async () => {
      for (let offset = 2; offset < 6; offset++) {
        const again = await Cursors.open(LOG_CURSORS, disk, noError);
        again.set('a', { epoch: EPOCH, offset });
        await again.close();
      }
    };
    await Promise.race([save(), disk.powerFailure]);
    for (const seed of [0, 1, 2, 3]) {
      const after = await Cursors.open(
        LOG_CURSORS,
        disk.afterPowerFailure((limit) => seed % limit),
        noError,
      );
      expect(after.get('a')?.offset).toBeGreaterThanOrEqual(1);
      expect(after.get('a')?.offset).toBeLessThanOrEqual(5);
    }
  }
});

test.each([
  '{"version":1,"cur',
  '[]',
  '{"version":2,"cursors":{}}',
  '{"version":1,"cursors":{"a":7}}',
  `{"version":1,"cursors":{"a":{"epoch":"${EPOCH}","offset":-1}}}`,
  '{"version":1,"cursors":{"a":{"epoch":"none","offset":1}}}',
])('an unreadable file is kept, reported, and replaced: %s', async (content) => {
  const disk = new SimulatedDisk();
  disk.setContent('cursors.json', Buffer.from(content));
  const errors: unknown[] = [];
  const cursors = await Cursors.open(LOG_CURSORS, disk, (error) => errors.push(error));
  expect([cursors.size, cursors.wereLost]).toEqual([0, true]);
  expect(errors).toHaveLength(1);
  expect(disk.contentOf('cursors.damaged').toString()).toBe(content);
  cursors.set('a', { epoch: EPOCH, offset: 1 });
  await cursors.close();
  const again = await Cursors.open(LOG_CURSORS, disk, noError);
  expect([again.size, again.wereLost]).toEqual([1, true]);
  await disk.remove('cursors.damaged');
  expect((await Cursors.open(LOG_CURSORS, disk, noError)).wereLost).toBe(false);
});

test('a file that the disk fails to read stays where it is', async () => {
  const disk = new SimulatedDisk();
  const content = Buffer.from(`{"version":1,"cursors":{"a":{"epoch":"${EPOCH}","offset":1}}}`);
  disk.setContent('cursors.json', content);
  disk.onCall = (kind) => {
    if (kind === 'open') throw Object.assign(new Error('simulated'), { code: 'EMFILE' });
  };
  await expect(Cursors.open(LOG_CURSORS, disk, noError)).rejects.toMatchObject({ code: 'EMFILE' });
  disk.onCall = () => {};
  const cursors = await Cursors.open(LOG_CURSORS, disk, noError);
  expect([cursors.get('a')?.offset, cursors.wereLost]).toEqual([1, false]);
});

test('if they cannot be written, that is reported once, and tried until it works', async () => {
  const disk = new SimulatedDisk();
  const errors: unknown[] = [];
  const cursors = await Cursors.open(LOG_CURSORS, disk, (error) => errors.push(error));
  let failures = 3;
  disk.onCall = (kind) => {
    if (kind === 'rename' && failures-- > 0) throw Object.assign(new Error('simulated'), { code: 'ENOSPC' });
  };
  cursors.set('a', { epoch: EPOCH, offset: 1 });
  await expect.poll(() => failures).toBe(-1);
  expect(errors).toHaveLength(1);
  await cursors.close();
  expect((await Cursors.open(LOG_CURSORS, disk, noError)).get('a')?.offset).toBe(1);
});

test('they are not written while another process may write them', async () => {
  const disk = new SimulatedDisk();
  const errors: unknown[] = [];
  const cursors = await Cursors.open(LOG_CURSORS, disk, (error) => errors.push(error));
  cursors.beforeSave = () => Promise.reject(new Error('simulated'));
  cursors.set('a', { epoch: EPOCH, offset: 1 });
  await cursors.close();
  expect([await disk.list(), errors.length]).toEqual([[], 1]);
});

test('their number is limited', async () => {
  const cursors = await Cursors.open(LOG_CURSORS, new SimulatedDisk(), noError);
  for (let number = 0; number < MAX_CURSORS; number++)
    cursors.set(`c-${number}`, { epoch: EPOCH, offset: 0 });
  expect(cursors.hasRoomFor('another')).toBe(false);
  expect(cursors.hasRoomFor('c-1')).toBe(true);
  await cursors.close();
});

test('what a cursor has passed counts as read only once that is on the disk', async () => {
  const cursors = await Cursors.open(LOG_CURSORS, new SimulatedDisk(), noError);
  const lowest: number[] = [];
  cursors.onSaved = () => lowest.push(lowestOffset(cursors, EPOCH));
  cursors.set('a', { epoch: EPOCH, offset: 3 });
  await expect.poll(() => lowest).toEqual([3]);
  cursors.set('a', { epoch: EPOCH, offset: 9 });
  expect(lowestOffset(cursors, EPOCH)).toBe(3);
  await cursors.close();
  expect(lowest).toEqual([3, 9]);
});

test('what changes after the end is not saved: the file may belong to another log then', async () => {
  const cursors = await Cursors.open(LOG_CURSORS, new SimulatedDisk(), noError);
  await cursors.close();
  vi.useFakeTimers();
  onTestFinished(() => void vi.useRealTimers());
  cursors.set('a', { epoch: EPOCH, offset: 2 });
  cursors.delete('a');
  expect(vi.getTimerCount()).toBe(0);
});
