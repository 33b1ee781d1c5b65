// Subscribers with equal filters form a filter group, for which a run is cut once, unless they have many keys.

import { cutRun, type FrameRun, SELECTED, wholeRun } from '../delivery/frame-run.js';
import type { Filter } from './filter.js';
import { FilterIndex, keysOf } from './filter-index.js';
import { type SelectionPool, selectMessages, type Target } from './select-messages.js';
import type { Subscriber } from './subscriber.js';

/**
 * Maximum number of keys, in the index, of filters that subscribers share: to join or leave others, a subscriber adds or
 * removes all of its filters. With more, it has a group of its own, which is changed by one filter at a time.
 */
const MAX_SHARED_KEYS = 256;

/** The keys of the filters, or the only subscriber. */
type GroupKey = string | Subscriber;

interface FilterGroup extends Target {
  filters: readonly Filter[];
  readonly subscribers: Set<Subscriber>;
}

export class FilterGroups {
  readonly #pool: SelectionPool;
  readonly #groups = new Map<GroupKey, FilterGroup>();
  readonly #keys = new Map<Subscriber, GroupKey>();
  /** Groups that receive every run unchanged. The others are indexed. */
  readonly #unfiltered = new Set<FilterGroup>();
  readonly #index = new FilterIndex<FilterGroup>(true);

  constructor(pool: SelectionPool) {
    this.#pool = pool;
  }

  /** Delivers the messages of a run to all subscribers with a matching filter. */
  route(run: FrameRun): void {
    if (this.#unfiltered.size > 0) {
      const whole = wholeRun(run);
      for (const { subscribers } of this.#unfiltered)
        for (const subscriber of subscribers) subscriber.deliver(whole);
    }
    selectMessages(run, this.#index, this.#pool, ({ subscribers }, selection, selected) => {
      const pieces = cutRun(run, selection, selected);
      for (const subscriber of subscribers) for (const piece of pieces) subscriber.deliver(piece);
    });
  }

  /** Gives a subscriber these filters, in place of those that it had. */
  update(subscriber: Subscriber, filters: readonly Filter[]): void {
    const keys = filters.reduce((sum, filter) => sum + keysOf(filter), 0);
    const key = keys > MAX_SHARED_KEYS ? subscriber : filters.map((filter) => filter.key).join('\n');
    if (key !== this.#keys.get(subscriber)) this.#leave(subscriber);
    if (filters.length === 0) return;
    const group = this.#groups.get(key) ?? this.#add(key, filters);
    group.subscribers.add(subscriber);
    this.#keys.set(subscriber, key);
    if (key === subscriber) this.#replaceFilters(group, filters);
  }

  #leave(subscriber: Subscriber): void {
    const key = this.#keys.get(subscriber);
    const group = key === undefined ? undefined : this.#groups.get(key);
    if (key === undefined || group === undefined) return;
    this.#keys.delete(subscriber);
    group.subscribers.delete(subscriber);
    if (group.subscribers.size > 0) return;
    this.#groups.delete(key);
    if (!this.#unfiltered.delete(group)) this.#replaceFilters(group, []);
  }

  #add(key: GroupKey, filters: readonly Filter[]): FilterGroup {
    const group: FilterGroup = { filters: [], subscribers: new Set(), selection: undefined };
    this.#groups.set(key, group);
    // The index always has the filters of a single subscriber: otherwise it would lose all of them for one.
    if (typeof key === 'string' && matchesWholeRuns(filters)) this.#unfiltered.add(group);
    else this.#replaceFilters(group, filters);
    return group;
  }

  /** Changes the index only by the filters that differ. */
  #replaceFilters(group: FilterGroup, filters: readonly Filter[]): void {
    const added = new Set(filters);
    for (const filter of group.filters) if (!added.delete(filter)) this.#index.remove(filter, group);
    for (const filter of added) this.#index.add(filter, group);
    group.filters = filters;
  }
}

/** Whether all messages are delivered unchanged: a filter matches everything, and none adds `meta`. */
function matchesWholeRuns(filters: readonly Filter[]): boolean {
  return filters.every(({ mark }) => mark === SELECTED) && filters.some(({ matchesAll }) => matchesAll);
}
