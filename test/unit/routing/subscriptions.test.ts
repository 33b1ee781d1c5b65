import { MessageRegistry } from 'sluice';
import { beforeEach, describe, expect, type MockInstance, onTestFinished, test, vi } from 'vitest';
import type { Assignee, Piece } from '#src/delivery/outbox.js';
import { FilterIndex } from '#src/routing/filter-index.js';
import type { Subscriber } from '#src/routing/subscriber.js';
import { Subscriptions } from '#src/routing/subscriptions.js';
import { line, VALID } from '../../support/messages.js';
import { runsOf } from '../../support/runs.js';
import { share } from '../../support/share.js';
import { timeRatio } from '../../support/timing.js';

class Recorder implements Subscriber {
  readonly id: string;
  readonly pieces: Piece[] = [];

  constructor(id: string) {
    this.id = id;
  }

  deliver(piece: Piece): void {
    this.pieces.push(piece);
  }

  get text(): string {
    return this.pieces.map(({ bytes }) => bytes.toString()).join('');
  }

  get types(): string[] {
    const lines = this.text.split('\n').filter((text) => text !== '');
    return lines.map((text) => {
      const message = JSON.parse(text) as { type?: string; message?: { type: string } };
      return message.type ?? `meta ${message.message?.type}`;
    });
  }
}

let subscriptions: Subscriptions;

beforeEach(() => {
  subscriptions = new Subscriptions(MessageRegistry.builtin());
});

function subscriber(data: { id?: string; types?: string[]; [key: string]: unknown } = {}): Recorder {
  const recorder = new Recorder('s');
  subscriptions.add(recorder, { id: 'all', types: ['*'], ...data });
  return recorder;
}

/** Sends lines as one crawler, the way a settled chunk is routed. */
function publish(text: string, crawlerId?: string): void {
  for (const run of runsOf(text, { sender: { crawlerId } })) subscriptions.route(run);
}

const beat = line(VALID.heartbeat);
const progress = (jobId: string) => line({ ...VALID.job_progress, jobId });
const completed = line(VALID.job_completed);

describe('types', () => {
  test('* is everything, in one piece, without a copy', () => {
    const all = subscriber();
    const messages = (beat + progress('job-1') + completed).repeat(10);
    publish(messages);
    expect(all.pieces).toHaveLength(1);
    expect(all.pieces[0]?.slab).toBeDefined();
    expect(all.pieces[0]?.messages).toBe(30);
    expect(all.text).toBe(messages);
  });

  test.each([
    [['heartbeat'], ['heartbeat']],
    [['job_*'], ['job_progress', 'job_completed']],
    [
      ['job_completed', 'heartbeat'],
      ['heartbeat', 'job_completed'],
    ],
    [['nothing'], []],
    [['job_assignment'], []],
    [['rejected'], []],
  ])('%j gets %j', (types, expected) => {
    const some = subscriber({ types });
    publish(beat + progress('job-1') + completed);
    expect(some.types).toEqual(expected);
  });

  test('small messages that are not neighbours are gathered into one piece', () => {
    const some = subscriber({ types: ['heartbeat'] });
    publish((beat + progress('job-1')).repeat(50));
    expect(some.pieces).toHaveLength(1);
    expect(some.pieces[0]?.slab).toBeUndefined();
    expect(some.text).toBe(beat.repeat(50));
  });

  test('long stretches go as slices', () => {
    const some = subscriber({ types: ['job_progress'] });
    publish((progress('job-1').repeat(30) + beat).repeat(3));
    expect(some.pieces).toHaveLength(3);
    expect(some.pieces.every(({ slab }) => slab !== undefined)).toBe(true);
    expect(some.text).toBe(progress('job-1').repeat(90));
  });

  test('a small share of a run is copied, so that it does not hold the whole slab', () => {
    const some = subscriber({ types: ['job_completed'] });
    publish(progress('job-1').repeat(100) + completed.repeat(20) + progress('job-1').repeat(100));
    expect(some.pieces).toHaveLength(1);
    expect(some.pieces[0]?.slab).toBeUndefined();
  });

  test('undelimited messages get a newline each', () => {
    const all = subscriber();
    publish(beat.trimEnd() + progress('job-1').trimEnd());
    expect(all.text).toBe(beat + progress('job-1'));
  });
});

