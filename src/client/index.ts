// What `import … from 'sluice/client'` gives.

export { type ErrorCode, SluiceError } from '../errors.js';
export { type ClientEvents, type ClientOptions, SluiceClient, type Subscription } from './sluice-client.js';
