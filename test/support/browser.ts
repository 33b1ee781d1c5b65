// Drives the installed Chromium. Tests that need it are skipped without it, and say so in their name.

import { existsSync } from 'node:fs';
import { type BrowserContextOptions, chromium, type Page } from 'playwright-core';
import { onTestFinished } from 'vitest';
import { share } from './share.js';

/** Paths on Debian, on Ubuntu and of Google Chrome; the environment variable CHROMIUM takes precedence. */
const PATHS = [
  process.env.CHROMIUM,
  '/usr/bin/chromium',
  '/usr/bin/chromium-browser',
  '/usr/bin/google-chrome',
];

export const browserPath = PATHS.find((path) => path !== undefined && existsSync(path));

export interface OpenPage {
  page: Page;
  /** Console messages of the page: errors, and violations of its content security policy. */
  complaints: string[];
  /** Every URL that the page requested. */
  requested: string[];
}

/** One browser for all tests of a describe block. The returned function opens a URL in a separate context. */
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
