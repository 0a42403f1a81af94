/** The parts of a snapshot that are kept by themselves. The browser has this too: nothing is loaded here. */

/** Logs and configuration: small, and of use without the rest. */
const SMALL_PARTS: readonly string[] = ['system', 'appliance'];

/**
 * The part that goes before the rest. Not the list of files (`appliance`): without it no file of a snapshot is found or given back, so it stays as
 * long as the files that it tells of.
 */
export const LOG_PART = 'system';

export const isSmallPart = (section: string): boolean => SMALL_PARTS.includes(section);
