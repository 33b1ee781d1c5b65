import { test } from 'vitest';
import { killUnderLoad } from '../support/durable-kills.js';
import { killGroupUnderLoad } from '../support/group-kills.js';
import { scaled } from './duration.js';

const kills = scaled(100);

test(`what was confirmed is there after ${kills} kills, once and in order, and no cursor skips a message`, async () => {
  await killUnderLoad(kills);
});

const groupKills = scaled(50);

test(`a work group handles every message, although its members and the broker are killed, ${groupKills} times`, async () => {
  await killGroupUnderLoad(groupKills);
});
