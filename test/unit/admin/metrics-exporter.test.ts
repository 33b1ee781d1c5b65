import { describe, expect, test } from 'vitest';
import { WIRE_ERRORS } from '#src/errors.js';
import { metricValue, shareAdminBroker, startPlainAdminBroker } from '../../support/admin.js';
import { growth } from '../../support/broker.js';
import { line, VALID } from '../../support/messages.js';

/** The increase of each series. Those that are not numbers are omitted. */
function increase(before: string, after: string): (series: string) => number {
  return (series) => metricValue(after, series) - metricValue(before, series);
}

describe('/metrics', () => {
  const broker = shareAdminBroker();

  test('counts by type, code and policy, in the units of the names', async () => {
    const { connect, get } = broker();
    const app = await (await connect()).subscribe();
    const crawler = await connect();
    const before = (await get('/metrics')).body;
    const text = line(VALID.heartbeat).repeat(5) + line(VALID.job_started) + line({ type: 'nonsense' });
    crawler.write(text);
    await crawler.settled();
    await app.settled();
    const { body, headers } = await get('/metrics');
    expect(headers['content-type']).toContain('text/plain; version=0.0.4');
    const more = increase(before, body);
    expect(more('sluice_messages_received_total{type="heartbeat"}')).toBe(5);
    expect(more('sluice_messages_received_total{type="job_started"}')).toBe(1);
    expect(more('sluice_messages_rejected_total{code="UNKNOWN_TYPE"}')).toBe(1);
    expect(more('sluice_messages_dropped_total{policy="drop-oldest"}')).toBe(0);
    expect(more('sluice_messages_delivered_total')).toBeGreaterThanOrEqual(6);
    expect(more('sluice_received_bytes_total')).toBeGreaterThanOrEqual(text.length - 10);
    expect(more('sluice_pattern_matches_total{kind="hit"}')).toBe(6);
    const value = (series: string) => metricValue(body, series);
    expect(value('sluice_connections{role="app",state="active"}')).toBe(1);
    expect(value('sluice_slow_consumers')).toBe(0);
    expect(value('sluice_workers')).toBe(1);
    expect(value('sluice_worker_busy_seconds_total')).toBeGreaterThan(0);
    expect(body).toMatch(/^sluice_build_info\{version="[\d.]+",node="v[\d.]+"\} 1$/m);
    expect(value('process_resident_memory_bytes')).toBeGreaterThan(0);
    expect(body).toContain('nodejs_eventloop_lag_p99_seconds ');
  });

  test('counts control messages apart: they are neither received nor delivered nor misses', async () => {
    const { connect, get, manager } = broker();
    const before = (await get('/metrics')).body;
    const totals = () => {
      const { messagesReceived, controlReceived, messagesSent, controlSent } = manager.getMetrics().totals;
      return { messagesReceived, controlReceived, messagesSent, controlSent };
    };
    const totalsBefore = totals();
    const app = await (await connect()).subscribe();
    const crawler = await connect();
    crawler.say('hello', { role: 'crawler', crawlerId: 'crawler-1' });
    crawler.write(line(VALID.heartbeat).repeat(5));
    await crawler.settled();
    await app.count(5);
    await app.settled();
    const { body } = await get('/metrics');
    const more = increase(before, body);
    expect(more('sluice_messages_delivered_total')).toBe(5);
    expect(more('sluice_pattern_matches_total{kind="hit"}')).toBe(5);
    expect(more('sluice_pattern_matches_total{kind="miss"}')).toBe(0);
    expect(body).not.toMatch(/^sluice_messages_received_total\{type="(?:hello|subscribe|ping|pong)"/m);
    for (const [type, count] of Object.entries({ hello: 1, subscribe: 1, ping: 2, pong: 0 })) {
      expect(more(`sluice_control_messages_received_total{type="${type}"}`), type).toBe(count);
    }
    // `welcome`, `subscribed` and two `pong`.
    expect(more('sluice_control_messages_sent_total')).toBe(4);
    expect(growth(totalsBefore, totals())).toEqual({
      messagesReceived: 5,
      controlReceived: 4,
      messagesSent: 5,
      controlSent: 4,
    });
    const [receiver, sender] = manager.getConnectionPool().all();
    expect(receiver?.statistics).toMatchObject({ messagesReceived: 0, controlReceived: 2, messagesSent: 5 });
    expect(sender?.statistics).toMatchObject({ messagesReceived: 5, controlReceived: 2, controlSent: 2 });
  });

  test('counts what code in the process sends as application messages', async () => {
    const { connect, get, manager } = broker();
    const before = (await get('/metrics')).body;
    const crawler = await connect();
    crawler.say('hello', { role: 'crawler' });
    await crawler.next('welcome');
    await manager.getConnectionPool().broadcast({ ...VALID.job_assignment });
    await crawler.next('job_assignment');
    const more = increase(before, (await get('/metrics')).body);
    expect(more('sluice_messages_delivered_total')).toBe(1);
    expect(more('sluice_control_messages_sent_total')).toBe(1);
  });

  test('reads no figure through private functions of Node, which can end the process', async () => {
    const { get } = broker();
    const { body } = await get('/metrics');
    expect(body).toContain('nodejs_active_resources_total ');
    expect(body).not.toMatch(/nodejs_active_(handles|requests)/);
  });

  test('has a histogram of the latency, whose buckets add up', async () => {
    const { connect, get } = broker();
    const crawler = await connect();
    const before = (await get('/metrics')).body;
    const startedAt = performance.now();
    for (let round = 0; round < 3; round++) {
      crawler.write(line(VALID.heartbeat));
      await crawler.settled();
    }
    const { body } = await get('/metrics');
    const buckets = [...body.matchAll(/^sluice_validation_latency_seconds_bucket\{le="(.+)"\} (\d+)$/gm)];
    const counts = buckets.map(([, , count]) => Number(count));
    expect(counts).toEqual(counts.toSorted((a, b) => a - b));
    expect(buckets.at(-1)?.[1]).toBe('+Inf');
    expect(counts.at(-1)).toBe(metricValue(body, 'sluice_validation_latency_seconds_count'));
    const more = increase(before, body);
    const count = more('sluice_validation_latency_seconds_count');
    expect(count).toBeGreaterThanOrEqual(3);
    const seconds = more('sluice_validation_latency_seconds_sum');
    expect(seconds).toBeGreaterThan(0);
    const elapsed = (performance.now() - startedAt) / 1000;
    expect(seconds).toBeLessThan(elapsed * count);
  });

  test('never goes back when connections go', async () => {
    const { connect, get, manager } = broker();
    const crawler = await connect();
    crawler.write(line(VALID.heartbeat).repeat(100));
    await crawler.settled();
    const before = (await get('/metrics')).body;
    await crawler.close();
    await expect.poll(() => manager.getConnectionPool().size).toBe(0);
    const after = (await get('/metrics')).body;
    const counters = [...before.matchAll(/^(sluice_\w+_total(?:\{.*\})?) (\S+)$/gm)];
    expect(counters.length).toBeGreaterThan(15);
    for (const [, series = '', value] of counters) {
      expect(metricValue(after, series), series).toBeGreaterThanOrEqual(Number(value));
    }
    expect(after).not.toContain('sluice_connections{');
  });

  test('has the counters of every type and code from the start, so that a rate sees the first one', async () => {
    const { get } = await startPlainAdminBroker();
    const { body } = await get('/metrics');
    for (const type of Object.keys(VALID)) {
      expect(metricValue(body, `sluice_messages_received_total{type="${type}"}`), type).toBe(0);
    }
    for (const code of Object.keys(WIRE_ERRORS)) {
      expect(metricValue(body, `sluice_messages_rejected_total{code="${code}"}`), code).toBe(0);
    }
  });

  test('has no label that a peer can make up', async () => {
    const { connect, get } = broker();
    const peer = await connect();
    peer.say('hello', { role: 'crawler', crawlerId: 'made-up-id' });
    peer.write(line({ ...VALID.heartbeat, type: 'made-up-type' }));
    await peer.settled();
    expect((await get('/metrics')).body).not.toContain('made-up');
  });

  test('explains each of its metrics once, without duplicates', async () => {
    const { get } = broker();
    const names = [...(await get('/metrics')).body.matchAll(/^# HELP (\S+) \S/gm)].map(([, name]) => name);
    expect(new Set(names).size).toBe(names.length);
  });
});
