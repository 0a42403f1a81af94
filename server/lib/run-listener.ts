/** Hears of every change of a run, from whichever process made it. Loss of the connection is healed by itself. */
import pg from 'pg';
import { clientConfig, type DatabaseAddress } from './db.ts';
import { messageOf } from './errors.ts';
import type { Logger } from './log.ts';
import { RUN_CHANNEL } from './runs.ts';

export interface RunListener {
  /** @returns a function that stops the calls. */
  subscribe(listener: (runId: string) => void): () => void;
  close(): Promise<void>;
}

const FIRST_DELAY_MS = 500;
const LONGEST_DELAY_MS = 10_000;

/**
 * Opens a connection that listens. After a loss every subscriber is called once with an empty id: something may have
 * been missed, look again.
 */
export function listenForRuns(address: DatabaseAddress, name: string, log: Logger): RunListener {
  const listeners = new Set<(runId: string) => void>();
  let client: pg.Client | undefined;
  let closed = false;
  let delayMs = FIRST_DELAY_MS;
  let timer: NodeJS.Timeout | undefined;

  const tell = (runId: string) => {
    for (const listener of listeners) listener(runId);
  };
  const retry = () => {
    if (closed) return;
    clearTimeout(timer);
    timer = setTimeout(() => void connect(), delayMs);
    delayMs = Math.min(delayMs * 2, LONGEST_DELAY_MS);
  };
  const connect = async () => {
    const next = new pg.Client(clientConfig(address, name));
    next.on('error', (error) => {
      log.warn({ detail: messageOf(error) }, 'Notifications from the database were lost; connecting again');
      void next.end().catch(() => undefined);
      retry();
    });
    next.on('notification', (message) => tell(message.payload ?? ''));
    try {
      await next.connect();
      await next.query(`listen ${RUN_CHANNEL}`);
      client = next;
      delayMs = FIRST_DELAY_MS;
      tell('');
      if (closed) await next.end();
    } catch {
      await next.end().catch(() => undefined);
      retry();
    }
  };
  const connecting = connect();
  return {
    subscribe: (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    close: async () => {
      closed = true;
      clearTimeout(timer);
      await connecting;
      await client?.end().catch(() => undefined);
    },
  };
}
