/** Leaves what a test file compiled to the next one, which runs in a process of its own. */
import { afterAll } from 'vitest';
import { keepCompiled } from '../../server/lib/compile-cache.ts';

afterAll(keepCompiled);
