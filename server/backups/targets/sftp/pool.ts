/**
 * Keeps a connection, opens another when it is lost, and repeats what may be repeated: with waits that grow and differ, so that
 * many workers do not come back in the same instant.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { HoldfastError } from '../../../lib/errors.ts';
import type { SftpConfig } from '../../engine.ts';
import { ConnectionLost, openConnection, type Channel, type Connection } from './connection.ts';

/** About half a minute in all: a server that restarts is back by then. */
const WAITS_MS = [250, 1_000, 3_000, 8_000, 15_000];

export interface Pool {
  /**
   * @param act is done again over a new connection when one was lost; so it must be harmless to do it twice.
   * @throws HoldfastError `unavailable` when the server stays away; what the server answers, as `StatusError`.
   */
  use<T>(act: (channel: Channel) => Promise<T>): Promise<T>;
  close(): Promise<void>;
}

/** Connects, so that a target that cannot be reached is known at once. */
export async function openPool(config: SftpConfig, silenceMs?: number): Promise<Pool> {
  let current: Promise<Connection> | undefined = openConnection(config, silenceMs);
  let closed = false;
  await current;

  let reconnecting: Promise<Connection> | undefined;
  const connection = async (): Promise<Connection> => {
    const present = await current?.catch(() => undefined);
    if (present !== undefined && !present.lost) return present;
    // Several calls come here at once after a loss; one of them connects.
    current = reconnecting ??= openConnection(config, silenceMs).finally(() => {
      reconnecting = undefined;
    });
    try {
      return await current;
    } catch (error) {
      if (error instanceof HoldfastError && error.code === 'unavailable') {
        throw new ConnectionLost(error.message, { cause: error });
      }
      throw error;
    }
  };

  return {
    async use(act) {
      for (let attempt = 0; ; attempt++) {
        if (closed) throw new HoldfastError('unavailable', 'The target was closed');
        try {
          return await (await connection()).use(act);
        } catch (error) {
          if (!(error instanceof ConnectionLost)) throw error;
          const wait = WAITS_MS[attempt];
          if (wait === undefined) throw stayedAway(config, error);
          await sleep(wait * (0.5 + Math.random()));
        }
      }
    },
    async close() {
      closed = true;
      const present = await current?.catch(() => undefined);
      await present?.close();
    },
  };
}

function stayedAway(config: SftpConfig, error: ConnectionLost): HoldfastError {
  if (error.cause instanceof HoldfastError) return error.cause;
  return new HoldfastError('unavailable', `The connection to ${config.host} was lost again and again`, {
    hint: 'Check the network and the server. Everything written so far is whole and is used by the next run.',
    cause: error,
  });
}
