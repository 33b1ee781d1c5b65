const MINUTE = 60_000;

/** How long the soak is to take, in ms: SOAK_MINUTES in the environment, or 30. */
export const SOAK_DURATION = Number(process.env.SOAK_MINUTES ?? 30) * MINUTE;

/** The duration from which a soak tests everything in full, in ms. */
const FULL_SOAK = 5 * MINUTE;

/** @returns the amount; in a shorter soak than {@link FULL_SOAK} less of it, but not less than `least` */
export function scaled(amount: number, least = 1): number {
  return Math.max(least, Math.ceil(amount * Math.min(1, SOAK_DURATION / FULL_SOAK)));
}
