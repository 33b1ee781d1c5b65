// The validator for small batches on the main thread.

import type { InlineValidation } from '../dispatch/dispatcher.js';
import type { ParserSettings } from '../dispatch/verdict.js';
import type { MessageRegistry } from '../messages/message-registry.js';
import type { PatternModules } from '../pattern/pattern-set.js';
import type { Projection } from '../pattern/projection.js';
import { BatchValidator } from './batch-validator.js';
import { createParser } from './create-parser.js';

/**
 * @param maxBytes limit on the bytes of a batch; 0: none is validated on the main thread
 * @param onUnavailable called with the reason if patterns cannot be used here
 * @returns `undefined` if the workers validate everything
 */
export function createInlineValidation(
  maxBytes: number,
  registry: MessageRegistry,
  settings: ParserSettings,
  modules: PatternModules | undefined,
  projection: Projection | undefined,
  onUnavailable: (reason: string) => void,
): InlineValidation | undefined {
  // With `verify`, the slow path has to check every match.
  if (maxBytes === 0 || settings.patterns !== 'on') return undefined;
  const parser = createParser(registry, settings, onUnavailable, modules);
  if (parser.patterns === undefined) return undefined;
  return { maxBytes, validator: new BatchValidator(parser, settings.delimiter, { ...settings, projection }) };
}
