// The layout of the tables of a verdict, which patterns and the slow path fill together. In 32-bit words.

/** How the main thread has to process a run of consecutive messages. */
export const RunKind = {
  /** Forward: one slice, each message followed by the delimiter. */
  DELIMITED: 0,
  /** Forward, adding the delimiter after each message. */
  UNDELIMITED: 1,
  /** One `job_request`: forward, and record the requesting crawler. */
  REQUEST: 2,
  /** One message from an application: route to its crawlers. */
  ADDRESSED: 3,
  /** One control message: process it. */
  CONTROL: 4,
  /** Rejected messages: report to the sender; see `Verdict.rejections`. */
  REJECTED: 5,
  /** The breach of a message that is forwarded anyway: it follows as a run of another kind. */
  REPORTED: 6,
} as const;

/**
 * Fields of a run: its first frame, its kind, and its first job. Its frames and jobs end where those of the next run
 * begin, or at the end of the table.
 */
export const RUN = { FIRST: 0, KIND: 1, FIRST_JOB: 2, SIZE: 3 } as const;

/**
 * Fields of a message. `JOB` is its row in the table of jobs plus 1, or 0 if there is no job; a message from an
 * application has `ADDRESS` instead, an index into `Verdict.addresses`. A rejected message has `LINE`, the number of
 * delimiters before it in its range, and `REJECTION`, an index into `Verdict.rejections`.
 */
export const FRAME = {
  START: 0,
  END: 1,
  TYPE: 2,
  LINE: 2,
  JOB: 3,
  ADDRESS: 3,
  REJECTION: 3,
  SIZE: 4,
} as const;

/**
 * Fields of a job in a run: the two halves of its key, and the frame of the run's last message about it, or
 * {@link NO_FRAME}. Heartbeats are no messages about their job: the last one of a run has a row of its own, with the key
 * 0, 0, which no job has.
 */
export const JOB = { LOW: 0, HIGH: 1, LATEST: 2, SIZE: 3 } as const;
export const NO_FRAME = 0xffff_ffff;
