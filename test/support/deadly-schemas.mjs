// Rules that end their worker thread, each in another way.
import * as z from 'zod';

const type = (name) => z.looseObject({ type: z.literal(name) });

export const schemas = {
  deadly: type('deadly'),
  throwing: type('throwing'),
  hungry: type('hungry'),
  looping: type('looping'),
  stuck: type('stuck'),
  harmless: type('harmless'),
  slow: type('slow'),
  // Hidden from whoever looks for async functions: the refinement rejects when nobody waits for it any more.
  promising: type('promising').superRefine(() => Promise.reject(new Error('rejected later'))),
};

export const rules = {
  deadly() {
    process.exit(1);
  },
  throwing() {
    queueMicrotask(() => {
      throw new Error('thrown outside of the rule');
    });
  },
  hungry() {
    const kept = [];
    for (;;) kept.push(new Array(100_000).fill(kept.length));
  },
  looping() {
    for (;;) {
      // Until the watchdog ends the thread.
    }
  },
  // As long as a message may take before others are no longer kept waiting for it, or nearly.
  slow() {
    for (const end = performance.now() + 60; performance.now() < end; );
  },
  // As looping, but leaves the processor to others.
  stuck() {
    const never = new Int32Array(new SharedArrayBuffer(4));
    for (;;) Atomics.wait(never, 0, 0, 1000);
  },
};
