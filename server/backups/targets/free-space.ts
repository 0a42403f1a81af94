/** How much a target's disk takes now, for pages: quick, and never an error. */
import { statfs } from 'node:fs/promises';

/** A disk that does not answer (a share that is away) must not hold a page up. */
const TIMEOUT_MS = 1_000;

/** @returns bytes that are free now; what the last trial found when the disk does not answer in a second. */
export async function readFreeBytes(path: string, probe: unknown): Promise<number | null> {
  const probed = (probe as { freeBytes?: number | null } | null)?.freeBytes ?? null;
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<number | null>((resolve) => {
    timer = setTimeout(() => resolve(probed), TIMEOUT_MS);
  });
  const asked = statfs(path).then(
    (facts) => facts.bavail * facts.bsize,
    () => probed,
  );
  return Promise.race([asked, late]).finally(() => clearTimeout(timer));
}
