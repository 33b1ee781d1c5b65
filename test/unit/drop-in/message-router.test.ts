import { Writable } from 'node:stream';
import { pino } from 'pino';
import { SluiceError } from 'sluice';
import {
  type CrawlerMessage,
  createDefaultRouter,
  type MessageHandler,
  type MessageProcessingResult,
  MessageRouter,
  type SocketConnection,
  type WebAppMessage,
} from 'sluice/drop-in';
import { describe, expect, test } from 'vitest';
import { VALID } from '../../support/messages.js';

const heartbeat = VALID.heartbeat as CrawlerMessage;
const shutdown: WebAppMessage = {
  type: 'shutdown',
  timestamp: '2026-01-01T00:00:00Z',
  data: { graceful: true, timeout_seconds: 30, reason: 'CANARY' },
};

/** A connection that records what is sent. A router uses its `id` and `send` only. */
function connectionTo(sent: WebAppMessage[], error?: Error): SocketConnection {
  const send = async (message: WebAppMessage) => {
    if (error) throw error;
    sent.push(message);
  };
  return { id: 'c-1', send } as Partial<SocketConnection> as SocketConnection;
}
const connection = connectionTo([]);

function handler(
  priority: number,
  handle: () => MessageProcessingResult | Promise<MessageProcessingResult>,
  canHandle = true,
): MessageHandler {
  return { canHandle: () => canHandle, handle: async () => handle(), getPriority: () => priority };
}

function loggedRouter(): { router: MessageRouter; lines: Record<string, unknown>[] } {
  const lines: Record<string, unknown>[] = [];
  const stream = new Writable({
    write(line, _encoding, done) {
      lines.push(JSON.parse(String(line)));
      done();
    },
  });
  return { router: new MessageRouter({ logger: pino(stream) }), lines };
}

describe('handlers', () => {
  test('run by descending priority, until one has a result with success and data', async () => {
    const router = createDefaultRouter();
    const calls: string[] = [];
    const add = (name: string, priority: number, result: MessageProcessingResult, canHandle = true) =>
      router.registerHandler(
        'heartbeat',
        handler(
          priority,
          () => {
            calls.push(name);
            return result;
          },
          canHandle,
        ),
      );
    add('last', -1, { success: true, data: 'last' });
    add('equal', 5, { success: false, error: 'no', data: 'not a success' });
    add('later', 5, { success: true, data: { by: 'later' } });
    add('cannot', 10, { success: true, data: 'cannot' }, false);
    add('first', 9, { success: true });
    expect(await router.processMessage(heartbeat, connection)).toEqual({
      success: true,
      data: { by: 'later' },
    });
    expect(calls).toEqual(['first', 'equal', 'later']);
    expect([router.getRegisteredTypes(), router.getHandlerCount('heartbeat')]).toEqual([['heartbeat'], 5]);
  });

  test('the result is that of the last one called, if none has success and data', async () => {
    const router = new MessageRouter();
    router.registerHandler(
      'heartbeat',
      handler(1, () => ({ success: false, error: 'first' })),
    );
    router.registerHandler(
      'heartbeat',
      handler(0, () => ({ success: true })),
    );
    expect(await router.processMessage(heartbeat, connection)).toEqual({ success: true });
  });

  test('that are removed are not called any more', async () => {
    const router = new MessageRouter();
    const [kept, removed] = [
      handler(0, () => ({ success: true, data: 'kept' })),
      handler(1, () => ({ success: false })),
    ];
    router.registerHandler('heartbeat', kept);
    router.registerHandler('heartbeat', removed);
    router.unregisterHandler('heartbeat', removed);
    router.unregisterHandler('heartbeat', removed);
    expect(await router.processMessage(heartbeat, connection)).toEqual({ success: true, data: 'kept' });
    router.unregisterHandler('heartbeat', kept);
    expect([router.getRegisteredTypes(), router.getHandlerCount('heartbeat')]).toEqual([[], 0]);
  });

  test('without one for a message, the result is a failure, and logged once for each type', async () => {
    const { router, lines } = loggedRouter();
    router.registerHandler(
      'job_request',
      handler(0, () => ({ success: true, data: 1 }), false),
    );
    for (const message of [heartbeat, VALID.job_request as CrawlerMessage, heartbeat]) {
      expect(await router.processMessage(message, connection)).toMatchObject({
        success: false,
        error: expect.stringContaining(message.type),
      });
    }
    expect(lines.map(({ type }) => type)).toEqual(['heartbeat', 'job_request']);
  });

  test('that throw or return nothing have failed, and do not stop the others', async () => {
    const { router, lines } = loggedRouter();
    class Broken {
      canHandle = () => true;
      getPriority = () => 9;
      async handle(): Promise<MessageProcessingResult> {
        throw new TypeError(`CANARY ${JSON.stringify(heartbeat)}`);
      }
    }
    router.registerHandler('heartbeat', new Broken());
    expect(await router.processMessage(heartbeat, connection)).toEqual({
      success: false,
      error: expect.stringContaining('CANARY'),
    });
    const throwing = handler(8, () => ({ success: true }));
    throwing.canHandle = () => {
      throw 'CANARY';
    };
    router.registerHandler('heartbeat', throwing);
    expect(await router.processMessage(heartbeat, connection)).toEqual({ success: false, error: 'CANARY' });
    router.registerHandler(
      'heartbeat',
      handler(7, () => undefined as Partial<MessageProcessingResult> | undefined as MessageProcessingResult),
    );
    expect(await router.processMessage(heartbeat, connection)).toEqual({
      success: false,
      error: 'The handler returned no result',
    });
    router.registerHandler(
      'heartbeat',
      handler(6, () => ({ success: true, data: 'reached' })),
    );
    expect(await router.processMessage(heartbeat, connection)).toEqual({ success: true, data: 'reached' });

    const where = { type: 'heartbeat', connection: 'c-1' };
    expect(lines[0]).toMatchObject({ ...where, phase: 'handle', owner: 'Broken' });
    expect(lines[0]?.error).toMatch(/^TypeError at .*message-router\.test\.ts/);
    expect(lines[2]).toMatchObject({ ...where, phase: 'canHandle', error: 'a thrown string' });
    expect(JSON.stringify(lines)).not.toContain('CANARY');
  });

  test("that fail with one of Sluice's own errors: the log says which", async () => {
    const { router, lines } = loggedRouter();
    const failing = handler(1, () => {
      throw new SluiceError('INVALID_MESSAGE', 'data.jobs.0.id expected string');
    });
    router.registerHandler('heartbeat', failing);
    await router.processMessage(heartbeat, connection);
    expect(lines[0]?.error).toBe('The message to send is invalid: data.jobs.0.id expected string');
  });
});

