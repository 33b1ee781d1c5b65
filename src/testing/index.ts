// Tools for tests of crawlers and applications: the exports of `sluice/testing`.

export {
  type ArrivedMessage,
  expectRejected,
  type WaitOptions,
  waitForMessage,
} from './expectations.js';
export { type FixtureType, validMessage } from './fixtures.js';
export type { ExpectedRejection, Rejection } from './rejection.js';
export {
  type Answer,
  type CrawlerScript,
  ScriptedCrawler,
  type ScriptedMessage,
  scriptedCrawler,
} from './scripted-crawler.js';
export { startTestBroker, TestBroker, type TestBrokerOptions } from './test-broker.js';
