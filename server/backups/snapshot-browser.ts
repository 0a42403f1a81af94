/**
 * Looks into snapshots for the server, which holds no key to them: a process of its own is lent the test identity, answers
 * questions over its pipe, and ends when nobody asked for a while. Names stay sealed on the way.
 */
import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { needsKit, type KeyClient } from '../keys/index.ts';
import { childEnvironment } from '../lib/config.ts';
import { HoldfastError, type ErrorCode } from '../lib/errors.ts';
import type { Logger } from '../lib/log.ts';
import { endOf, startProcess, type ChildProcess } from '../lib/spawn.ts';
import type { FolderLine, NodeLine } from './appliance-queries.ts';
import type { TargetConfig } from './engine.ts';

/** What is asked of the browsing process. */
export interface BrowseQuestion {
  id: number;
  /** May hold a secret: it goes over the pipe between the two processes, and nowhere else. */
  target: TargetConfig;
  snapshotId: string;
  /** The folder to list. */
  folderId: string;
}

export type BrowseAnswer =
  | { id: number; ancestors: FolderLine[]; nodes: NodeLine[] }
  | { id: number; error: { code: ErrorCode; message: string; hint?: string } };

export interface SnapshotBrowser {
  list(question: Omit<BrowseQuestion, 'id'>): Promise<{ ancestors: FolderLine[]; nodes: NodeLine[] }>;
  /** @returns once no process has the keys any more. */
  stop(): Promise<void>;
}

const ENTRY = join(import.meta.dirname, '..', 'browse.ts');
/** One answer may take as long as fetching and opening a few packs takes. */
const ANSWER_TIMEOUT_MS = 60_000;
const IDLE_MS = 120_000;
const END_MS = 5_000;

export function createSnapshotBrowser(deps: {
  keys: Pick<KeyClient, 'lend' | 'status'>;
  log: Logger;
}): SnapshotBrowser {
  let child: ChildProcess | undefined;
  /** The keys that it was started with. */
  let known = '';
  let starting: Promise<ChildProcess> | undefined;
  let idle: NodeJS.Timeout | undefined;
  let questions = 0;
  const waiting = new Map<number, (answer: BrowseAnswer) => void>();

  const failAll = () => {
    for (const [id, answer] of waiting) {
      answer({ id, error: { code: 'unavailable', message: 'Looking into the snapshot was interrupted' } });
    }
    waiting.clear();
  };
  const stop = async (): Promise<void> => {
    clearTimeout(idle);
    const ending = child ?? (await starting?.catch(() => undefined));
    ending?.kill('SIGTERM');
    child = undefined;
    failAll();
    if (ending === undefined) return;
    // One that hangs on a target that is away has keys all the same.
    const timer = setTimeout(() => ending.kill('SIGKILL'), END_MS);
    await endOf(ending);
    clearTimeout(timer);
  };
  const start = async (): Promise<ChildProcess> => {
    const runId = randomUUID();
    await deps.keys.lend(runId, null, { testIdentity: true });
    const started = startProcess(process.execPath, [ENTRY, runId], {
      env: childEnvironment(),
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
      detached: true,
    });
    started.on('message', (message) => {
      const answer = message as BrowseAnswer;
      waiting.get(answer.id)?.(answer);
      waiting.delete(answer.id);
    });
    void endOf(started).then((end) => {
      deps.log.debug({ ...end }, 'Browsing process ended');
      // What waits by then may wait for another one.
      if (child !== started) return;
      child = undefined;
      failAll();
    });
    return started;
  };
  const askOnce = async (question: Omit<BrowseQuestion, 'id'>) => {
    if (child === undefined) {
      starting ??= start().finally(() => {
        starting = undefined;
      });
      child = await starting;
    }
    clearTimeout(idle);
    idle = setTimeout(() => void stop(), IDLE_MS).unref();
    questions += 1;
    return ask(child, waiting, { ...question, id: questions });
  };
  return {
    list: async (question) => {
      const { generations } = (await deps.keys.status()).repository;
      if (!generations.some((one) => one.testIdentity)) throw needsKit();
      // It has the keys of when it began; the repository may have been re-keyed since.
      const present = JSON.stringify(generations);
      if (present !== known) await stop();
      known = present;
      try {
        return await askOnce(question);
      } catch (error) {
        throw isClosed(error) ? needsKit(error) : error;
      }
    },
    stop,
  };
}

/** The appliance has no key to it: none at all, or of other generations only. */
function isClosed(error: unknown): boolean {
  return error instanceof HoldfastError && ['wrong_key', 'needs_kit'].includes(error.code);
}

async function ask(
  child: ChildProcess,
  waiting: Map<number, (answer: BrowseAnswer) => void>,
  question: BrowseQuestion,
): Promise<{ ancestors: FolderLine[]; nodes: NodeLine[] }> {
  const answer = await new Promise<BrowseAnswer>((resolve) => {
    const timer = setTimeout(() => {
      waiting.delete(question.id);
      resolve({
        id: question.id,
        error: { code: 'unavailable', message: 'Looking into the snapshot took too long' },
      });
    }, ANSWER_TIMEOUT_MS);
    waiting.set(question.id, (given) => {
      clearTimeout(timer);
      resolve(given);
    });
    child.send(question);
  });
  if ('nodes' in answer) return answer;
  const { code, message, hint } = answer.error;
  throw new HoldfastError(code, message, hint === undefined ? {} : { hint });
}