describe('middleware', () => {
  test('runs by descending priority around handlers, and may replace the message', async () => {
    const router = new MessageRouter();
    const calls: unknown[] = [];
    router.registerHandler(
      'job_request',
      handler(0, () => ({ success: true, data: 'replaced' })),
    );
    router.addMiddleware({
      name: 'low',
      priority: 1,
      async beforeProcess({ type }) {
        calls.push(['low', type]);
        return null;
      },
      afterProcess: async ({ data }, { type }, { id }) => void calls.push(['low after', data, type, id]),
    });
    router.addMiddleware({
      name: 'high',
      priority: 2,
      beforeProcess: async () => VALID.job_request as CrawlerMessage,
      afterProcess: async () => void calls.push('high after'),
    });
    router.addMiddleware({ name: 'none', priority: 3 });
    expect(await router.processMessage(heartbeat, connection)).toEqual({ success: true, data: 'replaced' });
    expect(calls).toEqual([
      ['low', 'job_request'],
      'high after',
      ['low after', 'replaced', 'job_request', 'c-1'],
    ]);
  });

  test('that throws before the handlers skips them; after them, the others still run', async () => {
    const { router, lines } = loggedRouter();
    const calls: string[] = [];
    router.registerHandler(
      'heartbeat',
      handler(0, () => {
        calls.push('handled');
        return { success: true, data: 1 };
      }),
    );
    router.addMiddleware({ name: 'last', priority: 0, afterProcess: async () => void calls.push('last') });
    router.addMiddleware({
      name: 'after',
      priority: 1,
      afterProcess: () => Promise.reject(new RangeError('CANARY')),
    });
    expect(await router.processMessage(heartbeat, connection)).toEqual({ success: false, error: 'CANARY' });
    expect(calls.splice(0)).toEqual(['handled', 'last']);
    router.addMiddleware({
      name: 'guard',
      priority: 2,
      beforeProcess: () => Promise.reject(new Error('CANARY')),
    });
    expect(await router.processMessage(heartbeat, connection)).toEqual({ success: false, error: 'CANARY' });
    expect(calls).toEqual([]);
    expect(lines.map(({ phase, owner }) => [phase, owner])).toEqual([
      ['afterProcess', 'after'],
      ['beforeProcess', 'guard'],
    ]);
    expect(JSON.stringify(lines)).not.toContain('CANARY');
  });

  test('runs around what the router sends, and may replace it', async () => {
    const router = new MessageRouter();
    const sent: WebAppMessage[] = [];
    const calls: string[] = [];
    router.addMiddleware({
      name: 'replace',
      priority: 1,
      beforeSend: async (message) => ({ ...message, jobId: 'job-9' }),
      afterSend: async ({ jobId }, { id }) => void calls.push(`${jobId} to ${id}`),
    });
    router.addMiddleware({ name: 'keep', priority: 0, beforeSend: async () => null });
    expect(await router.sendMessage(shutdown, connectionTo(sent))).toEqual({ success: true });
    expect(sent).toEqual([{ ...shutdown, jobId: 'job-9' }]);
    expect(calls).toEqual(['job-9 to c-1']);
  });

  test('that throws around what the router sends makes a failure; so does the connection', async () => {
    const { router, lines } = loggedRouter();
    const closed = connectionTo([], new Error('closed'));
    expect(await router.sendMessage(shutdown, closed)).toEqual({ success: false, error: 'closed' });
    const sent: WebAppMessage[] = [];
    router.addMiddleware({ name: 'after', priority: 0, afterSend: () => Promise.reject(new Error('after')) });
    expect(await router.sendMessage(shutdown, connectionTo(sent))).toEqual({
      success: false,
      error: 'after',
    });
    router.addMiddleware({ name: 'before', priority: 0, beforeSend: () => Promise.reject(new Error('no')) });
    expect(await router.sendMessage(shutdown, connectionTo(sent))).toEqual({ success: false, error: 'no' });
    expect(sent).toHaveLength(1);
    expect(lines.map(({ phase }) => phase)).toEqual(['afterSend', 'beforeSend']);
  });
});
