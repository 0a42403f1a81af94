/**
 * One SSH connection to an SFTP server, with a few channels over it.
 *
 * Guarantees: no address of this machine or of its link is reached unless the configuration allows it, whatever the name servers say
 * from one moment to the next; nothing but the key exchange happens before the server has shown the pinned host key; no wait is without a limit;
 * when the connection is lost every call under way ends with `ConnectionLost`, and so does every later one.
 */
import { connect as connectSocket, type Socket } from 'node:net';
import ssh2, { type Client, type ConnectConfig, type SFTPWrapper } from 'ssh2';
import { HoldfastError } from '../../../lib/errors.ts';
import { pinnedLookup, resolveOutgoing } from '../../../lib/outgoing-address.ts';
import type { SftpConfig, SftpHostKey } from '../../engine.ts';
import { explainConnecting } from './failures.ts';
import { readHostKey, sameFingerprint, wantedTypes } from './host-key.ts';

const CONNECT_TIMEOUT_MS = 20_000;
/**
 * Of silence while something was asked of a channel: each answer lets those that wait behind it have as long again, so that a slow line
 * is only slow.
 */
const SILENCE_MS = 90_000;
/** Of one sync: a server that brings a large object to a slow disk says nothing meanwhile, but shows that it lives. */
const SYNC_SILENCE_MS = 10 * 60_000;
const KEEP_ALIVE_MS = 15_000;
const MOST_MISSED = 4;
/** Each is a process of the server's. */
const MOST_CHANNELS = 4;
const END_TIMEOUT_MS = 2_000;

/** The way to the server broke; the same may work over another connection. */
export class ConnectionLost extends Error {}

/** What the server said to one request: RFC draft-ietf-secsh-filexfer-02, section 7. */
export const STATUS = {
  endOfFile: 1,
  noSuchFile: 2,
  permissionDenied: 3,
  failure: 4,
  unsupported: 8,
  alreadyExists: 11,
  noSpace: 14,
  quotaExceeded: 15,
} as const;

