// Rules that terminate their worker thread, each in a different way.
import { existsSync } from 'node:fs';
import * as z from 'zod';

const type = (name) => z.looseObject({ type: z.literal(name) });

function refinement(id) {
  if (id < 0) process.exit(1);
  return true;
}

export const schemas = {
  deadly: type('deadly'),
  throwing: type('throwing'),
  hungry: type('hungry'),
  looping: type('looping'),
  stuck: type('stuck'),
  held: type('held').extend({ file: z.string() }),
  harmless: type('harmless'),
  slow: type('slow'),
  // With patterns, its refinement is all that runs.
  refined: type('refined').extend({ id: z.number().refine(refinement) }),
  // Cannot be detected as an async function: the promise is rejected when nothing awaits it any more.
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
  // Slower than SLOW_MESSAGE, but within the time limit for messages for which others wait.
  slow() {
    for (const end = performance.now() + 60; performance.now() < end; );
  },
  // Like looping, but without using the processor.
  stuck() {
    const never = new Int32Array(new SharedArrayBuffer(4));
    for (;;) Atomics.wait(never, 0, 0, 1000);
  }, // Like stuck, until the file is removed. Then it is rejected.
  held({ file }, report) {
    const never = new Int32Array(new SharedArrayBuffer(4));
    while (existsSync(file)) Atomics.wait(never, 0, 0, 10);
    report('file', 'removed', 'is not there');
  },
};
