// Where a schema module is: a path, or a URL. For the options as well as for the registry.

import { pathToFileURL } from 'node:url';

/** Whether the text is a URL. A single letter before the colon is a drive of Windows. */
export function isModuleUrl(source: string): boolean {
  return /^[a-z]{2,}:/i.test(source);
}

/** The URL of a schema module given as a URL, a `file:` string or a path. */
export function moduleUrl(source: string | URL): string {
  const text = String(source);
  return isModuleUrl(text) ? text : pathToFileURL(text).href;
}
