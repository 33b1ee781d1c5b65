// What the compiler knows of the public API: `npm run typecheck` checks this file. sluice/client has its own in
// test/client/client-types.test.ts.

import {
  type BatchHandler,
  type DurableHandler,
  type DurableMessage,
  type ErrorCode,
  type HandlerContext,
  type MessageEvent,
  type MessageHandler,
  MessageParser,
  MessageValidator,
  type Rejection,
  type ResolvedOptions,
  resolveOptions,
  type ServerMetrics,
  SluiceError,
  type SluiceOptions,
  SOCKET_CONFIG,
  type SocketConnection,
  SocketManager,
  SocketServer,
  type WireErrorCode,
} from 'sluice';
import {
  type AppMessage,
  type CrawlerMessage,
  crawlerSchemas,
  type Message,
  type MessageMap,
  type OutgoingMessage,
} from 'sluice/messages';
import { describe, expectTypeOf, test } from 'vitest';
import type * as z from 'zod';

interface PageFetched {
  type: 'page_fetched';
  url: string;
}

describe('sluice', () => {
  test('options may all be left out; resolved ones are all there, and read-only', () => {
    expectTypeOf(SocketManager).toBeConstructibleWith();
    expectTypeOf(SocketManager).toBeConstructibleWith({ maxConnections: 5, workers: { threads: 1 } });
    expectTypeOf(SocketManager).toBeConstructibleWith({ ...SOCKET_CONFIG, maxConnections: 5 });
    expectTypeOf<{ maxConnections: string }>().not.toExtend<SluiceOptions>();
    expectTypeOf(SocketManager).toBeConstructibleWith({ maxMessageSize: '256k', drainTimeout: '1.5s' });
    expectTypeOf<{ maxMessageSize: '256x' }>().not.toExtend<SluiceOptions>();
    expectTypeOf<{ drainTimeout: '256k' }>().not.toExtend<SluiceOptions>();
    expectTypeOf<ResolvedOptions['maxMessageSize']>().toEqualTypeOf<number>();
    expectTypeOf(SOCKET_CONFIG).toEqualTypeOf<ResolvedOptions>();
    expectTypeOf(resolveOptions).returns.toEqualTypeOf<ResolvedOptions>();
    expectTypeOf<ResolvedOptions['maxConnections']>().toEqualTypeOf<number>();
    expectTypeOf<ResolvedOptions['socketPath']>().toEqualTypeOf<string | undefined>();
    expectTypeOf<ResolvedOptions['framing']>().toEqualTypeOf<'auto' | 'ndjson'>();
  });

  test('a server has a life, events with their own shape, and figures', () => {
    expectTypeOf<SocketManager['start']>().returns.resolves.toBeVoid();
    expectTypeOf<SocketManager['stop']>().parameter(0).toEqualTypeOf<string | undefined>();
    expectTypeOf<SocketManager['getMetrics']>().returns.toEqualTypeOf<ServerMetrics>();
    expectTypeOf<ServerMetrics['totals']['messagesReceived']>().toEqualTypeOf<number>();
    const manager = new SocketManager();
    manager.on('message', (event) => expectTypeOf(event).toEqualTypeOf<MessageEvent>());
    manager.on('rejected', ({ code }) => expectTypeOf(code).toEqualTypeOf<WireErrorCode>());
    manager.on('connection_removed', ({ reason }) => expectTypeOf(reason).toEqualTypeOf<string>());
  });

  test('an event narrows by its type', () => {
    const look = (event: MessageEvent) => {
      expectTypeOf(event.message.data).toBeUnknown();
      if (event.is('job_progress')) {
        expectTypeOf(event.message.data.processed).toEqualTypeOf<number>();
        expectTypeOf(event.message.data.total).toEqualTypeOf<number | undefined>();
      }
    };
    expectTypeOf(look).parameter(0).toEqualTypeOf<MessageEvent>();
  });

  test('what has a type can be broadcast', () => {
    type Broadcast = Parameters<ReturnType<SocketManager['getConnectionPool']>['broadcast']>[0];
    expectTypeOf<{ type: 'shutdown'; timestamp: string; data: object }>().toExtend<Broadcast>();
    expectTypeOf<{ type: 'of_a_schema_module'; url: string }>().toExtend<Broadcast>();
    expectTypeOf<{ data: object }>().not.toExtend<Broadcast>();
    expectTypeOf<Broadcast>().toEqualTypeOf<OutgoingMessage>();
  });

  test('a handler gets the message of its type', () => {
    const server = new SocketServer();
    server.router.registerHandler('job_failed', ({ message }, context) => {
      expectTypeOf(message.type).toEqualTypeOf<'job_failed'>();
      expectTypeOf(message.data.errorType).toEqualTypeOf<string | undefined>();
      expectTypeOf(context.reply).returns.resolves.toBeVoid();
    });
    server.router.registerHandler('page_fetched', ({ message }) => {
      expectTypeOf(message.type).toEqualTypeOf<string>();
      expectTypeOf(message.url).toBeUnknown();
    });
    server.on('job_progress', ({ jobId, job }) => {
      expectTypeOf(jobId).toEqualTypeOf<string>();
      expectTypeOf(job.progress?.processed).toEqualTypeOf<number | undefined>();
    });
  });

  test('a durable handler handles one message or many, of the log', () => {
    const server = new SocketServer({ log: 'log' });
    server.registerDurableHandler({
      cursor: 'c',
      handle: (message) => {
        if (message.is('heartbeat')) expectTypeOf(message.message.data.activeJobs).toEqualTypeOf<number>();
        if (message.is<PageFetched>('page_fetched')) expectTypeOf(message.message.url).toBeString();
      },
    });
    server.registerDurableHandler({
      from: { time: '2026-01-01T00:00:00Z' },
      handleBatch: async (messages) => {
        expectTypeOf(messages).toEqualTypeOf<readonly DurableMessage[]>();
      },
      handleGap: ({ reason }) => expectTypeOf(reason).toEqualTypeOf<'removed' | 'damaged' | 'epoch'>(),
    });
    expectTypeOf<{ cursor: 'c' }>().not.toExtend<DurableHandler>();
  });

  test('a handler names fields, and handles one message or many', () => {
    const server = new SocketServer();
    const fields = ['jobId', 'data.processed'];
    server.router.registerHandler('job_progress', {
      fields,
      handle: (event) => expectTypeOf(event.get('data.processed')).toBeUnknown(),
    });
    server.router.registerHandler('job_progress', {
      fields,
      handleBatch: async (events, { connection }) => {
        expectTypeOf(events[0]?.message.data.processed).toEqualTypeOf<number | undefined>();
        expectTypeOf(connection).toEqualTypeOf<SocketConnection>();
      },
    });
    class Own implements MessageHandler<'job_failed'> {
      readonly fields = ['jobId'] as const;
      handle(event: MessageEvent): void {
        event.get('jobId');
      }
    }
    server.router.registerHandler('job_failed', new Own());
    expectTypeOf(server.manager.projectFields).parameters.toEqualTypeOf<[string, readonly string[]]>();
    expectTypeOf<MessageHandler<'heartbeat'>>().not.toExtend<BatchHandler<'heartbeat'>>();
  });

  test('an event narrows to a type of one’s own, when that is named', () => {
    const look = (event: MessageEvent) => {
      if (event.is<PageFetched>('page_fetched')) expectTypeOf(event.message.url).toEqualTypeOf<string>();
      // @ts-expect-error: the name of another type
      event.is<PageFetched>('page_fetch');
      if (event.is(String('any'))) expectTypeOf(event.message.url).toBeUnknown();
    };
    expectTypeOf(look).parameter(0).toEqualTypeOf<MessageEvent>();
  });

  test('what a server sends has the shape of its type, where the protocol knows that', () => {
    const timestamp = '2026-01-01T00:00:00Z';
    const look = (server: SocketServer, { reply }: HandlerContext, outgoing: OutgoingMessage) => [
      server.broadcast({ type: 'shutdown', timestamp, data: { graceful: true } }),
      server.sendToCrawler('c1', { type: 'fetch_page', url: 'https://example.com/' }),
      reply({
        type: 'token_refresh_response',
        timestamp,
        data: { accessToken: 'a', refreshSuccessful: true },
      }),
      reply({ type: 'fetch_page', anything: [1] }),
      server.broadcast(outgoing),
      // @ts-expect-error: it has a misspelt key, and so lacks one
      server.broadcast({ type: 'job_response', timestamp, data: { job: [] } }),
      // @ts-expect-error: a string is not a boolean
      server.sendToCrawler('c1', { type: 'shutdown', timestamp, data: { graceful: 'yes' } }),
      // @ts-expect-error: it has no timestamp
      reply({ type: 'token_refresh_response', data: { accessToken: 'a', refreshSuccessful: true } }),
      // @ts-expect-error: it has no type
      reply({ data: {} }),
    ];
    expectTypeOf(look).toBeFunction();
  });

  test('results of the parser and the validator are distinguished by ok', () => {
    const [first] = new MessageParser().push(Buffer.from('{}\n'));
    if (first?.ok === false) expectTypeOf(first).toEqualTypeOf<Rejection>();
    if (first?.ok) expectTypeOf(first.message.type).toEqualTypeOf<string>();
    const result = new MessageValidator().validate({});
    if (!result.ok) expectTypeOf(result.code).toEqualTypeOf<WireErrorCode>();
  });

  test('an error has one of the known codes', () => {
    expectTypeOf<SluiceError>().toExtend<Error>();
    expectTypeOf<SluiceError['code']>().toEqualTypeOf<ErrorCode>();
    expectTypeOf<WireErrorCode>().toExtend<ErrorCode>();
    expectTypeOf(SluiceError).toBeConstructibleWith('SEND_TIMEOUT', 'detail', { cause: new Error() });
    expectTypeOf<'NO_SUCH_CODE'>().not.toExtend<ErrorCode>();
  });
});

describe('sluice/messages', () => {
  test('a type’s message is what its schema gives', () => {
    expectTypeOf<MessageMap['job_progress']>().toExtend<z.output<typeof crawlerSchemas.job_progress>>();
    expectTypeOf<MessageMap['heartbeat']['type']>().toEqualTypeOf<'heartbeat'>();
  });

  test('defaults are there in what comes out', () => {
    expectTypeOf<MessageMap['job_assignment']['data']['priority']>().toEqualTypeOf<number>();
  });

  test('messages narrow by their type', () => {
    const look = (message: Message) => {
      if (message.type === 'job_failed') expectTypeOf(message.data.isRecoverable).toEqualTypeOf<boolean>();
    };
    expectTypeOf(look).parameter(0).toEqualTypeOf<Message>();
    expectTypeOf<Extract<Message, { type: 'shutdown' }>>().toExtend<AppMessage>();
    expectTypeOf<AppMessage & CrawlerMessage>().toBeNever();
  });

  test('the schemas parse, and know their input', () => {
    expectTypeOf(crawlerSchemas.job_request.parse).returns.toHaveProperty('timestamp');
    expectTypeOf<keyof typeof crawlerSchemas>().toExtend<keyof MessageMap>();
  });
});
