// What is wrong with a message, and the form of a rule that finds it.

/** One thing wrong with a message. Never holds a value of the message. */
export interface Issue {
  /** Where, as `data.entities[3].id`; empty for the message as a whole. */
  path: string;
  code: string;
  message: string;
}

/** Notes one broken rule. `path` is dotted, from the message's top. */
export type ReportIssue = (path: string, code: string, message: string) => void;

/** A business rule: calls `report` once for each thing that is wrong. Must not change the message. */
export type Rule<M = never> = (message: M, report: ReportIssue) => void;
