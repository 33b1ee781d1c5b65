import { expect, test } from 'vitest';
import { matchesType, TypePatterns } from '#src/messages/type-patterns.js';
import { timeRatio } from '../../support/timing.js';

test('several patterns match what one of them matches', () => {
  // `!` sorts before `*`.
  const texts = ['', 'a', 'b', '!', '*', 'aa', 'ab', 'a!', 'b*', 'ab!'];
  const patterns = [...texts, ...texts.map((text) => `${text}*`)];
  for (const one of patterns) {
    for (const two of patterns) {
      const list = [one, two, 'ab*', 'c'];
      const all = new TypePatterns(list);
      for (const name of [...texts, 'aab', 'a!b', 'b!', 'c', 'ca'])
        expect(all.match(name), `${list}: ${name}`).toBe(list.some((pattern) => matchesType(pattern, name)));
    }
  }
});

test('a name that no pattern matches costs about the same however many there are', () => {
  const matching = (count: number) => {
    const names = Array.from({ length: count }, (_, index) => `some_type_${index}`);
    const patterns = new TypePatterns(names.flatMap((name) => [name, `${name}_*`]));
    return () => {
      for (let round = 0; round < 50_000; round++) patterns.match('some_type_of_nobody');
    };
  };
  expect(timeRatio(matching(128), matching(1), 8)).toBeLessThan(8);
});
