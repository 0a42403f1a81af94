/**
 * SSH for a limited time. Guarantees: it is off unless the owner opened it, and off again when its time is over, whether hostd lives
 * (its timer) or not (the unit's own seconds); closing ends every session. While it is open there are an account with a password, a
 * listener and a hole in the packet filter, made in this order; a failure in between
 * takes back what came. All of it lies in memory: a restart of the machine ends it. Each opening and end is journaled, by whom and why.
 */
import { join } from 'node:path';
import { HoldfastError } from '../../../lib/errors.ts';
import { makePrivateDirectory, writeFileDurably } from '../../../lib/files.ts';
import type { HostDeps } from '../host-app.ts';
import { requireNetwork } from '../network/settings.ts';
import { readNetworkSettings, reloadFirewall } from '../network/trial.ts';
import type { HostActor } from '../schema.ts';
import { readVolumeNote } from '../volume/note.ts';
import { newSshPassphrase, systemAccount, type SshAccount } from './account.ts';
import {
  ensureHostKey,
  hostKeyPath,
  keepAuthority,
  readAuthority,
  readHostKey,
  readKeptAuthority,
  type PublicKey,
} from './keys.ts';
import { dropSshNote, readSshNote, sshRunFolder, writeSshNote, type SshNote } from './note.ts';
import {
  SSH_ACCOUNT,
  type OpenedSsh,
  type OpenSshRequest,
  type SshKeyFacts,
  type SshState,
} from './schema.ts';
import { systemdSsh, type SshService } from './service.ts';
import { renderSshdConfig } from './sshd-config.ts';

const PORT = 22;
const WATCH_EVERY_MS = 15_000;
/** The unit's own end and the timer of hostd come at the same moment. */
const ABOUT_OVER_MS = 5_000;

export interface SshDesk {
  state(): Promise<SshState>;
  /** @throws HoldfastError `invalid_input`, `conflict` while it is open, `wrong_state` without a volume, `unavailable`. */
  open(request: OpenSshRequest): Promise<OpenedSsh>;
  /** Nothing when it is off. @throws HoldfastError `unavailable` when sshd does not end. */
  close(actor: HostActor): Promise<SshState>;
  /** Takes up what was opened before this process began, or clears what is left of it. */
  resume(): Promise<void>;
  stop(): void;
}

export interface SshParts {
  service: SshService;
  account: SshAccount;
  firewall: () => Promise<void>;
  port: number;
}

type SshDeps = Pick<HostDeps, 'places' | 'clock' | 'log' | 'journal'>;

