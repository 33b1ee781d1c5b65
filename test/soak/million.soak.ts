import { describeStreams, shareStreams } from '../support/streams.js';
import { scaled } from './duration.js';

const messages = scaled(1_000_000);

describeStreams(messages, shareStreams(messages));
