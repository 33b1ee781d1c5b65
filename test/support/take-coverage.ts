// For `npm run coverage`: Vitest terminates its processes before they write their coverage, so each test file writes it
// when done.

import { takeCoverage } from 'node:v8';
import { afterAll } from 'vitest';

afterAll(() => takeCoverage());
