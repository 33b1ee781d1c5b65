import { describeStreams, shareStreams } from '../support/streams.js';
import { SOAK_DURATION } from './duration.js';

/** A million in a soak of 5 minutes or more; fewer in a shorter one. */
const MILLION = 1_000_000;
const FULL_SOAK = 5 * 60_000;

const messages = Math.ceil(MILLION * Math.min(1, SOAK_DURATION / FULL_SOAK));

describeStreams(messages, shareStreams(messages));
