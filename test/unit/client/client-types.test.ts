// What the compiler knows of a client's messages.

import {
  type AnyMessage,
  type JobMessage,
  ReceivedMessage,
  type SluiceClient,
  type Subscription,
  type SubscriptionFilter,
} from 'sluice/client';
import type { MessageMap } from 'sluice/messages';
import { expectTypeOf, test } from 'vitest';

interface PageFetched {
  type: 'page_fetched';
  url: string;
}

test('publish takes the messages of the protocol, checked by type', () => {
  type Published = Parameters<SluiceClient['publish']>[0];
  const data = { activeJobs: 1, totalProcessed: 2, systemStatus: 'idle' } as const;
  expectTypeOf<{ type: 'heartbeat'; data: typeof data }>().toExtend<Published>();
  expectTypeOf<{ type: 'heartbeat'; timestamp: string; data: typeof data; extra: 1 }>().toExtend<Published>();
  expectTypeOf<{ type: 'heartbeat'; data: { activeJobs: string } }>().not.toExtend<Published>();
  expectTypeOf<{ type: 'job_assignment'; data: { job_id: string } }>().not.toExtend<Published>();
  expectTypeOf<{ type: 'subscribe'; data: { id: string } }>().not.toExtend<Published>();
  expectTypeOf<PageFetched>().not.toExtend<Published>();
});

test('publish takes a schema module’s types when they are named', () => {
  type Published = Parameters<SluiceClient<PageFetched>['publish']>[0];
  expectTypeOf<PageFetched>().toExtend<Published>();
  expectTypeOf<{ type: 'page_fetched'; url: number }>().not.toExtend<Published>();
});

test('what is received narrows by its type', () => {
  const event = new ReceivedMessage(Buffer.from('{}'));
  expectTypeOf(event.message).toEqualTypeOf<AnyMessage>();
  if (event.is('job_failed')) {
    expectTypeOf(event.message.data.errorType).toEqualTypeOf<string | undefined>();
  }
  if (event.is<PageFetched>('page_fetched')) expectTypeOf(event.message.url).toEqualTypeOf<string>();
  // @ts-expect-error: the name of another type
  event.is<PageFetched>('page_fetch');
  if (event.is(String('any'))) expectTypeOf(event.message.url).toBeUnknown();
});

test('a filter takes lists that nobody may change', () => {
  const types = ['job_*'] as const;
  expectTypeOf({ types, jobIds: types, crawlerIds: types }).toExtend<SubscriptionFilter>();
});

test('requests and subscriptions have the types of their results', () => {
  expectTypeOf<Awaited<ReturnType<SluiceClient['requestJobs']>>>().toEqualTypeOf<JobMessage>();
  expectTypeOf<JobMessage>().toEqualTypeOf<MessageMap['job_assignment'] | MessageMap['job_response']>();
  expectTypeOf<Awaited<ReturnType<SluiceClient['subscribe']>>>().toEqualTypeOf<Subscription>();
  expectTypeOf<Subscription>().toExtend<AsyncIterable<ReceivedMessage>>();
});