describe('jobs and crawlers', () => {
  test('jobIds takes only messages of these jobs', () => {
    const some = subscriber({ jobIds: ['job-2', 'job-3'] });
    publish(progress('job-1') + progress('job-2') + beat + progress('job-3'));
    expect(some.text).toBe(progress('job-2') + progress('job-3'));
  });

  test('crawlerIds takes only messages of these crawlers', () => {
    const some = subscriber({ crawlerIds: ['crawler-1'] });
    publish(beat, 'crawler-1');
    publish(completed, 'crawler-2');
    publish(completed);
    expect(some.text).toBe(beat);
  });
});

describe('several subscriptions of one connection', () => {
  test('a message that two of them want comes once', () => {
    const both = subscriber({ id: 'a', types: ['heartbeat', 'job_progress'] });
    subscriptions.add(both, { id: 'b', types: ['job_*'] });
    publish(beat + progress('job-1') + completed);
    expect(both.types).toEqual(['heartbeat', 'job_progress', 'job_completed']);
  });

  test('the same id again replaces the subscription', () => {
    const one = subscriber({ types: ['heartbeat'] });
    subscriptions.add(one, { id: 'all', types: ['job_completed'] });
    publish(beat + completed);
    expect(one.types).toEqual(['job_completed']);
    expect(subscriptions.size).toBe(1);
  });

  test('ending one leaves the other', () => {
    const both = subscriber({ id: 'a', types: ['heartbeat'] });
    subscriptions.add(both, { id: 'b', types: ['job_completed'] });
    expect(subscriptions.remove(both, 'a')).toBe(true);
    expect(subscriptions.remove(both, 'a')).toBe(false);
    publish(beat + completed);
    expect(both.types).toEqual(['job_completed']);
    subscriptions.removeAll(both);
    expect(subscriptions.size).toBe(0);
    publish(beat);
    expect(both.types).toEqual(['job_completed']);
  });
});

describe('meta', () => {
  test('wraps each message, its bytes untouched, with sender and number', () => {
    const odd =
      '{"type":"heartbeat", "timestamp":"2026-01-01T00:00:00Z","data":{"activeJobs":1.0,"totalProcessed":0,"systemStatus":"idle"}}';
    const meta = subscriber({ meta: true });
    publish(`${beat}${odd}\n`, 'Zoë "1"');
    const lines = meta.text.trimEnd().split('\n');
    expect(lines[1]).toContain(`,"seq":2,"message":${odd}}`);
    expect(lines.map((text) => JSON.parse(text))).toMatchObject([
      { from: 'c-1', crawlerId: 'Zoë "1"', seq: 1, message: { type: 'heartbeat' } },
      { from: 'c-1', crawlerId: 'Zoë "1"', seq: 2 },
    ]);
  });

  test('is null for a crawler without a name', () => {
    const meta = subscriber({ meta: true, types: ['heartbeat'] });
    publish(progress('job-1') + beat);
    expect(JSON.parse(meta.text)).toMatchObject({ crawlerId: null, seq: 2 });
  });
});

