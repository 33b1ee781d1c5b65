import type { SocketManager } from 'sluice';
import { describe, expect, onTestFinished, test, vi } from 'vitest';
import type { AdminSource } from '#src/admin/admin-source.js';
import { History, type HistoryColumns } from '#src/admin/history.js';
import { adminSourceOf, sharePlainAdminBroker } from '../../support/admin.js';
import { line, VALID } from '../../support/messages.js';

const shared = sharePlainAdminBroker();

/** A history of these metrics, by default those of the broker, with a clock that only the test moves. */
function historyOf(
  manager: SocketManager,
  metrics: AdminSource['metrics'] = () => manager.getMetrics(),
): History {
  const source = adminSourceOf(manager, { metrics });
  vi.useFakeTimers({ toFake: ['Date', 'setInterval', 'clearInterval'] });
  onTestFinished(() => void vi.useRealTimers());
  const history = new History(source, () => undefined, Date.now);
  onTestFinished(() => history.stop());
  return history;
}

describe('the history', () => {
  test('has a point every 5 s, with the rates since the one before', async () => {
    const { connect, manager } = shared();
    const peer = await connect();
    const before = manager.getMetrics();
    peer.write(line(VALID.heartbeat).repeat(10) + line({ type: 'nonsense' }));
    await peer.settled();
    const [metrics, after] = [[before], manager.getMetrics()];
    const history = historyOf(manager, () => metrics.shift() ?? after);
    history.start();
    const begin = Date.now();
    vi.advanceTimersByTime(5000);
    expect(history.latest(60).columns.at).toEqual([]);
    vi.advanceTimersByTime(10_000);
    const { interval, columns } = history.latest(60);
    expect(interval).toBe(5000);
    expect(columns).toMatchObject({
      at: [begin + 10_000, begin + 15_000],
      received: [2.2, 0],
      rejected: [0.2, 0],
      delivered: [0, 0],
      dropped: [0, 0],
      p50: [expect.any(Number), null],
      connections: [1, 1],
      eventLoopDelay: [null, null],
    });
    for (const column of Object.values(columns)) expect(column).toHaveLength(2);
    history.stop();
    vi.advanceTimersByTime(10_000);
    expect(history.latest(60).columns.at).toHaveLength(2);
  });

  test('keeps an hour, and returns the latest minutes of it', () => {
    const history = historyOf(shared().manager);
    const begin = Date.now();
    for (let point = 0; point <= 800; point++) {
      vi.setSystemTime(begin + point * 5000);
      history.record();
    }
    const timesOf = (minutes: number) => history.latest(minutes).columns.at;
    expect(timesOf(60)).toHaveLength(720);
    expect(timesOf(1)).toEqual(Array.from({ length: 12 }, (_, at) => begin + (789 + at) * 5000));
    expect(timesOf(60)?.at(0)).toBe(begin + 81 * 5000);
  });

  test('begins again when the clock is set back, and has no points while the broker starts', () => {
    let isStarting = true;
    const { manager } = shared();
    const history = historyOf(manager, () => (isStarting ? undefined : manager.getMetrics()));
    const begin = Date.now();
    history.record();
    isStarting = false;
    for (const time of [0, 5000, 10_000, 2000]) {
      vi.setSystemTime(begin + time);
      history.record();
    }
    expect(history.latest(60).columns.at).toEqual([begin + 2000]);
  });

  test('is returned for 1 to 60 minutes', async () => {
    const { get, read } = shared();
    const { interval, columns } = await read<HistoryColumns>('/api/history?minutes=5');
    expect([interval, Object.keys(columns).length]).toEqual([5000, 12]);
    for (const minutes of ['0', '61', '1.5', 'x']) {
      const { status, body } = await get(`/api/history?minutes=${minutes}`);
      expect([status, JSON.parse(body)]).toEqual([400, { error: 'minutes: must be 1 to 60' }]);
    }
    expect((await get('/api/history?hours=1')).status).toBe(400);
  });
});
