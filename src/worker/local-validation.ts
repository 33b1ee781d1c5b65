// The validator of all batches on the main thread, instead of workers.

import type { ParserSettings } from '../dispatch/verdict.js';
import type { MessageRegistry } from '../messages/message-registry.js';
import type { PatternModules } from '../pattern/pattern-set.js';
import { createProjection } from '../pattern/projection.js';
import { BatchValidator } from './batch-validator.js';
import { createParser } from './create-parser.js';

/** @param onUnavailable called with the reason if patterns cannot be used here */
export function createLocalValidation(
  registry: MessageRegistry,
  settings: ParserSettings,
  modules: PatternModules | undefined,
  onUnavailable: (reason: string) => void,
): BatchValidator {
  const parser = createParser(registry, settings, onUnavailable, modules);
  const projection = createProjection(registry, settings.fields);
  return new BatchValidator(parser, settings.delimiter, { ...settings, projection });
}
