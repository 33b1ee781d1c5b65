// Under `npm run coverage`: Vitest ends its processes before they write what they have covered, so each test file
// has it written when it is done.

import { takeCoverage } from 'node:v8';
import { afterAll } from 'vitest';

afterAll(() => takeCoverage());
