// Drives the installed Chromium. Tests that need it are skipped without it, and say so in their name.

import { existsSync } from 'node:fs';
import { type ConsoleMessage, chromium, type Page, type Request } from 'playwright-core';
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

/** How a page is shown. */
export interface View {
  readonly width?: number;
  readonly colorScheme?: 'light' | 'dark';
}

/**
 * One page for all tests of a describe block, since a new one costs as much as four navigations. The returned function
 * opens a URL in it, 1280 pixels wide and with light colours by default.
 */
export function sharePage(): (url: string, view?: View) => Promise<OpenPage> {
  const shared = share(async (whenOver) => {
    // Chromium's sandbox does not work in containers, where tests run as root; the page is our own.
    const browser = await chromium.launch({ executablePath: browserPath ?? '', args: ['--no-sandbox'] });
    whenOver(() => browser.close());
    return browser.newPage();
  });
  return async (url, { width = 1280, colorScheme = 'light' } = {}) => {
    const page = shared();
    const complaints: string[] = [];
    const requested: string[] = [];
    const onConsole = (message: ConsoleMessage) => complaints.push(message.text());
    const onError = (error: Error) => complaints.push(String(error));
    const onRequest = (request: Request) => requested.push(request.url());
    page.on('console', onConsole).on('pageerror', onError).on('request', onRequest);
    onTestFinished(async () => {
      page.off('console', onConsole).off('pageerror', onError).off('request', onRequest);
      await page.goto('about:blank');
    });
    await page.setViewportSize({ width, height: 800 });
    await page.emulateMedia({ colorScheme });
    await page.goto(url);
    return { page, complaints, requested };
  };
}