/** @param parts the machine's own, unless a test brings others. */
export function openSshDesk(deps: SshDeps, parts: Partial<SshParts> = {}): SshDesk {
  const { places, clock, log, journal } = deps;
  const { service = systemdSsh, account = systemAccount, port = PORT } = parts;
  const firewall = parts.firewall ?? (() => reloadFirewall(places));
  let current: SshNote | undefined;
  /** Its end is journaled, though it may not have come to an end yet. */
  let told = false;
  let timer: NodeJS.Timeout | undefined;
  let last: Promise<unknown> = Promise.resolve();
  const inTurn = <T>(act: () => Promise<T>): Promise<T> => {
    const turn = last.then(act, act);
    last = turn.catch(() => undefined);
    return turn;
  };

  const record = (actor: HostActor, verb: string, detail: object, result: 'done' | 'failed' = 'done') =>
    journal.append(actor, {
      action: `host.ssh.${verb}`,
      objectType: 'machine',
      result,
      detail: { ...detail },
    });
  const system: HostActor = { kind: 'system', label: 'ssh' };

  /** What was read once stays true until the next opening. */
  const known: { hostKey?: SshKeyFacts | undefined; authority?: SshKeyFacts | undefined } = {};
  const state = async (): Promise<SshState> => {
    known.hostKey ??= await readHostKey(places);
    known.authority ??= (await readKeptAuthority(places))?.facts;
    return {
      open: current?.window ?? null,
      account: SSH_ACCOUNT,
      hostKey: known.hostKey ?? null,
      authority: known.authority ?? null,
    };
  };

  /** Each step whatever became of the one before; while sshd lives, what was opened counts as open and is tried again. */
  const shut = async () => {
    const steps = [() => service.stop(), () => account.remove(), () => dropSshNote(places), firewall];
    const failed: unknown[] = [];
    for (const [index, step] of steps.entries()) {
      await step().catch((error: unknown) => failed.push(error));
      if (index === 0 && failed.length === 0) current = undefined;
    }
    if (failed.length > 0) throw failed[0];
  };
  const watch = () => {
    clearTimeout(timer);
    if (current === undefined) return;
    const leftMs = Date.parse(current.window.until) - clock.now().getTime();
    timer = setTimeout(
      () =>
        void inTurn(look)
          .catch((error: unknown) => log.error({ err: error }, 'SSH could not be closed; tried again soon'))
          .finally(watch),
      Math.max(0, Math.min(leftMs, WATCH_EVERY_MS)),
    );
    timer.unref();
  };
  /** Whether its time is over, or sshd ended by itself. */
  const look = async () => {
    if (current === undefined) return;
    const leftMs = Date.parse(current.window.until) - clock.now().getTime();
    if (leftMs > 0 && (await service.isRunning())) return;
    const { openedAt, until } = current.window;
    if (!told) await record(system, leftMs <= ABOUT_OVER_MS ? 'expired' : 'ended', { openedAt, until });
    told = true;
    await shut();
    log.info({ until }, 'SSH is off again');
  };

  const begin = async (request: OpenSshRequest, authority: PublicKey): Promise<OpenedSsh> => {
    const networks = await networksOf(request);
    const openedAt = clock.now();
    const until = new Date(openedAt.getTime() + request.minutes * 60_000).toISOString();
    const { reason, actor, minutes } = request;
    const facts = authority.facts;
    await record(actor, 'opened', { until, networks, reason, authority: facts.fingerprint });
    const window = { openedAt: openedAt.toISOString(), until, port, networks, reason, authority: facts };
    const passphrase = newSshPassphrase();
    try {
      await ensureHostKey(places);
      await keepAuthority(places, authority);
      await writeForSshd(authority, networks, minutes * 60);
      await account.make(passphrase);
      await service.start();
      await writeSshNote(places, { window, openedBy: actor });
      [current, told] = [{ window, openedBy: actor }, false];
      Object.assign(known, { hostKey: undefined, authority: facts });
      await firewall();
    } catch (error) {
      await record(actor, 'opened', { until }, 'failed');
      await shut().catch((second: unknown) => log.error({ err: second }, 'What was opened stays half open'));
      throw error;
    }
    watch();
    log.warn({ until, networks }, 'SSH is open');
    return { state: await state(), passphrase };
  };
  const networksOf = async ({ networks }: OpenSshRequest): Promise<string[]> => {
    for (const network of networks ?? []) requireNetwork(network, 'a network', false);
    return networks ?? (await readNetworkSettings(places)).managementNetworks ?? [];
  };
  const writeForSshd = async (authority: PublicKey, networks: readonly string[], seconds: number) => {
    const folder = sshRunFolder(places);
    await makePrivateDirectory(folder, 0o700);
    const paths = { hostKey: hostKeyPath(places), authority: join(folder, 'authority.pub') };
    await writeFileDurably(paths.authority, `${authority.line}\n`);
    await writeFileDurably(join(folder, 'sshd_config'), renderSshdConfig(paths, port, networks));
    await writeFileDurably(join(folder, 'window.env'), `WINDOW_SECONDS=${seconds}\n`);
  };

  return {
    state: () => inTurn(state),
    open: (request) =>
      inTurn(async () => {
        if (current !== undefined) {
          throw new HoldfastError('conflict', `SSH is open already, until ${current.window.until}`, {
            hint: 'Close it first; what was given out for it then ends.',
          });
        }
        if ((await readVolumeNote(places)) === undefined)
          throw new HoldfastError('wrong_state', 'SSH opens only while the data volume is open');
        const authority =
          request.authority === undefined
            ? await readKeptAuthority(places)
            : await readAuthority(request.authority);
        if (authority === undefined) {
          throw new HoldfastError('invalid_input', 'No authority is named whose certificates count', {
            hint: 'Paste the public key of the authority that signs them.',
          });
        }
        return begin(request, authority);
      }),
    close: (actor) =>
      inTurn(async () => {
        if (current !== undefined) {
          const { openedAt, until } = current.window;
          await record(actor, 'closed', { openedAt, until });
          told = true;
          await shut();
          log.info({ until }, 'SSH was closed');
        }
        return state();
      }),
    resume: () =>
      inTurn(async () => {
        current = await readSshNote(places);
        if (current === undefined && !(await service.isRunning())) {
          // Of an opening that was cut off before anybody could come in.
          await account.remove();
          return;
        }
        if (current === undefined) await shut();
        await look();
      }).finally(watch),
    stop: () => clearTimeout(timer),
  };
}