describe('groups', () => {
  /** One run of so many messages that handing a piece to each of 500 members costs less than they do. */
  const longRun = share(() =>
    runsOf(Array.from({ length: 24_000 }, (_, index) => progress(`job-${index % 10}`)).join(''), {
      sender: { crawlerId: 'crawler-1' },
    }),
  );

  test('each message goes to one member, evenly', () => {
    const members = [subscriber({ group: 'g' }), subscriber({ group: 'g' }), subscriber({ group: 'g' })];
    const jobs = Array.from({ length: 30 }, (_, index) => progress(`job-${index}`));
    publish(jobs.join(''));
    const counts = members.map(({ types }) => types.length);
    expect(counts).toEqual([10, 10, 10]);
    expect(members.flatMap(({ text }) => text.trimEnd().split('\n')).sort()).toEqual(
      jobs.map((job) => job.trimEnd()).sort(),
    );
  });

  test('single messages go round', () => {
    const members = [subscriber({ group: 'g' }), subscriber({ group: 'g' })];
    for (let index = 0; index < 6; index++) publish(beat);
    expect(members.map(({ types }) => types.length)).toEqual([3, 3]);
  });

  test('a message that only one member wants goes to that one', () => {
    const beats = subscriber({ group: 'g', types: ['heartbeat'] });
    const all = subscriber({ group: 'g' });
    publish(completed.repeat(5));
    expect([beats.types.length, all.types.length]).toEqual([0, 5]);
    publish(beat.repeat(100));
    expect(beats.types.length).toBeGreaterThan(0);
    expect(beats.types.length + all.types.length).toBe(105);
  });

  test('two groups and a plain subscriber each get everything', () => {
    const everyone = [subscriber({ group: 'g' }), subscriber({ group: 'h' }), subscriber()];
    publish(beat.repeat(3));
    expect(everyone.map(({ types }) => types.length)).toEqual([3, 3, 3]);
  });

  test('a member closed during distribution takes no messages from the others', () => {
    const members = Array.from({ length: 4 }, () => subscriber({ group: 'g' }));
    const [first] = members as [Recorder];
    const take = first.deliver.bind(first);
    first.deliver = (piece) => {
      take(piece);
      subscriptions.removeAll(first);
    };
    const jobs = Array.from({ length: 40 }, (_, index) => progress(`job-${index}`));
    publish(jobs.join(''));
    expect(members.map(({ text }) => text).join('')).toBe(jobs.join(''));
    publish(beat.repeat(3));
    expect(members.map(({ types }) => types.length)).toEqual([10, 11, 11, 11]);
  });

  test('what only a member wanted that has left during routing goes to no other member', () => {
    const leaving = subscriber({ id: 'f', group: 'f', types: ['heartbeat'] });
    subscriptions.add(leaving, { id: 'g', group: 'g', types: ['heartbeat'] });
    const other = subscriber({ group: 'g', types: ['job_completed'] });
    leaving.deliver = () => subscriptions.removeAll(leaving);
    publish(beat + completed);
    expect(other.types).toEqual(['job_completed']);
  });

  test.each([
    ['without filters', () => ({})],
    ['each of one job', (index: number) => ({ jobIds: [`job-${index}`] })],
    ['each of one crawler', (index: number) => ({ crawlerIds: [`crawler-${index}`] })],
  ])('a message costs the same however many members there are, %s', (_, filter) => {
    const [run, ...others] = longRun();
    if (run === undefined || others.length > 0) throw new Error('not one run');
    const routing = (members: number) => {
      subscriptions = new Subscriptions(MessageRegistry.builtin());
      for (let index = 0; index < members; index++) subscriber({ group: 'g', ...filter(index) });
      const ofMembers = subscriptions;
      return () => ofMembers.route(run);
    };
    // Not even three times the time for fifty times the members: each looks at its own messages only.
    expect(timeRatio(routing(500), routing(10), 3)).toBeLessThan(3);
  });

  test('members with filters of their own get the same number of the messages that several of them want', () => {
    const ofJobs = ['job-1', 'job-2'].map((jobId) => subscriber({ group: 'g', jobIds: [jobId, 'shared'] }));
    const all = subscriber({ group: 'g' });
    publish(progress('shared').repeat(300));
    const counts = [...ofJobs, all].map(({ types }) => types.length);
    expect(counts).toEqual([100, 100, 100]);
    publish(progress('job-1').repeat(10) + progress('job-3').repeat(10));
    expect(all.types.length).toBeGreaterThanOrEqual(110);
    expect(ofJobs[1]?.types).toHaveLength(100);
  });

  describe('what a member leaves', () => {
    const PIECES = 1000;
    /** How often a member was asked whether it is open or has room. */
    let asked = 0;

    class AskedRecorder extends Recorder {
      readonly #hasRoom: boolean;

      constructor(id: string, hasRoom: boolean) {
        super(id);
        this.#hasRoom = hasRoom;
      }

      get isOpen(): boolean {
        asked++;
        return true;
      }

      hasRoom(): boolean {
        asked++;
        return this.#hasRoom;
      }
    }

    function join(hasRoom: boolean, filter: object = {}): AskedRecorder {
      const member = new AskedRecorder('m', hasRoom);
      subscriptions.add(member, { id: 'g', group: 'g', types: ['*'], ...filter });
      return member;
    }

    /**
     * A member for which many pieces are queued.
     * @returns ends its membership, and returns the number of pieces that others have taken over
     */
    function queueFor(filter: object = {}): () => number {
      let queued: [Piece, Assignee | undefined] | undefined;
      const leaving: Subscriber = {
        id: 'l',
        deliver: (piece, member) => {
          queued = [piece, member];
        },
      };
      subscriptions.add(leaving, { id: 'g', group: 'g', types: ['*'], ...filter });
      publish(progress('job-1'));
      return () => {
        subscriptions.removeAll(leaving);
        asked = 0;
        let taken = 0;
        for (let count = 0; count < PIECES; count++) {
          const [piece, member] = queued ?? [];
          if (piece && member && subscriptions.takeOver(piece, member)) taken++;
        }
        return taken;
      };
    }

    test('is offered to no member with another filter', () => {
      const leave = queueFor();
      for (let index = 0; index < 100; index++) join(true, { crawlerIds: [`other-${index}`] });
      expect([leave(), asked]).toEqual([0, 0]);
    });

    test('goes to those with an equal filter or with none, in turn', () => {
      const leave = queueFor({ jobIds: ['job-1'] });
      const takers = [join(true, { jobIds: ['job-1'] }), join(true)];
      const others = [join(true, { jobIds: ['job-2'] }), join(true, { meta: true })];
      expect(leave()).toBe(PIECES);
      expect(takers.map(({ pieces }) => pieces.length)).toEqual([PIECES / 2, PIECES / 2]);
      expect(others.map(({ pieces }) => pieces.length)).toEqual([0, 0]);
    });

    test('goes to the one that has room', () => {
      const leave = queueFor();
      const members = [join(false), join(true), join(false)];
      expect(leave()).toBe(PIECES);
      expect(members.map(({ pieces }) => pieces.length)).toEqual([0, PIECES, 0]);
    });

    test('is offered to few members, however many have no room', () => {
      const leave = queueFor();
      for (let count = 0; count < 500; count++) join(false);
      expect(leave()).toBe(PIECES);
      expect(asked).toBeLessThan(50 * PIECES);
    });
  });

  test('who leaves takes no more; the last one ends the group', () => {
    const [first, second] = [subscriber({ group: 'g' }), subscriber({ group: 'g' })];
    subscriptions.removeAll(first);
    publish(beat.repeat(4));
    expect([first.types.length, second.types.length]).toEqual([0, 4]);
    subscriptions.removeAll(second);
    publish(beat);
    expect(second.types).toHaveLength(4);
  });
});