export class StatusError extends Error {
  readonly status: number;
  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

export function isStatus(error: unknown, ...wanted: number[]): boolean {
  return error instanceof StatusError && wanted.includes(error.status);
}

type Callback<T> = (error: Error | null | undefined, value: T) => void;

/** One request over one channel; `sync`: one whose answer may take long. */
type Ask = <T>(act: (sftp: SFTPWrapper, done: Callback<T>) => void, sync?: 'sync') => Promise<T>;

export interface Channel {
  ask: Ask;
  extensions: ReadonlySet<string>;
  /** The most bytes that go into one request. */
  pieceBytes: number;
}

export interface Connection {
  /** The least busy channel for as long as `act` takes. */
  use<T>(act: (channel: Channel) => Promise<T>): Promise<T>;
  readonly lost: boolean;
  close(): Promise<void>;
}

/** Where a server listens. */
export type SftpPlace = Pick<SftpConfig, 'host' | 'port' | 'ownMachine'>;

/**
 * The server's key, without signing in: nothing secret leaves this machine.
 *
 * @param type the kind to ask for; of a server that has none of it, the one it likes best is asked for.
 * @throws HoldfastError `unavailable`, `invalid_input` for an address that is refused
 */
export async function askHostKey(place: SftpPlace, type?: string): Promise<SftpHostKey> {
  let shown: SftpHostKey | undefined;
  const client = new ssh2.Client();
  try {
    await connect(client, place, {
      ...commonOptions(type),
      username: 'holdfast',
      hostVerifier: (blob: Buffer) => {
        shown = readHostKey(blob);
        return false;
      },
    });
  } catch (error) {
    if (type !== undefined && type !== '' && isHostKeyMissing(error)) return await askHostKey(place);
    if (shown === undefined) throw explainConnecting(error, place);
  } finally {
    client.destroy();
  }
  if (shown !== undefined) return shown;
  throw explainConnecting(new Error('no host key'), place);
}

/** @throws HoldfastError `wrong_key` for another host key, `target_refused` for a refused sign-in, `unavailable` */
export async function openConnection(config: SftpConfig, silenceMs = SILENCE_MS): Promise<Connection> {
  const client = new ssh2.Client();
  let shown: SftpHostKey | undefined;
  try {
    await connect(client, config, {
      ...commonOptions(config.hostKey.type),
      username: config.username,
      ...signInOptions(config),
      hostVerifier: (blob: Buffer) => {
        shown = readHostKey(blob);
        return sameFingerprint(shown.fingerprint, config.hostKey.fingerprint);
      },
    });
  } catch (error) {
    client.destroy();
    if (shown !== undefined && !sameFingerprint(shown.fingerprint, config.hostKey.fingerprint))
      throw changedHostKey(config, shown);
    if (error instanceof HoldfastError) throw error;
    if (isHostKeyMissing(error) && config.hostKey.type !== undefined) throw goneHostKey(config);
    throw explainConnecting(error, config);
  }
  return manageChannels(client, silenceMs);
}

/** Of a server that has no key of the kinds that were asked for. */
function isHostKeyMissing(error: unknown): boolean {
  return error instanceof Error && error.message.includes('no matching host key');
}

function goneHostKey({ host, hostKey: { type = '', fingerprint } }: SftpConfig): HoldfastError {
  return new HoldfastError(
    'wrong_key',
    `${host} has no host key of the kind that was confirmed any more: ${type}, ${fingerprint}`,
    {
      hint: 'Nothing was sent. Ask whoever runs the server. “Try it now” on the page of the target shows the key that it has; an owner can accept that.',
    },
  );
}

function changedHostKey(config: SftpConfig, shown: SftpHostKey): HoldfastError {
  return new HoldfastError(
    'wrong_key',
    `${config.host} shows another host key than the one that was confirmed: ${shown.fingerprint} instead of ${config.hostKey.fingerprint}`,
    {
      hint: 'Somebody may stand between, so nothing was sent. Ask whoever runs the server; an owner can accept its new key on the page of the target.',
    },
  );
}

function commonOptions(keyType?: string): ConnectConfig {
  return {
    readyTimeout: CONNECT_TIMEOUT_MS,
    keepaliveInterval: KEEP_ALIVE_MS,
    keepaliveCountMax: MOST_MISSED,
    algorithms: {
      serverHostKey: wantedTypes(keyType) as never[],
      // AES-GCM comes from OpenSSL; without the native addon ChaCha20 would run in WebAssembly.
      cipher: [
        'aes128-gcm@openssh.com',
        'aes256-gcm@openssh.com',
        'chacha20-poly1305@openssh.com',
        'aes256-ctr',
        'aes192-ctr',
        'aes128-ctr',
      ],
      // What is stored is encrypted: it does not get smaller.
      compress: ['none'],
    },
  };
}

function signInOptions({ signIn, host }: SftpConfig): Partial<ConnectConfig> {
  if (signIn === undefined) {
    throw new HoldfastError('wrong_state', `How to sign in to ${host} is not known on this appliance`, {
      hint: 'Give the password or the key again on the page of the target; one that is retired is read with the recovery kit.',
    });
  }
  if (signIn.kind === 'private-key') return { privateKey: signIn.privateKey };
  return { password: signIn.password, tryKeyboard: true };
}

async function connect(client: Client, place: SftpPlace, options: ConnectConfig): Promise<void> {
  const sock = await openSocket(place);
  await new Promise<void>((resolve, reject) => {
    const timer = setTimeout(
      () => reject(new Error('Timed out while waiting for handshake')),
      CONNECT_TIMEOUT_MS + 1_000,
    );
    const settle = (act: () => void) => {
      clearTimeout(timer);
      act();
    };
    client.on('error', (error) => settle(() => reject(error)));
    client.once('close', () => settle(() => reject(new Error('The connection was closed'))));
    client.once('ready', () => settle(resolve));
    // Servers that ask for the password in a dialog: one question, one answer.
    client.on('keyboard-interactive', (_name, _words, _language, prompts, finish) => {
      finish(prompts.length === 1 && options.password !== undefined ? [options.password] : []);
    });
    try {
      client.connect({ ...options, sock });
    } catch (error) {
      settle(() => reject(new Error((error as Error).message, { cause: error })));
    }
  }).catch((error: unknown) => {
    // Options that the library refuses end it before it knows of the socket.
    sock.destroy();
    throw error;
  });
}

/** To the addresses that were looked at, and to no others: the name is not asked for again. */
async function openSocket({ host, port, ownMachine = false }: SftpPlace): Promise<Socket> {
  const addresses = await resolveOutgoing(host, ownMachine ? 'loopback' : 'no');
  const [only, second] = addresses;
  return new Promise((resolve, reject) => {
    const socket = connectSocket({
      port,
      // Requests are small and wait for answers: held back for a fuller packet, each would cost 40 ms.
      noDelay: true,
      host: second === undefined && only !== undefined ? only.address : host,
      lookup: pinnedLookup(addresses),
    });
    const fail = (error: Error) => {
      socket.destroy();
      reject(error);
    };
    socket.setTimeout(CONNECT_TIMEOUT_MS, () => fail(new Error('ETIMEDOUT')));
    socket.once('error', fail);
    socket.once('connect', () => {
      socket.setTimeout(0).removeAllListeners('timeout').off('error', fail);
      resolve(socket);
    });
  });
}

interface OpenChannel extends Channel {
  busy: number;
}

/** When a channel answered last; the server works off what is asked of one channel in turn. */
interface Silence {
  answeredAt: number;
}

function manageChannels(client: Client, silenceMs: number): Connection {
  const failLater = new Set<(error: Error) => void>();
  const channels: Promise<OpenChannel>[] = [];
  const settled: OpenChannel[] = [];
  let lost = false;
  const lose = () => {
    lost = true;
    client.destroy();
    for (const fail of [...failLater]) fail(new ConnectionLost('The connection to the server was lost'));
  };
  client.on('error', lose);
  client.once('close', lose);
  client.once('end', lose);

  /** Ends at the answer, when the connection is lost, or when the channel is silent for too long, which ends the connection. */
  const limited = <T>(channel: Silence, limitMs: number, start: (done: Callback<T>) => void): Promise<T> =>
    new Promise((resolve, reject) => {
      if (lost) {
        reject(new ConnectionLost('The connection to the server was lost'));
        return;
      }
      const asked = performance.now();
      const end = (act: () => void) => {
        clearTimeout(timer);
        failLater.delete(fail);
        act();
      };
      const look = () => {
        const left = Math.max(asked, channel.answeredAt) + limitMs - performance.now();
        if (left <= 0) lose();
        else timer = setTimeout(look, left);
      };
      let timer = setTimeout(look, limitMs);
      const fail = (error: Error) => end(() => reject(error));
      failLater.add(fail);
      try {
        start((error, value) => {
          channel.answeredAt = performance.now();
          end(() => {
            if (error == null) resolve(value);
            else reject(toFailure(error));
          });
        });
      } catch (error) {
        end(() => reject(new ConnectionLost('The channel was closed', { cause: error })));
      }
    });

  const open = async (): Promise<OpenChannel> => {
    const silence: Silence = { answeredAt: 0 };
    const opening = limited<SFTPWrapper>(silence, silenceMs, (done) => client.sftp(done));
    const sftp = await opening.catch((error: unknown) => {
      // The number is what the server's program ended with, and says nothing of a file.
      if (error instanceof StatusError)
        throw new ConnectionLost('The server opens no SFTP', { cause: error });
      throw error;
    });
    // A channel whose process ended on the server takes the connection with it: all of it is opened anew.
    sftp.once('close', lose);
    sftp.on('error', lose);
    const channel: OpenChannel = {
      busy: 0,
      ask: (act, sync) =>
        limited(silence, sync === undefined ? silenceMs : Math.max(silenceMs, SYNC_SILENCE_MS), (done) =>
          act(sftp, done),
        ),
      ...factsOf(sftp),
    };
    settled.push(channel);
    return channel;
  };

  const pick = async (): Promise<OpenChannel> => {
    const idle = settled.find((channel) => channel.busy === 0);
    if (idle !== undefined) return idle;
    if (channels.length < MOST_CHANNELS) {
      const opening = open();
      channels.push(opening);
      try {
        return await opening;
      } catch (error) {
        void channels.splice(channels.indexOf(opening), 1);
        // Servers may allow fewer sessions: those that are open do the work.
        const other = lost ? undefined : leastBusy(settled);
        if (other === undefined) throw error;
        return other;
      }
    }
    return leastBusy(settled) ?? (await Promise.race(channels));
  };

  return {
    get lost() {
      return lost;
    },
    async use(act) {
      const channel = await pick();
      channel.busy++;
      try {
        return await act(channel);
      } finally {
        channel.busy--;
      }
    },
    close: () => (lost ? Promise.resolve() : endClient(client)),
  };
}

function leastBusy(channels: readonly OpenChannel[]): OpenChannel | undefined {
  return [...channels].sort((a, b) => a.busy - b.busy)[0];
}

/** A number is the server's answer to this request; anything else says that no answer will come. */
function toFailure(error: Error & { code?: unknown }): Error {
  const { code } = error;
  if (typeof code === 'number' && code !== 6 && code !== 7) return new StatusError(code, error.message);
  return new ConnectionLost(error.message, { cause: error });
}

/** The library keeps these for itself, and its types do not name them. */
interface SftpInside {
  _extensions?: Record<string, string>;
  _maxWriteLen?: number;
  _maxReadLen?: number;
}

const LARGEST_PIECE_BYTES = 128 * 1024;
/** Every server has to take this much. */
const SMALLEST_PIECE_BYTES = 30_000;

function factsOf(sftp: SFTPWrapper): Pick<Channel, 'extensions' | 'pieceBytes'> {
  const inside = sftp as unknown as SftpInside;
  const most = Math.min(
    inside._maxWriteLen ?? SMALLEST_PIECE_BYTES,
    inside._maxReadLen ?? SMALLEST_PIECE_BYTES,
  );
  return {
    extensions: new Set(Object.keys(inside._extensions ?? {})),
    pieceBytes: Math.min(LARGEST_PIECE_BYTES, most),
  };
}

async function endClient(client: Client): Promise<void> {
  await new Promise<void>((resolve) => {
    const timer = setTimeout(() => {
      client.destroy();
      resolve();
    }, END_TIMEOUT_MS);
    client.once('close', () => {
      clearTimeout(timer);
      resolve();
    });
    client.end();
  });
}
