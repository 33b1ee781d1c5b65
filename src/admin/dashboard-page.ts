// The page at `/`: the files of dashboard/ and uPlot, combined into one document that loads nothing else. Its
// Content-Security-Policy has the hashes of its style and script, so that nothing else can run in it.

import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import type { Reply } from './reply.js';

/** Modules of the page; each comes after the modules that it imports. */
const SCRIPTS = ['formats.js', 'charts.js', 'bars.js', 'connection-table.js', 'rejections.js', 'page.js'];
const STYLES = ['page.css', 'table.css'];

let page: Reply | undefined;

/** Returns the page, which is built once. */
export function dashboardPage(): Reply {
  page ??= build();
  return page;
}

function build(): Reply {
  const { resolve } = createRequire(import.meta.url);
  const own = (name: string) => readFileSync(new URL(`./dashboard/${name}`, import.meta.url), 'utf8');
  const library = (name: string) => readFileSync(resolve(`uplot/dist/${name}`), 'utf8');
  const style = [library('uPlot.min.css'), ...STYLES.map(own)].join('\n');
  const modules = SCRIPTS.map((name) => withoutModuleSyntax(own(name))).join('\n');
  const script = `${library('uPlot.iife.min.js')}\n(() => {\n'use strict';\n${modules}})();\n`;
  const body = own('page.html')
    .replace('/* style */', () => style)
    .replace('/* script */', () => script);
  const policy = [
    "default-src 'none'",
    `style-src '${hashOf(style)}'`,
    `script-src '${hashOf(script)}'`,
    "connect-src 'self'",
    'img-src data:',
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
  ];
  return {
    status: 200,
    body,
    headers: { 'content-type': 'text/html; charset=utf-8', 'content-security-policy': policy.join('; ') },
  };
}

/** Removes imports and exports: the combined modules share one scope. */
function withoutModuleSyntax(source: string): string {
  return source.replace(/^import [^;]{0,1000};\n/gm, '').replace(/^export /gm, '');
}

function hashOf(text: string): string {
  return `sha256-${createHash('sha256').update(text).digest('base64')}`;
}
