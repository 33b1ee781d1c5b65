// What the broker does with the messages of a type, besides forwarding them. The only place where it knows types by name:
// the other layers look at these traits.

export interface MessageTraits {
  /** `data.activeJobs` is the workload of the sender, a crawler. Forwarded no faster than `minHeartbeatInterval`. */
  readonly reportsWorkload: boolean;
  /** The sender, a crawler, asks for a job and waits for a message that `answersJobRequest`. */
  readonly requestsJob: boolean;
  /** Without another address, goes to the crawler that has waited longest for a job. */
  readonly answersJobRequest: boolean;
  /** Its only recipient becomes the owner of the job in `data.job_id`, and has one more to work on. */
  readonly assignsJob: boolean;
}

export const NO_TRAITS: MessageTraits = Object.freeze({
  reportsWorkload: false,
  requestsJob: false,
  answersJobRequest: false,
  assignsJob: false,
});

const TRAITS = new Map<string, MessageTraits>([
  ['heartbeat', { ...NO_TRAITS, reportsWorkload: true }],
  ['job_request', { ...NO_TRAITS, requestsJob: true }],
  ['job_response', { ...NO_TRAITS, answersJobRequest: true }],
  ['job_assignment', { ...NO_TRAITS, assignsJob: true }],
]);

/** The traits of a message type, also where a schema module replaces its schema. */
export function traitsOf(name: string): MessageTraits {
  return TRAITS.get(name) ?? NO_TRAITS;
}