test.each([
  ['of plain subscriptions', {}, {}],
  ['of queue groups', { group: 'g' }, { group: 'h' }],
])('%s: after one has thrown, all get the next messages', (_, group, other) => {
  const throwing: Subscriber = {
    id: 't',
    deliver: () => {
      throw new Error('thrown by a subscriber');
    },
  };
  subscriptions.add(throwing, { id: 'x', types: ['job_progress'], ...group });
  const next = subscriber({ types: ['job_*'], ...other });
  expect(() => publish(progress('job-1'))).toThrow('thrown by a subscriber');
  subscriptions.removeAll(throwing);
  publish(progress('job-2'));
  expect(next.text).toContain(progress('job-2'));
});

describe('many subscriptions', () => {
  /** Numbers that look random, the same in each run. */
  let state = 7;
  const below = (limit: number): number => {
    state = (state * 48_271) % 2_147_483_647;
    return state % limit;
  };
  const some = <T>(values: readonly T[]): T[] => values.filter(() => below(3) === 0);
  const TYPES = ['heartbeat', 'job_progress', 'job_completed', 'job_*', '*', 'rejected'];
  const JOBS = ['job-1', 'job-2', 'job-3', 'job-4'];
  const CRAWLERS = ['crawler-1', 'crawler-2'];
  const OTHER_JOBS = Array.from({ length: 256 }, (_, index) => `other-${index}`);

  type Wanted = {
    id: string;
    types: string[];
    jobIds?: string[];
    crawlerIds?: string[];
    group?: string;
    meta?: boolean;
  };

  const randomData = (id: string, group: string | undefined): Wanted => ({
    id,
    types: [TYPES[below(TYPES.length)] as string, ...some(TYPES)],
    // Some subscribers have more keys than are shared.
    ...(below(2) === 0 && { jobIds: ['job-1', ...some(JOBS), ...(below(4) === 0 ? OTHER_JOBS : [])] }),
    ...(below(3) === 0 && { crawlerIds: ['crawler-1', ...some(CRAWLERS)] }),
    ...(group !== undefined && { group }),
    ...(below(4) === 0 && { meta: true }),
  });

  const wants = ({ types, jobIds, crawlerIds }: Wanted, message: string, crawlerId: string): boolean => {
    const { type, jobId } = JSON.parse(message) as { type: string; jobId?: string };
    const isWanted = types.some(
      (pattern) => pattern === type || (pattern.endsWith('*') && type.startsWith(pattern.slice(0, -1))),
    );
    if (!isWanted || (crawlerIds !== undefined && !crawlerIds.includes(crawlerId))) return false;
    return jobIds === undefined || (jobId !== undefined && jobIds.includes(jobId));
  };

  test('each gets what its filters match, once and in order, while subscriptions come and go', () => {
    // A third of them in each of two groups, a third on their own.
    const all = Array.from({ length: 30 }, (_, index) => ({
      recorder: new Recorder('s'),
      data: new Map<string, Wanted>(),
      group: ['g', 'h', undefined][index % 3],
    }));
    for (let round = 0; round < 40; round++) {
      for (const { recorder, data, group } of all) {
        recorder.pieces.length = 0;
        const id = `s${below(3)}`;
        if (below(3) === 0) {
          subscriptions.remove(recorder, id);
          data.delete(id);
        } else {
          data.set(id, randomData(id, group));
          subscriptions.add(recorder, data.get(id) as Wanted);
        }
      }
      const crawlerId = CRAWLERS[below(2)] as string;
      const lines = Array.from({ length: 20 }, () => {
        const [jobId, choice] = [JOBS[below(4)] as string, below(4)];
        return choice === 0 ? beat : choice === 1 ? line({ ...VALID.job_completed, jobId }) : progress(jobId);
      });
      publish(lines.join(''), crawlerId);
      const received = all.map(({ recorder }) => {
        const texts = recorder.text.split('\n').filter((text) => text !== '');
        return texts.map((text) =>
          text.startsWith('{"from"') ? text.slice(text.indexOf('"message":') + 10, -1) : text,
        );
      });
      all.forEach(({ data, group }, owner) => {
        if (group !== undefined) return;
        const wanted = lines.filter((text) =>
          [...data.values()].some((each) => wants(each, text, crawlerId)),
        );
        expect(received[owner]).toEqual(wanted.map((text) => text.trimEnd()));
      });
      for (const name of ['g', 'h']) {
        const left = received.map((texts, owner) => (all[owner]?.group === name ? [...texts] : []));
        const members = all.flatMap(({ data, group }, owner) =>
          group === name ? [...data.values()].map((each) => ({ owner, each })) : [],
        );
        for (const message of lines.filter((text) =>
          members.some(({ each }) => wants(each, text, crawlerId)),
        )) {
          const receiver = members.find(
            ({ owner, each }) => wants(each, message, crawlerId) && left[owner]?.includes(message.trimEnd()),
          );
          expect(receiver).toBeDefined();
          const texts = left[receiver?.owner ?? -1];
          texts?.splice(texts.indexOf(message.trimEnd()), 1);
        }
        expect(left.flat()).toEqual([]);
      }
    }
  });

  describe('of one subscriber, with many jobs', () => {
    const COUNT = 64;
    let index: { readonly added: MockInstance; readonly removed: MockInstance };
    let large: Recorder;
    /** Number of filters that a change adds to the index and removes from it. */
    const changes = (change: () => void): [number, number] => {
      index.added.mockClear();
      index.removed.mockClear();
      change();
      return [index.added.mock.calls.length, index.removed.mock.calls.length];
    };
    const ofJobs = (number: number, owner = large): void => {
      const jobIds = Array.from({ length: 256 }, (_, job) => `job-${number}-${job}`);
      subscriptions.add(owner, { id: `s${number}`, types: ['*'], jobIds });
    };

    beforeEach(() => {
      index = {
        added: vi.spyOn(FilterIndex.prototype, 'add'),
        removed: vi.spyOn(FilterIndex.prototype, 'remove'),
      };
      onTestFinished(() => void vi.restoreAllMocks());
      large = new Recorder('s');
      for (let number = 0; number < COUNT; number++) ofJobs(number);
    });

    test('each change of the index is about the filter that was added or removed', () => {
      expect(changes(() => ofJobs(COUNT))).toEqual([1, 0]);
      expect(changes(() => subscriptions.remove(large, 's3'))).toEqual([0, 1]);
      expect(changes(() => subscriptions.add(large, { id: 's4', types: ['heartbeat'] }))).toEqual([1, 1]);
      expect(changes(() => subscriptions.add(large, { id: 'all', types: ['*'] }))).toEqual([1, 0]);
      publish(beat + progress('job-0-0'));
      expect(large.text).toBe(beat + progress('job-0-0'));
      expect(changes(() => subscriptions.remove(large, 'all'))).toEqual([0, 1]);
      expect(changes(() => subscriptions.remove(large, 's4'))).toEqual([0, 1]);
      publish(beat + progress('job-3-0') + progress('job-4-0'));
      expect(large.text).toBe(beat + progress('job-0-0'));
    });

    test('nothing changes with a subscription that has a reader', () => {
      const reader = { stop: () => {} };
      const small = subscriber();
      for (const owner of [large, small]) {
        const data = { id: 'log', types: ['*'] };
        expect(changes(() => subscriptions.add(owner, data, reader))).toEqual([0, 0]);
        expect(changes(() => subscriptions.remove(owner, 'log'))).toEqual([0, 0]);
      }
    });

    test('nor is it about more if another subscriber has the same ones', () => {
      const other = new Recorder('other');
      for (let number = 0; number < COUNT; number++) ofJobs(number, other);
      expect(changes(() => subscriptions.add(large, { id: 'x', types: ['heartbeat'] }))).toEqual([1, 0]);
      expect(changes(() => subscriptions.remove(large, 'x'))).toEqual([0, 1]);
      publish(progress('job-63-255'));
      expect([large.text, other.text]).toEqual([progress('job-63-255'), progress('job-63-255')]);
    });

    test('when it disconnects, each filter is removed once', () => {
      expect(changes(() => subscriptions.removeAll(large))).toEqual([0, COUNT]);
      publish(progress('job-0-0'));
      expect(large.text).toBe('');
      expect([subscriptions.size, subscriptions.bytes]).toEqual([0, 0]);
    });
  });

  test.each([
    ['jobs', (index: number) => ({ jobIds: [`other-${index}`] })],
    ['jobs, in groups of their own', (index: number) => ({ jobIds: [`other-${index}`], group: `g${index}` })],
    ['crawlers', (index: number) => ({ crawlerIds: [`other-${index}`] })],
  ])('a message costs the same however many want other %s', (_, wanted) => {
    const runs = runsOf((beat + progress('job-1')).repeat(1000), { sender: { crawlerId: 'crawler-1' } });
    const route = (others: number) => {
      const routed = new Subscriptions(MessageRegistry.builtin());
      for (let index = 0; index < others; index++) {
        routed.add(new Recorder('s'), { id: 'x', types: ['*'], ...wanted(index) });
      }
      return () => {
        for (let round = 0; round < 30; round++) for (const run of runs) routed.route(run);
      };
    };
    expect(timeRatio(route(5000), route(5), 3)).toBeLessThan(3);
  });
});

test('subscribers of rejected messages are found, once each', () => {
  const one = subscriber({ id: 'a', types: ['rejected'] });
  subscriptions.add(one, { id: 'b', types: ['rejected', '*'] });
  subscriber();
  expect([...subscriptions.rejectedSubscribers]).toEqual([one]);
  subscriptions.remove(one, 'b');
  expect([...subscriptions.rejectedSubscribers]).toEqual([one]);
  subscriptions.remove(one, 'a');
  expect([...subscriptions.rejectedSubscribers]).toEqual([]);
});
