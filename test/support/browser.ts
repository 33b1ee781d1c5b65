// The machine's Chromium, driven. Tests that need it say so by name where there is none.

import { existsSync } from 'node:fs';
import { type BrowserContextOptions, chromium, type Page } from 'playwright-core';
import { onTestFinished } from 'vitest';
import { share } from './share.js';

/** Where Debian, Ubuntu and Google put it; CHROMIUM in the environment wins. */
const PLACES = [
  process.env.CHROMIUM,
  '/usr/bin/chromium',
  '/usr/bin/chromium-browser',
  '/usr/bin/google-chrome',
];

export const browserPath = PLACES.find((path) => path !== undefined && existsSync(path));

export interface OpenPage {
  page: Page;
  /** What the page complained of: errors, and what its policy stopped. */
  complaints: string[];
  /** Every address that it asked for. */
  requested: string[];
}

/** One browser for all tests of a describe. What is returned opens an address in a context of its own. */
export function shareBrowser(): (url: string, options?: BrowserContextOptions) => Promise<OpenPage> {
  const shared = share(async (whenOver) => {
    // Chromium's sandbox does not work in containers, where tests run as root; the page is our own.
    const browser = await chromium.launch({ executablePath: browserPath ?? '', args: ['--no-sandbox'] });
    whenOver(() => browser.close());
    return browser;
  });
  return async (url, options = {}) => {
    const context = await shared().newContext(options);
    onTestFinished(() => context.close());
    const page = await context.newPage();
    const complaints: string[] = [];
    const requested: string[] = [];
    page.on('console', (message) => complaints.push(message.text()));
    page.on('pageerror', (error) => complaints.push(String(error)));
    page.on('request', (request) => requested.push(request.url()));
    await page.goto(url);
    return { page, complaints, requested };
  };
}
