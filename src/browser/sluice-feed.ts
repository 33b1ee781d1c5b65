// Reads the feed of a broker in a web page. Without dependencies, for browsers and everything else that has `fetch`.

/** A message, and who sent it. */
export interface FeedEvent {
  readonly message: { readonly type: string; readonly [key: string]: unknown };
  readonly crawlerId: string | null;
  /** ID of the sender's connection. */
  readonly from: string;
  readonly seq: number;
}

/** Options of a feed. All are optional. */
export interface SluiceFeedOptions {
  /** Message types; `job_*` matches a prefix. Default: all. */
  readonly types?: readonly string[];
  readonly jobs?: readonly string[];
  readonly crawlers?: readonly string[];
  /** Minimum time between two updates of a job, such as `250ms`. Default: 250 ms. */
  readonly every?: string | number;
  /** Whether to begin with the latest message of each job and crawler. Default: false. */
  readonly last?: boolean;
  /** Of the role `monitor` or `app`, or an admin token, if the broker requires one. */
  readonly token?: string;
  /** Called when the feed is connected, waits for the next attempt, or has ended: `error` says why. */
  readonly onState?: (state: 'open' | 'waiting' | 'closed', error?: Error) => void;
  /** Called if messages are missing: they were removed from the log, or there were too many. */
  readonly onGap?: () => void;
}

const [FIRST_RETRY, LAST_RETRY] = [1000, 30_000];
/** Time for which a page is hidden before its stream ends, in ms. */
const HIDDEN_DELAY = 5000;

/** The document of a page. */
interface Page extends EventTarget {
  readonly hidden: boolean;
}

export class SluiceFeed {
  readonly #url: URL;
  readonly #onMessage: (event: FeedEvent) => void;
  readonly #options: SluiceFeedOptions;
  readonly #stopping = new AbortController();
  readonly #page = (globalThis as { readonly document?: Page }).document;
  #connection = new AbortController();
  #hiddenTimer: ReturnType<typeof setTimeout> | undefined;
  #lastEventId = '';

  /**
   * Connects, and again whenever the connection is lost, until it is closed. What a callback throws is reported like an
   * uncaught error, and the feed goes on with the next event. While the page is hidden, it is not connected, if it can go on
   * where it was: with `last`, or if the broker has a durable log. Browsers limit the connections of all pages together.
   * @param url of `/api/stream`, or of a route that answers with `server.feed(request)`; relative to the page
   * @throws RangeError if an entry of `types`, `jobs` or `crawlers` has a comma: it would stand for several
   */
  constructor(url: string | URL, onMessage: (event: FeedEvent) => void, options: SluiceFeedOptions = {}) {
    const page = (globalThis as { readonly location?: { readonly href: string } }).location?.href;
    this.#url = new URL(url, page);
    this.#onMessage = onMessage;
    this.#options = options;
    for (const name of ['types', 'jobs', 'crawlers'] as const)
      for (const value of options[name] ?? []) {
        if (value.includes(',')) throw new RangeError(`${name}: an entry must not have a comma`);
        this.#url.searchParams.append(name, value);
      }
    for (const name of ['every', 'last'] as const)
      if (options[name] !== undefined) this.#url.searchParams.set(name, String(options[name]));
    this.#page?.addEventListener('visibilitychange', this.#onVisibility);
    void this.#run();
  }

  close(): void {
    this.#stopping.abort();
    this.#connection.abort();
    clearTimeout(this.#hiddenTimer);
    this.#page?.removeEventListener('visibilitychange', this.#onVisibility);
  }

  readonly #onVisibility = (): void => {
    clearTimeout(this.#hiddenTimer);
    if (this.#page?.hidden !== true) return;
    this.#hiddenTimer = setTimeout(() => {
      if (this.#isDormant) this.#connection.abort();
    }, HIDDEN_DELAY);
  };

  /** Whether the page is hidden, and loses nothing if it is not connected. */
  get #isDormant(): boolean {
    return this.#page?.hidden === true && (this.#lastEventId !== '' || this.#options.last === true);
  }

  async #run(): Promise<void> {
    const onState: SluiceFeedOptions['onState'] = (...state) => call(() => this.#options.onState?.(...state));
    const { signal } = this.#stopping;
    let retry = FIRST_RETRY;
    while (!signal.aborted) {
      try {
        const response = await this.#connect();
        onState('open');
        retry = FIRST_RETRY;
        // It may have been hidden before.
        this.#onVisibility();
        await this.#read(response);
      } catch (error) {
        if (error instanceof FeedRejectedError) return onState('closed', error);
      }
      if (signal.aborted) break;
      onState('waiting');
      // Half of it is random, so that not all pages return at once.
      const delay = retry * (0.5 + Math.random() / 2);
      await pause(delay, signal);
      while (this.#page !== undefined && this.#isDormant && !signal.aborted)
        await nextEvent(this.#page, signal);
      retry = Math.min(2 * retry, LAST_RETRY);
    }
    onState('closed');
  }

  async #connect(): Promise<Response> {
    const { token } = this.#options;
    const headers: Record<string, string> = { accept: 'text/event-stream' };
    if (token !== undefined) headers.authorization = `Bearer ${token}`;
    if (this.#lastEventId !== '') headers['last-event-id'] = this.#lastEventId;
    this.#connection = new AbortController();
    const response = await fetch(this.#url, { headers, signal: this.#connection.signal });
    if (response.ok && response.body !== null) return response;
    const text = await response.text();
    // Of other answers, a later attempt may get another one.
    if (response.status < 500 && response.status !== 429)
      throw new FeedRejectedError(`the broker rejected the request: ${response.status} ${text}`);
    throw new Error(text);
  }

  async #read({ body }: Response): Promise<void> {
    const reader = body?.getReader();
    const decoder = new TextDecoder();
    let text = '';
    try {
      for (;;) {
        const { done, value } = (await reader?.read()) ?? { done: true, value: undefined };
        if (done) return;
        const events = (text + decoder.decode(value, { stream: true })).split('\n\n');
        text = events.pop() ?? '';
        for (const event of events) {
          // A callback may have closed the feed.
          if (this.#stopping.signal.aborted) return;
          this.#dispatch(event);
        }
      }
    } finally {
      // The next attempt has another stream.
      void reader?.cancel().catch(() => {});
    }
  }

  #dispatch(event: string): void {
    let [name, data] = ['message', ''];
    for (const line of event.split('\n')) {
      const at = line.indexOf(':');
      const value = line.slice(at + 1).trimStart();
      if (line.startsWith('data:')) data = value;
      else if (line.startsWith('event:')) name = value;
      else if (line.startsWith('id:')) this.#lastEventId = value;
    }
    if (data === '') return;
    if (name !== 'message') return call(() => this.#options.onGap?.());
    const message = JSON.parse(data) as FeedEvent;
    call(() => this.#onMessage(message));
  }
}

/** Calls a function of the page. An error is thrown where it ends nothing here. */
function call(callback: () => void): void {
  try {
    callback();
  } catch (error) {
    queueMicrotask(() => {
      throw error;
    });
  }
}

class FeedRejectedError extends Error {}

/** Waits until a page is hidden or shown, unless it is aborted. */
function nextEvent(page: Page, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    page.addEventListener('visibilitychange', () => resolve(), { once: true, signal });
    signal.addEventListener('abort', () => resolve(), { once: true });
  });
}

/** Waits, unless it is aborted. @param delay in ms */
function pause(delay: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      clearTimeout(timer);
      signal.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, delay);
    signal.addEventListener('abort', done);
  });
}
