// What a file in commands/ exports.

import type { Command } from 'commander';

/**
 * A command of the program. Its file is loaded for the overview of all commands as well, so it imports statically only
 * what is small: modules that load the client, the broker or packages are imported by the action.
 */
export interface CommandDefinition {
  readonly description: string;
  /**
   * The broker options that have flags in this command: their names, or all, which are then shown in groups. These
   * flags are added only when the command is called, because the options schema takes long to load.
   */
  readonly brokerOptions?: 'all' | readonly string[];
  /** Adds arguments, flags and action. */
  readonly define: (command: Command) => void;
  /** Command lines, each with its effect. */
  readonly examples: readonly (readonly [command: string, effect: string])[];
  /** Paragraphs below the examples. */
  readonly notes?: readonly string[];
}
