// Validate: patterns compared with JSON.parse and zod, for each message type and for the mix.

import type { Bench } from 'tinybench';
import { MessageRegistry } from '../../src/messages/message-registry.js';
import { PatternSet } from '../../src/pattern/pattern-set.js';
import { MessageParser } from '../../src/protocol/message-parser.js';
import { Traffic } from '../../src/traffic/traffic.js';
import { messageSchema } from '../end-to-end/plain-schema.js';

const MESSAGES = 500;
/** Lines of the mix that contain {@link MESSAGES} messages of the rarest type. */
const SAMPLE = 40_000;

export function add(bench: Bench): ReadonlyMap<string, number> {
  const traffic = new Traffic({ seed: 1 });
  const lines = Array.from({ length: SAMPLE }, () => traffic.nextLine());
  const byType = new Map<string, string[]>([['the mix', lines.slice(0, MESSAGES)]]);
  for (const line of lines) {
    const name = line.slice('{"type":"'.length, line.indexOf('",'));
    const texts = byType.get(name) ?? [];
    if (texts.length < MESSAGES) texts.push(line);
    byType.set(name, texts);
  }
  const registry = MessageRegistry.builtin();
  const fast = new MessageParser({ patterns: PatternSet.create(registry) });
  const slow = new MessageParser();
  const sink = { onMatches() {}, onMessage() {}, onRejection() {} };
  const messages = new Map<string, number>();
  for (const [type, texts] of byType) {
    const bytes = Buffer.from(texts.map((line) => `${line}\n`).join(''));
    const variants: [string, () => void][] = [
      ['patterns', () => void fast.parse(bytes, 0, bytes.length, sink)],
      ['slow path', () => void slow.parse(bytes, 0, bytes.length, sink)],
      [
        'JSON.parse and zod',
        () => {
          for (const text of texts)
            if (!messageSchema.safeParse(JSON.parse(text)).success) throw new Error(type);
        },
      ],
    ];
    for (const [variant, run] of variants) {
      const name = `${type}: ${variant}`;
      bench.add(name, run);
      messages.set(name, texts.length);
    }
  }
  return messages;
}
