/** Stripped and compiled sources, kept between starts: starting takes half the time. Absent or read-only, it is done without. */
import { enableCompileCache, flushCompileCache } from 'node:module';
import { join } from 'node:path';

export const COMPILE_CACHE_DIR = join(import.meta.dirname, '..', '..', 'node_modules', '.cache', 'holdfast');

/** For what this process loads from now on. */
export function useCompileCache(): void {
  enableCompileCache(COMPILE_CACHE_DIR);
}

/** Writes what was compiled so far, so that a process that is killed later leaves it too. */
export function keepCompiled(): void {
  flushCompileCache();
}
